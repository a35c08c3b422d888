//! Volumes that nodes have and the books do not: an older copy of the books was put back, or they
//! were lost. Such a volume runs on where it is and its name is taken; it is shown, and an
//! operator takes it into the books. Nothing is deleted for want of a record here.

use std::collections::BTreeMap;
use std::ops::Bound;

use sutler_api::agent::VolumeReport;
use sutler_api::volume::{VolumeSpec, VolumeState, VolumeView};
use sutler_ids::{AgentId, AgentName, ErrorKind, PluginName, Problem, VolumeId, VolumeName};
use uuid::Uuid;

use crate::books::{Books, Turn};
use crate::definition::join;
use crate::record::{Change, VolumePhase, VolumeRecord};
use crate::step::{Reply, Subject};

/// What its node tells of such a volume.
#[derive(Debug, Clone)]
pub(crate) struct UnknownVolume {
    agent_id: AgentId,
    /// Whether it was told since the node's stream came up.
    fresh: bool,
    /// What it was made with.
    spec: VolumeSpec,
    report: VolumeReport,
}

/// All of them, by name and by identity.
#[derive(Debug, Default)]
pub(crate) struct UnknownVolumes {
    by_name: BTreeMap<(VolumeName, VolumeId), UnknownVolume>,
    names: BTreeMap<VolumeId, VolumeName>,
}

impl UnknownVolumes {
    /// Gives those of a name.
    fn called(&self, name: &VolumeName) -> impl Iterator<Item = &UnknownVolume> {
        let [first, last] = [Uuid::nil(), Uuid::max()].map(VolumeId::new);
        let range = (name.clone(), first)..=(name.clone(), last);
        self.by_name.range(range).map(|(_, unknown)| unknown)
    }

    /// Gives those after a name, in the order of names.
    pub(crate) fn after(&self, name: Option<&VolumeName>) -> impl Iterator<Item = &UnknownVolume> {
        let from = match name {
            None => Bound::Unbounded,
            Some(name) => Bound::Excluded((name.clone(), VolumeId::new(Uuid::max()))),
        };
        let later = self.by_name.range((from, Bound::Unbounded));
        later.map(|(_, unknown)| unknown)
    }

    /// Gives those that a plugin has made.
    pub(crate) fn of_plugin(&self, name: &PluginName) -> impl Iterator<Item = &UnknownVolume> {
        let all = self.by_name.values();
        all.filter(move |unknown| unknown.spec.plugin == *name)
    }

    fn get_mut(&mut self, id: VolumeId) -> Option<&mut UnknownVolume> {
        let name = self.names.get(&id)?;
        self.by_name.get_mut(&(name.clone(), id))
    }

    fn insert(&mut self, unknown: UnknownVolume) {
        let (name, id) = (unknown.spec.name.clone(), unknown.spec.volume_id);
        self.remove(id);
        self.names.insert(id, name.clone());
        self.by_name.insert((name, id), unknown);
    }

    fn remove(&mut self, id: VolumeId) {
        if let Some(name) = self.names.remove(&id) {
            self.by_name.remove(&(name, id));
        }
    }
}

impl UnknownVolume {
    /// Names it, with what holds it if something does.
    pub(crate) fn named(&self) -> String {
        format!("{} (not in the books)", self.spec.name)
    }
}

impl Books {
    /// Shows a volume by its identity, also one that only its node has.
    pub fn volume_of(&self, id: VolumeId) -> Option<VolumeView> {
        if let Some(volume) = self.durable.volumes.get(&id) {
            return Some(self.volume_view(volume));
        }
        let name = self.live.unknown.names.get(&id)?;
        let unknown = self.live.unknown.by_name.get(&(name.clone(), id))?;
        Some(self.unknown_view(unknown))
    }

    /// Gives the first unknown volume of a name.
    pub(crate) fn unknown_called(&self, name: &VolumeName) -> Option<&UnknownVolume> {
        self.live.unknown.called(name).next()
    }

    /// Says why nothing can be done with a volume of that name.
    pub(crate) fn not_in_the_books(&self, unknown: &UnknownVolume) -> Problem {
        let (name, node) = (&unknown.spec.name, self.agent_name(unknown.agent_id));
        let what = format!("volume {name} is on node {node} and not in the cluster's books");
        Problem::new(ErrorKind::Conflict, what).hint(format!("sutler volume adopt {name}"))
    }

    /// Shows it as its node does.
    pub(crate) fn unknown_view(&self, unknown: &UnknownVolume) -> VolumeView {
        let (spec, report) = (&unknown.spec, &unknown.report);
        VolumeView {
            name: spec.name.clone(),
            volume_id: spec.volume_id,
            class: spec.class.clone(),
            plugin: spec.plugin.clone(),
            agent: self.agent_name(unknown.agent_id),
            csi_volume_id: report.csi_volume_id.clone(),
            capacity: report.capacity.unwrap_or(spec.capacity),
            used: report.used,
            access: spec.access,
            state: VolumeState::Unknown,
            state_since: report.since,
            holders: report.holders.clone(),
            created_at: report.since,
            trash_until: None,
            problem: Some(self.not_in_the_books(unknown)),
        }
    }
}

impl Turn<'_> {
    pub(crate) fn on_unknown_volume(
        &mut self,
        agent_id: AgentId,
        spec: VolumeSpec,
        report: VolumeReport,
    ) {
        // Made since the node was told what the books have.
        if self.books.durable.volumes.contains_key(&spec.volume_id) {
            return;
        }
        self.step.changed.insert(Subject::Volume(spec.volume_id));
        self.books.live.unknown.insert(UnknownVolume {
            agent_id,
            fresh: true,
            spec,
            report,
        });
    }

    /// A node tells of a volume that the books do not have.
    pub(crate) fn on_report_of_unknown(&mut self, agent_id: AgentId, report: VolumeReport) {
        let unknown = self.books.live.unknown.get_mut(report.volume_id);
        if let Some(unknown) = unknown.filter(|unknown| unknown.agent_id == agent_id) {
            self.step.changed.insert(Subject::Volume(report.volume_id));
            // What is not fit for use stays that, whatever else is told of it.
            if unknown.report.state != VolumeState::Failed {
                unknown.report = report;
            }
        }
    }

    /// A node is about to tell anew; until it has, what it told before holds their names.
    pub(crate) fn unknown_are_stale(&mut self, agent_id: AgentId) {
        let all = self.books.live.unknown.by_name.values_mut();
        for unknown in all.filter(|unknown| unknown.agent_id == agent_id) {
            unknown.fresh = false;
        }
    }

    /// A node has told all of them.
    pub(crate) fn on_volumes_compared(&mut self, agent_id: AgentId) {
        self.forget_unknown(|unknown| unknown.agent_id == agent_id && !unknown.fresh);
    }

    /// A node will never tell again.
    pub(crate) fn forget_unknown_of(&mut self, agent_id: AgentId) {
        self.forget_unknown(|unknown| unknown.agent_id == agent_id);
    }

    fn forget_unknown(&mut self, goes: impl Fn(&UnknownVolume) -> bool) {
        let all = self.books.live.unknown.by_name.values();
        let gone = all.filter(|unknown| goes(unknown));
        let gone: Vec<VolumeId> = gone.map(|unknown| unknown.spec.volume_id).collect();
        for volume_id in gone {
            self.books.live.unknown.remove(volume_id);
            self.step.changed.insert(Subject::Volume(volume_id));
        }
    }

    pub(crate) fn adopt_volume(
        &mut self,
        name: &VolumeName,
        node: Option<&AgentName>,
        new_name: Option<VolumeName>,
    ) -> Result<(), Problem> {
        let unknown = self.to_adopt(name, node)?;
        let volume_id = unknown.spec.volume_id;
        let name = new_name.unwrap_or_else(|| name.clone());
        self.check_free_for(&name, &unknown.spec)?;
        let record = VolumeRecord {
            agent_id: unknown.agent_id,
            capacity: unknown.report.capacity.unwrap_or(unknown.spec.capacity),
            created_at: self.now.wall,
            since: self.now.wall,
            phase: phase_of(&unknown.report),
            spec: VolumeSpec {
                name,
                ..unknown.spec
            },
        };
        self.books.live.unknown.remove(volume_id);
        self.books.live.volumes.insert(volume_id, unknown.report);
        self.persist(Change::Volume(record));
        self.reply(Reply::Volume(volume_id));
        Ok(())
    }

    /// Refuses a name that another volume has, in the books or outside.
    fn check_free_for(&self, name: &VolumeName, spec: &VolumeSpec) -> Result<(), Problem> {
        let known = self.books.volume_by_name(name).map(|volume| &volume.spec);
        let mut others = self.books.live.unknown.called(name);
        let own_name = *name == spec.name;
        let other = others.find(|other| !own_name && other.spec.volume_id != spec.volume_id);
        let Some(taken) = known.or(other.map(|other| &other.spec)) else {
            return Ok(());
        };
        let what = format!(
            "there is another volume called {name} ({})",
            taken.volume_id
        );
        let hint = format!(
            "give it another name: sutler volume adopt {} --as NAME",
            spec.name
        );
        Err(Problem::new(ErrorKind::Conflict, what).hint(hint))
    }

    fn to_adopt(
        &self,
        name: &VolumeName,
        node: Option<&AgentName>,
    ) -> Result<UnknownVolume, Problem> {
        let here =
            |u: &&UnknownVolume| node.is_none_or(|node| self.books.agent_name(u.agent_id) == *node);
        let all = self.books.live.unknown.called(name).filter(here);
        let all: Vec<&UnknownVolume> = all.collect();
        match all.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let on = node.map_or(String::new(), |node| format!(" on node {node}"));
                let what = format!("no volume called {name}{on} is outside the books");
                Err(Problem::new(ErrorKind::NotFound, what).hint("sutler volume ls"))
            }
            several => {
                let nodes = join(several.iter().map(|u| self.books.agent_name(u.agent_id)));
                let what = format!("several volumes called {name} are outside the books: {nodes}");
                let hint = format!("sutler volume adopt {name} --node NODE");
                Err(Problem::new(ErrorKind::Conflict, what).hint(hint))
            }
        }
    }
}

/// What was never fit for use does not become so by another copy of the books.
fn phase_of(report: &VolumeReport) -> VolumePhase {
    match (report.state, &report.problem) {
        (VolumeState::Failed, Some(problem)) => VolumePhase::Failed {
            problem: problem.clone(),
            left_behind: report.csi_volume_id.clone(),
        },
        _ => VolumePhase::Live {
            growing: None,
            problem: None,
        },
    }
}
