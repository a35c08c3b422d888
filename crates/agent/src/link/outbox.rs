//! What the master has not acknowledged: the latest of each object, in order of happening.

use std::collections::BTreeMap;

use sutler_api::agent::Update;
use sutler_ids::{OperationUuid, PluginName, TaskId, VolumeId};

/// What an update is about. A newer one about the same replaces an older: states are told, not
/// changes, so nothing is lost. The number of objects bounds the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Operation(OperationUuid),
    Volume(VolumeId),
    Task(TaskId),
    Plugin(PluginName),
    PluginsTold,
    Agent,
}

/// Updates to be posted.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    next: u64,
    updates: BTreeMap<u64, Update>,
    latest: BTreeMap<About, u64>,
}

impl Outbox {
    /// Adds an update at the end, in place of an older one about the same.
    pub(super) fn put(&mut self, update: Update) {
        let number = self.next;
        self.next += 1;
        if let Some(older) = self.latest.insert(about(&update), number) {
            self.updates.remove(&older);
        }
        self.updates.insert(number, update);
    }

    /// Gives the oldest updates with their numbers; `None` if there are none.
    pub(super) fn oldest(&self, most: usize) -> Option<(Vec<u64>, Vec<Update>)> {
        if self.updates.is_empty() {
            return None;
        }
        let oldest = self.updates.iter().take(most);
        Some(
            oldest
                .map(|(number, update)| (*number, update.clone()))
                .unzip(),
        )
    }

    /// The master has these. What came meanwhile about the same objects stays.
    pub(super) fn acknowledge(&mut self, told: &[u64]) {
        for number in told {
            if let Some(update) = self.updates.remove(number) {
                self.latest.remove(&about(&update));
            }
        }
    }
}

fn about(update: &Update) -> About {
    match update {
        Update::Operation(report) => About::Operation(report.operation_uuid),
        Update::Volume(report) => About::Volume(report.volume_id),
        Update::Task(report) => About::Task(report.task_id.clone()),
        Update::Plugin { name, .. } => About::Plugin(name.clone()),
        Update::PluginsTold => About::PluginsTold,
        Update::Agent { .. } => About::Agent,
    }
}

#[cfg(test)]
mod tests {
    use sutler_api::agent::TaskReport;
    use sutler_api::task::TaskState;
    use sutler_ids::TaskInstance;

    use super::*;

    fn task(state: TaskState) -> Update {
        Update::Task(TaskReport {
            task_id: TaskId::new("t").expect("a name"),
            instance: TaskInstance::UNKNOWN,
            state,
            exit: None,
            problem: None,
            image_digest: None,
            started_at: None,
            ended_at: None,
            progress: None,
        })
    }

    #[test]
    fn only_what_was_acknowledged_goes_and_a_newer_state_stays() {
        let mut outbox = Outbox::default();
        outbox.put(task(TaskState::Running));
        outbox.put(Update::PluginsTold);
        let (told, updates) = outbox.oldest(10).expect("two updates");
        assert_eq!(updates, [task(TaskState::Running), Update::PluginsTold]);
        outbox.put(task(TaskState::Finished));
        outbox.acknowledge(&told);
        let (_, updates) = outbox.oldest(10).expect("one update");
        assert_eq!(updates, [task(TaskState::Finished)]);
        let (told, _) = outbox.oldest(1).expect("one update");
        outbox.acknowledge(&told);
        assert!(outbox.oldest(1).is_none() && outbox.latest.is_empty());
    }
}
