//! Whose identity at a driver is whose, by the books.
//!
//! Owns the questions that one volume's machine cannot answer: which other volume has an identity,
//! which identities a plugin's volumes have, and whether one that is to be forgotten is mounted.

use std::collections::BTreeSet;

use sutler_api::agent::{VolumeAct, VolumeOperation, VolumeReport};
use sutler_api::volume::VolumeState;
use sutler_host::clock;
use sutler_ids::{PluginName, VolumeId, VolumeName};
use sutler_volume_core::{Answer, Created, Event, Made, Volume, VolumeRecord};

use super::calls::CallEnded;
use super::host_state::VolumePaths;
use super::says::no_record;
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

    /// Gives where a volume is mounted that is to be forgotten: then its plugin is asked first.
    pub(crate) fn still_mounted(&self, operation: &VolumeOperation) -> Option<String> {
        let volume = self.volumes.get(&operation.volume_id)?;
        let plugin = &volume.record().spec.plugin;
        let paths = VolumePaths::new(&self.config.volumes_dir, plugin, operation.volume_id);
        let mounted = match operation.act {
            VolumeAct::Forget => paths.any_mounted(),
            VolumeAct::Create(_) | VolumeAct::Grow { .. } | VolumeAct::Delete => None,
        };
        mounted.map(|path| path.display().to_string())
    }

    /// Tells of each volume that the books have on this node and of which it has no record: the
    /// record was damaged, or the state folder is an older copy.
    pub(crate) fn tell_missing(&self, wanted: &[VolumeId]) {
        for volume_id in wanted.iter().filter(|id| !self.volumes.contains_key(id)) {
            let problem = no_record(*volume_id)
                .hint("if it is lost for good: sutler volume rm NAME --forget");
            tracing::error!(%volume_id, "{}", problem.what);
            self.tell_report(VolumeReport {
                volume_id: *volume_id,
                state: VolumeState::Missing,
                since: clock::now().wall,
                csi_volume_id: None,
                capacity: None,
                used: None,
                holders: Vec::new(),
                problem: Some(problem),
            });
        }
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
