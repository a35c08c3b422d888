//! Whose identity at a driver is whose, by the books.
//!
//! Owns two questions that one volume's machine cannot answer: which other volume has an identity,
//! and which identities a plugin's volumes have.

use std::collections::BTreeSet;

use sutler_ids::{PluginName, VolumeId, VolumeName};
use sutler_volume_core::{Answer, Created, Event, Made, Volume, VolumeRecord};

use super::calls::CallEnded;
use super::shell::Shell;

impl Shell {
    /// Takes the end of a call, with what the books know of its answer.
    pub(crate) fn ended(&mut self, mut ended: CallEnded) {
        if let Ok(Answer::Made(made)) = &mut ended.result {
            made.also = self.other_volume(ended.volume_id, made);
        }
        let event = Event::Ended {
            call_id: ended.call_id,
            result: ended.result,
            shown: ended.shown,
        };
        self.send(ended.volume_id, event);
    }

    /// Gives the volume that the books have under an identity that a driver has just given to
    /// another one. Asked as the answer is taken: of two answers the second finds the first.
    fn other_volume(&self, volume_id: VolumeId, made: &Made) -> Option<VolumeName> {
        let is_it = |created: &Created| {
            (&created.driver, &created.csi_volume_id) == (&made.driver, &made.csi_volume_id)
        };
        let records = self.volumes.values().map(Volume::record);
        let other = records
            .filter(|record| record.spec.volume_id != volume_id)
            .find(|record| record.created().is_some_and(is_it));
        other.map(|record| record.spec.name.clone())
    }

    /// The identities of a plugin's volumes that the books have.
    pub(crate) fn booked(&self, plugin: &PluginName) -> BTreeSet<String> {
        let records = self.volumes.values().map(Volume::record);
        let created = records
            .filter(|record| record.spec.plugin == *plugin)
            .filter_map(VolumeRecord::created);
        created
            .map(|created| created.csi_volume_id.clone())
            .collect()
    }
}
