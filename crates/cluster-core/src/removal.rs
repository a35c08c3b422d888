//! Last words: an operator ends in the books what nobody can end in the world any more.
//!
//! Owns `volume rm --forget` and `node rm`. Deletes nothing anywhere, and says what may be left.

use std::time::Duration;

use sutler_api::agent::Outcome;
use sutler_api::task::TaskState;
use sutler_ids::{AgentId, AgentName, ErrorKind, OperationUuid, Problem, VolumeName};
use uuid::Uuid;

use crate::books::Turn;
use crate::plugins::some_names;
use crate::record::{
    AgentRecord, Change, EndedOperation, OperationAct, TaskEnd, TaskRecord, VolumePhase,
    VolumeRecord,
};
use crate::step::Reply;

/// How long a node must have been away before it is removed: an agent that starts again, or whose
/// connection broke, is back within seconds.
const AWAY_MIN: Duration = Duration::from_secs(30);

impl Turn<'_> {
    /// Has a volume's node forget it, whatever its back end has.
    pub(crate) fn forget_by_word(&mut self, seed: Uuid, name: &VolumeName) -> Result<(), Problem> {
        let volume = self.books.volume_called(name)?.clone();
        let (volume_id, agent_id) = (volume.spec.volume_id, volume.agent_id);
        self.check_forgettable(&volume)?;
        let asked = match &volume.phase {
            VolumePhase::Deleting { deletion } => self.books.durable.operations.get(deletion),
            VolumePhase::Creating
            | VolumePhase::Live { .. }
            | VolumePhase::Trashed { .. }
            | VolumePhase::Failed { .. } => None,
        };
        let asked = asked.filter(|operation| operation.act == OperationAct::Forget);
        let asked = asked.map(|operation| operation.operation_uuid);
        if asked.is_none() && !self.books.connected(agent_id) {
            return Err(self.away_for_good(&volume));
        }
        let operation_uuid = asked.unwrap_or_else(|| {
            self.begin_end(volume, OperationUuid::new(seed), OperationAct::Forget)
        });
        self.reply(Reply::Accepted {
            operation_uuid,
            volume_id,
        });
        Ok(())
    }

    fn check_forgettable(&self, volume: &VolumeRecord) -> Result<(), Problem> {
        let name = &volume.spec.name;
        match &volume.phase {
            VolumePhase::Trashed { .. } => {
                let what = format!("volume {name} is in the trash");
                let hint = format!("sutler volume rm {name} --purge deletes it in the back end");
                Err(Problem::new(ErrorKind::Conflict, what).hint(hint))
            }
            VolumePhase::Failed {
                left_behind: None, ..
            } => {
                let what = format!("nothing of volume {name} exists");
                let hint = format!("sutler volume rm {name}");
                Err(Problem::new(ErrorKind::Conflict, what).hint(hint))
            }
            VolumePhase::Creating
            | VolumePhase::Live { .. }
            | VolumePhase::Deleting { .. }
            | VolumePhase::Failed { .. } => self.books.check_unused(volume),
        }
    }

    fn away_for_good(&self, volume: &VolumeRecord) -> Problem {
        let (name, node) = (&volume.spec.name, self.books.agent_name(volume.agent_id));
        let what = format!("node {node}, which has volume {name}, is not connected");
        let hint =
            format!("wait for it; if it never comes back: sutler node rm {node} --forget-volumes");
        Problem::new(ErrorKind::Conflict, what).hint(hint)
    }

    /// Takes a node out of the books.
    pub(crate) fn remove_node(
        &mut self,
        name: &AgentName,
        forget_volumes: bool,
    ) -> Result<(), Problem> {
        let Some(agent) = self.books.agent_by_name(name).cloned() else {
            let what = format!("no node is called {name}");
            return Err(Problem::new(ErrorKind::NotFound, what).hint("sutler node ls"));
        };
        self.check_away(&agent)?;
        let volumes = self.volumes_on(agent.agent_id);
        if !forget_volumes && !volumes.is_empty() {
            return Err(keeps_volumes(name, &volumes));
        }
        let node = self.books.agent(agent.agent_id);
        let node = Box::new(node.expect("it was found by its name"));
        let forgotten = volumes.iter().map(|volume| self.books.volume_view(volume));
        let forgotten = forgotten.collect();
        self.end_all_of(&agent, volumes);
        self.reply(Reply::NodeRemoved { node, forgotten });
        Ok(())
    }

    /// A master that has just started, and a broken connection, say nothing of a node.
    fn check_away(&self, agent: &AgentRecord) -> Result<(), Problem> {
        let (books, name) = (&self.books, &agent.name);
        let conflict = |what: String, hint: &str| {
            let problem = Problem::new(ErrorKind::Conflict, what);
            Err(problem.hint(hint.to_owned()))
        };
        if books.connected(agent.agent_id) {
            let hint = "stop its agent first, and make sure that nothing starts it again";
            return conflict(format!("node {name} is connected"), hint);
        }
        let live = books.live.agents.get(&agent.agent_id);
        let from = live.map_or(books.recovered_from, |live| live.away_from);
        let away = self.now.boottime.since(from);
        if away < AWAY_MIN {
            let (away, min) = (away.as_secs(), AWAY_MIN.as_secs());
            let what = format!("node {name} is away for {away} s only, as seen by this master");
            return conflict(
                what,
                &format!("it may be back at once; wait until {min} s are over"),
            );
        }
        Ok(())
    }

    fn volumes_on(&self, agent_id: AgentId) -> Vec<VolumeRecord> {
        let ids = self.books.durable.index.volumes_on.of(&agent_id);
        let volumes = ids.filter_map(|id| self.books.durable.volumes.get(id));
        volumes.cloned().collect()
    }

    fn end_all_of(&mut self, agent: &AgentRecord, volumes: Vec<VolumeRecord>) {
        let id = agent.agent_id;
        let what = format!(
            "node {} was removed; what goes on there is not known",
            agent.name
        );
        let problem = Problem::new(ErrorKind::Unavailable, what);
        self.end_tasks_of(id, &problem);
        for volume in volumes {
            self.end_others(&volume, "was forgotten with its node");
            self.forget_volume(&volume);
        }
        let operations = self.books.durable.operations.values();
        let open = operations.filter(|o| o.agent_id == id && o.ended.is_none());
        let open: Vec<OperationUuid> = open.map(|o| o.operation_uuid).collect();
        for uuid in open {
            let outcome = Outcome::Failed(problem.clone());
            let at = self.now.wall;
            self.end_operation(uuid, EndedOperation { outcome, at });
        }
        self.persist(Change::Agent(AgentRecord {
            removed_at: Some(self.now.wall),
            ..agent.clone()
        }));
        self.books.live.agents.remove(&id);
        self.forget_unknown_of(id);
        self.finish_removals();
    }

    fn end_tasks_of(&mut self, id: AgentId, problem: &Problem) {
        let ids = self.books.durable.index.open_tasks.of(&id);
        let open = ids.filter_map(|id| self.books.durable.tasks.get(id));
        for task in open.cloned().collect::<Vec<TaskRecord>>() {
            let image_digest = None;
            self.end_task(
                task,
                TaskEnd {
                    state: TaskState::Failed,
                    exit: None,
                    problem: Some(problem.clone()),
                    image_digest,
                    at: self.now.wall,
                    recorded_at: self.now.wall,
                },
            );
        }
    }
}

fn keeps_volumes(node: &AgentName, volumes: &[VolumeRecord]) -> Problem {
    let refs: Vec<&VolumeRecord> = volumes.iter().collect();
    let what = format!("node {node} has volumes: {}", some_names(&refs));
    let hint = format!(
        "their data stays where it is, and nobody will know of it: sutler node rm {node} \
         --forget-volumes"
    );
    Problem::new(ErrorKind::Conflict, what).hint(hint)
}
