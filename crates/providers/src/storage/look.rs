//! Looks at a volume's mount, beside the calls: the kernel is asked, not the plugin.

use std::time::Duration;

use sutler_ids::VolumeId;
use sutler_volume_core::{CallId, Mount};

use super::Input;
use super::machine_state::VolumePaths;
use super::shell::Shell;

/// Longest wait for a file system's word that it is there. One that needs longer would hold
/// up its task's start as well, so it counts as gone and is published anew.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

impl Shell {
    /// Looks whether a mount still stands; the answer is an input.
    pub(crate) fn look(&mut self, volume_id: VolumeId, call_id: CallId, mount: Mount) {
        let Some(inputs) = self.inputs.upgrade() else {
            return;
        };
        let volume = self.volumes.get(&volume_id);
        let access = volume
            .map(|volume| volume.record().spec.access)
            .unwrap_or_default();
        let paths = VolumePaths::new(&self.config.volumes_dir, volume_id);
        self.calls.spawn(async move {
            let looking = tokio::task::spawn_blocking(move || paths.stands(mount, access));
            let stands = match tokio::time::timeout(LOOK_WITHIN, looking).await {
                Ok(seen) => seen.unwrap_or(false),
                Err(_) => false,
            };
            if !stands {
                tracing::warn!(%volume_id, ?mount, "a mount is gone without our doing");
            }
            let _ = inputs.send(Input::Looked(volume_id, call_id, stands));
        });
    }
}
