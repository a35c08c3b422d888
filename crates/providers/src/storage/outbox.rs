//! What was told of each volume last, so that only changes are told.

use std::collections::HashMap;

use sutler_api::agent::VolumeReport;
use sutler_ids::Bytes;
use sutler_ids::VolumeId;
use sutler_volume_core::Volume;

use super::StorageEvent;
use super::shell::Shell;

/// Reports as last told, and bytes used as last seen.
#[derive(Default)]
pub(crate) struct Outbox {
    // Boxed: a table of large values is mostly room for more.
    told: HashMap<VolumeId, Box<VolumeReport>>,
    used: HashMap<VolumeId, Bytes>,
}

impl Outbox {
    /// Gives the volume's report if it differs from the one last told.
    pub(crate) fn changed(&mut self, volume_id: VolumeId, volume: &Volume) -> Option<VolumeReport> {
        let mut report = volume.report();
        report.used = self.used.get(&volume_id).copied();
        if self
            .told
            .get(&volume_id)
            .is_some_and(|told| **told == report)
        {
            return None;
        }
        self.told.insert(volume_id, Box::new(report.clone()));
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

impl Shell {
    pub(crate) fn tell_all(&mut self) {
        self.outbox.forget_told();
        let volume_ids: Vec<VolumeId> = self.volumes.keys().copied().collect();
        for volume_id in volume_ids {
            if let Some(report) = self.news(volume_id) {
                let _ = self.out.send(StorageEvent::VolumeAgain(report));
            }
            if let Some(volume) = self.volumes.get(&volume_id) {
                for report in volume.operation_reports() {
                    let _ = self.out.send(StorageEvent::Operation(report));
                }
            }
        }
    }

    pub(crate) fn tell(&mut self, volume_id: VolumeId) {
        if let Some(report) = self.news(volume_id) {
            self.tell_if_unknown(volume_id);
            let _ = self.out.send(StorageEvent::Volume(report));
        }
    }

    fn news(&mut self, volume_id: VolumeId) -> Option<VolumeReport> {
        let volume = self.volumes.get(&volume_id)?;
        self.outbox.changed(volume_id, volume)
    }

    pub(crate) fn tell_report(&self, report: VolumeReport) {
        let _ = self.out.send(StorageEvent::Volume(report));
    }
}
