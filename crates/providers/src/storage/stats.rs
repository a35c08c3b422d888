//! How much of each volume in use is used.

use std::sync::Arc;
use std::time::Duration;

use sutler_csi::{LaneKind, call as args};
use sutler_ids::VolumeId;
use sutler_volume_core::{Phase, Settled};

use super::Input;
use super::calls::Plugin;
use super::host_state::VolumePaths;
use super::shell::Shell;

/// Longest wait for how full a volume is: until then no other call about it is made.
const STATS_WITHIN: Duration = Duration::from_secs(10);

impl Shell {
    pub(crate) fn used(&mut self, volume_id: VolumeId, used: Option<u64>) {
        self.stats_open.remove(&volume_id);
        if let Some(used) = used.filter(|_| self.volumes.contains_key(&volume_id)) {
            self.outbox.set_used(volume_id, used);
            self.tell(volume_id);
        }
    }

    /// Asks how much of each volume in use is used. Reads only, in the volume's lane. A volume
    /// of which the last question is still open is not asked again: behind a plugin that hangs,
    /// questions would queue up before the calls that matter.
    pub(crate) fn ask_stats(&mut self) {
        let Some(inputs) = self.inputs.upgrade() else {
            return;
        };
        for (volume_id, volume) in &self.volumes {
            let record = volume.record();
            let in_use = matches!(&record.phase, Phase::Settled(Settled::Published(..)));
            let Some(plugin) = self.plugins.get(&record.spec.plugin) else {
                continue;
            };
            let Some(created) = record.created() else {
                continue;
            };
            if !in_use || !plugin.up.facts.stats() {
                continue;
            }
            let plugin_name = &record.spec.plugin;
            let paths = VolumePaths::new(&self.config.volumes_dir, plugin_name, *volume_id);
            let request = args::GetVolumeStats {
                volume_id: created.csi_volume_id.clone(),
                volume_path: paths.target(),
                staging_path: plugin.up.facts.stages().then(|| paths.staging()),
            };
            if !self.stats_open.insert(*volume_id) {
                continue;
            }
            let (plugin, inputs, volume_id) = (Arc::clone(plugin), inputs.clone(), *volume_id);
            self.calls.spawn(async move {
                let used = used_of(&plugin, volume_id, &request).await;
                let _ = inputs.send(Input::Used(volume_id, used));
            });
        }
    }
}

async fn used_of(
    plugin: &Plugin,
    volume_id: VolumeId,
    request: &args::GetVolumeStats,
) -> Option<u64> {
    let volume = volume_id.to_string();
    let lane = plugin.lanes.enter(LaneKind::Read, &volume);
    let _permit = lane.await.ok()?;
    let client = &plugin.up.client;
    let stats = client.node_get_volume_stats(request, STATS_WITHIN).await;
    Some(stats.ok()?.bytes?.used)
}
