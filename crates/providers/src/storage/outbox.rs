//! What was told of each volume last, so that only changes are told.

use std::collections::HashMap;

use sutler_api::agent::VolumeReport;
use sutler_ids::Bytes;
use sutler_ids::VolumeId;
use sutler_volume_core::Volume;

/// Reports as last told, and bytes used as last seen.
#[derive(Default)]
pub(crate) struct Outbox {
    told: HashMap<VolumeId, VolumeReport>,
    used: HashMap<VolumeId, Bytes>,
}

impl Outbox {
    /// Gives the volume's report if it differs from the one last told.
    pub(crate) fn changed(&mut self, volume_id: VolumeId, volume: &Volume) -> Option<VolumeReport> {
        let mut report = volume.report();
        report.used = self.used.get(&volume_id).copied();
        if self.told.get(&volume_id) == Some(&report) {
            return None;
        }
        self.told.insert(volume_id, report.clone());
        Some(report)
    }

    pub(crate) fn set_used(&mut self, volume_id: VolumeId, used: u64) {
        self.used.insert(volume_id, Bytes(used));
    }

    pub(crate) fn forget_told(&mut self) {
        self.told.clear();
    }

    pub(crate) fn forget(&mut self, volume_id: VolumeId) {
        self.told.remove(&volume_id);
        self.used.remove(&volume_id);
    }
}
