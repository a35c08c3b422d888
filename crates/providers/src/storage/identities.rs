//! Whose identity at a driver is whose, by the books.
//!
//! Owns the index of them, and the questions that one volume's machine cannot answer: which other
//! volume has an identity, which identities a plugin's volumes have, and whether one that is to be
//! forgotten is mounted.

use std::collections::{BTreeSet, HashMap};

use sutler_api::agent::{VolumeAct, VolumeOperation, VolumeReport};
use sutler_api::volume::VolumeState;
use sutler_host::clock;
use sutler_ids::{PluginName, VolumeId, VolumeName};
use sutler_volume_core::{Answer, Created, Denied, Event, Made, VolumeRecord};

use super::StorageEvent;
use super::calls::CallEnded;
use super::host_state::VolumePaths;
use super::says::no_record;
use super::shell::Shell;

/// The identities that drivers gave, by driver and by volume: no question searches the books.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    // More than one only where a record of before this rule says so.
    volumes: HashMap<Identity, BTreeSet<VolumeId>>,
    of: HashMap<VolumeId, Identity>,
}

/// The driver's own name, and its word for a volume.
type Identity = (String, String);

impl Identities {
    /// A volume has this identity now, or none.
    pub(crate) fn is(&mut self, volume_id: VolumeId, created: Option<&Created>) {
        let new = created.map(|created| (created.driver.clone(), created.csi_volume_id.clone()));
        if self.of.get(&volume_id) == new.as_ref() {
            return;
        }
        if let Some(old) = self.of.remove(&volume_id)
            && let Some(volumes) = self.volumes.get_mut(&old)
        {
            volumes.remove(&volume_id);
            if volumes.is_empty() {
                self.volumes.remove(&old);
            }
        }
        if let Some(new) = new {
            self.of.insert(volume_id, new.clone());
            self.volumes.entry(new).or_default().insert(volume_id);
        }
    }

    /// Gives another volume of an identity.
    fn other(&self, volume_id: VolumeId, made: &Made) -> Option<VolumeId> {
        let identity = (made.driver.clone(), made.csi_volume_id.clone());
        let volumes = self.volumes.get(&identity).into_iter().flatten();
        volumes.copied().find(|other| *other != volume_id)
    }
}

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
        let other = self.identities.other(volume_id, made)?;
        let volume = self.volumes.get(&other)?;
        Some(volume.record().spec.name.clone())
    }

    /// Says why a volume cannot be forgotten: it is, or may be, mounted, and its plugin is asked
    /// first.
    pub(crate) fn still_mounted(&self, operation: &VolumeOperation) -> Option<Denied> {
        let volume = self.volumes.get(&operation.volume_id)?;
        let plugin = &volume.record().spec.plugin;
        let paths = VolumePaths::new(&self.config.volumes_dir, plugin, operation.volume_id);
        match operation.act {
            VolumeAct::Forget => paths.still_mounted(),
            VolumeAct::Create(_) | VolumeAct::Grow { .. } | VolumeAct::Delete => None,
        }
    }

    /// Holds the master's books against ours, and remembers what they have.
    pub(crate) fn compare(&mut self, wanted: Vec<VolumeId>) {
        self.tell_missing(&wanted);
        self.wanted = Some(wanted.into_iter().collect());
        for volume_id in self.volumes.keys() {
            self.tell_if_unknown(*volume_id);
        }
        let _ = self.out.send(StorageEvent::Compared);
    }

    /// Tells of a volume that exists here and that the master's books do not have: they are an
    /// older copy. One that is being deleted was known to whoever asked for that.
    pub(crate) fn tell_if_unknown(&self, volume_id: VolumeId) {
        let (Some(wanted), Some(volume)) = (&self.wanted, self.volumes.get(&volume_id)) else {
            return;
        };
        let record = volume.record();
        if wanted.contains(&volume_id) || record.created().is_none() || record.deleting() {
            return;
        }
        tracing::warn!(%volume_id, volume = %record.spec.name, "not in the master's books");
        let (spec, mut report) = (record.spec.clone(), volume.report());
        // Whatever else is so of it: an adoption must not make it fit.
        if let Some(problem) = &record.unfit {
            report.state = VolumeState::Failed;
            report.problem = Some(problem.clone());
        }
        let event = StorageEvent::Unknown(Box::new(spec), Box::new(report));
        let _ = self.out.send(event);
    }

    /// The master's books have a volume.
    pub(crate) fn is_wanted(&mut self, volume_id: VolumeId) {
        if let Some(wanted) = &mut self.wanted {
            wanted.insert(volume_id);
        }
    }

    /// Tells of each volume that the books have on this node and of which it has no record: the
    /// record was damaged, or the state folder is an older copy.
    fn tell_missing(&self, wanted: &[VolumeId]) {
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
        let records = self.volumes.values().map(|volume| volume.record());
        let created = records
            .filter(|record| record.spec.plugin == *plugin)
            .filter_map(VolumeRecord::created);
        created
            .map(|created| created.csi_volume_id.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(id: &str) -> Created {
        Created {
            csi_volume_id: id.to_owned(),
            capacity: sutler_ids::Bytes(1),
            volume_context: Default::default(),
            driver: "driver".to_owned(),
        }
    }

    fn made(id: &str) -> Made {
        Made {
            csi_volume_id: id.to_owned(),
            driver: "driver".to_owned(),
            capacity: None,
            volume_context: Default::default(),
            topology: Vec::new(),
            here: Default::default(),
            also: None,
        }
    }

    #[test]
    fn an_identity_is_found_with_others_until_its_volume_has_it_no_more() {
        let [one, two] = [1, 2].map(|n| VolumeId::new(uuid::Uuid::from_u128(n)));
        let mut identities = Identities::default();
        identities.is(one, Some(&created("a")));
        assert_eq!(identities.other(two, &made("a")), Some(one));
        assert_eq!(identities.other(one, &made("a")), None, "its own");
        assert_eq!(identities.other(two, &made("b")), None);
        let elsewhere = Made {
            driver: "other".to_owned(),
            ..made("a")
        };
        assert_eq!(identities.other(two, &elsewhere), None, "another driver's");
        identities.is(one, Some(&created("b")));
        assert_eq!(identities.other(two, &made("a")), None);
        assert_eq!(identities.other(two, &made("b")), Some(one));
        identities.is(one, None);
        assert!(identities.of.is_empty() && identities.volumes.is_empty());
    }

    #[tokio::test]
    async fn a_volume_that_the_masters_books_do_not_have_is_told_to_it() {
        use super::super::tests::{Bench, operation, task, volume_id};
        let fake = sutler_testkit::fake_plugin::FakeConfig::default();
        let mut bench = Bench::created(fake).await;
        bench.handle.wanted(vec![volume_id()]);
        bench.handle.wanted(Vec::new());
        let unknown = |event| match event {
            StorageEvent::Unknown(spec, report) => Some((spec.volume_id, report.state)),
            _ => None,
        };
        let told = bench.until(unknown).await;
        assert_eq!(told, (volume_id(), VolumeState::Ready));
        // What is being deleted was known to whoever asked for that.
        let away =
            sutler_testkit::fake_plugin::Fault::Fail(tonic::Code::Unavailable, "away".to_owned());
        let always = sutler_testkit::fake_plugin::When::Always;
        let delete = sutler_csi::Rpc::DeleteVolume;
        bench.plugin.set_fault(delete, always, away);
        bench.handle.submit(operation(2, VolumeAct::Delete));
        bench.plugin.wait_calls(delete, 1).await;
        bench.handle.wanted(Vec::new());
        bench.handle.acquire(volume_id(), task("late"), false);
        let told = bench.until(|event| match event {
            StorageEvent::Acquired { .. } => Some(None),
            other => unknown(other).map(Some),
        });
        assert_eq!(told.await, None, "told of a volume that is being deleted");
    }
}
