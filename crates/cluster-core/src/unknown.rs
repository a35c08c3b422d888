//! Volumes that nodes have and the books do not: an older copy of the books was put back, or they
//! were lost. Such a volume runs on where it is and its name is taken; it is shown, and an
//! operator takes it into the books. Nothing is deleted for want of a record here.

use sutler_api::agent::VolumeReport;
use sutler_api::volume::{VolumeSpec, VolumeState, VolumeView};
use sutler_ids::{AgentId, AgentName, ErrorKind, Problem, VolumeName};

use crate::books::{Books, Turn};
use crate::definition::join;
use crate::record::{Change, VolumePhase, VolumeRecord};
use crate::step::{Reply, Subject};

/// What its node tells of such a volume.
#[derive(Debug, Clone)]
pub(crate) struct UnknownVolume {
    agent_id: AgentId,
    /// What it was made with.
    spec: VolumeSpec,
    report: VolumeReport,
}

impl Books {
    /// Gives the first unknown volume of a name.
    pub(crate) fn unknown_called(&self, name: &VolumeName) -> Option<&UnknownVolume> {
        self.all_unknown_called(name).next()
    }

    fn all_unknown_called(&self, name: &VolumeName) -> impl Iterator<Item = &UnknownVolume> {
        let all = self.live.unknown.iter();
        all.filter(move |((known, _), _)| known == name)
            .map(|(_, unknown)| unknown)
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
        let key = (spec.name.clone(), spec.volume_id);
        let unknown = UnknownVolume {
            agent_id,
            spec,
            report,
        };
        self.books.live.unknown.insert(key, unknown);
    }

    /// A node tells of a volume that the books do not have.
    pub(crate) fn on_report_of_unknown(&mut self, agent_id: AgentId, report: VolumeReport) {
        let mut all = self.books.live.unknown.values_mut();
        let it =
            |u: &&mut UnknownVolume| u.agent_id == agent_id && u.spec.volume_id == report.volume_id;
        if let Some(unknown) = all.find(it) {
            self.step.changed.insert(Subject::Volume(report.volume_id));
            unknown.report = report;
        }
    }

    /// A node is about to tell anew, or never will.
    pub(crate) fn forget_unknown_of(&mut self, agent_id: AgentId) {
        let changed = &mut self.step.changed;
        self.books.live.unknown.retain(|(_, volume_id), unknown| {
            let goes = unknown.agent_id == agent_id;
            if goes {
                changed.insert(Subject::Volume(*volume_id));
            }
            !goes
        });
    }

    pub(crate) fn adopt_volume(
        &mut self,
        name: &VolumeName,
        node: Option<&AgentName>,
        new_name: Option<VolumeName>,
    ) -> Result<(), Problem> {
        let unknown = self.to_adopt(name, node)?;
        let key = (name.clone(), unknown.spec.volume_id);
        let name = new_name.unwrap_or_else(|| name.clone());
        if let Some(taken) = self.books.volume_by_name(&name) {
            let (id, what) = (taken.spec.volume_id, "is in the books");
            let what = format!("another volume called {name} {what} ({id})");
            let hint = format!(
                "give it another name: sutler volume adopt {} --as NAME",
                key.0
            );
            return Err(Problem::new(ErrorKind::Conflict, what).hint(hint));
        }
        let VolumeReport { capacity, .. } = &unknown.report;
        let record = VolumeRecord {
            agent_id: unknown.agent_id,
            capacity: capacity.unwrap_or(unknown.spec.capacity),
            created_at: self.now.wall,
            since: self.now.wall,
            phase: VolumePhase::Live {
                growing: None,
                problem: None,
            },
            spec: VolumeSpec {
                name,
                ..unknown.spec
            },
        };
        let volume_id = record.spec.volume_id;
        self.books.live.unknown.remove(&key);
        self.books.live.volumes.insert(volume_id, unknown.report);
        self.persist(Change::Volume(record));
        self.reply(Reply::Volume(volume_id));
        Ok(())
    }

    fn to_adopt(
        &self,
        name: &VolumeName,
        node: Option<&AgentName>,
    ) -> Result<UnknownVolume, Problem> {
        let here =
            |u: &&UnknownVolume| node.is_none_or(|node| self.books.agent_name(u.agent_id) == *node);
        let all: Vec<&UnknownVolume> = self.books.all_unknown_called(name).filter(here).collect();
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
