//! What the master has not acknowledged: the latest of each object, in order of happening; what is
//! only told again after what is new. When everything is told anew there may be 100,000 volumes,
//! and somebody waits for the end of an operation.

use std::collections::BTreeMap;

use sutler_api::agent::Update;
use sutler_ids::{OperationUuid, PluginName, TaskId, VolumeId};

/// What an update is about. A newer one about the same replaces an older: states are told, not
/// changes, so nothing is lost. The number of objects bounds the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Operation(OperationUuid),
    Volume(VolumeId),
    UnknownVolume(VolumeId),
    Task(TaskId),
    Plugin(PluginName),
    PluginsTold,
    VolumesCompared,
    Agent,
}

/// One in so many of a post are of those that can wait, if there are any.
const SHARE_OF_WAITING: usize = 4;

/// Where an update stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// Whether it can wait for what cannot.
    can_wait: bool,
    number: u64,
}

/// Updates to be posted.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    next: u64,
    updates: BTreeMap<Turn, Update>,
    latest: BTreeMap<About, Turn>,
}

impl Outbox {
    /// Adds an update at the end, in place of an older one about the same.
    pub(super) fn put(&mut self, update: Update) {
        self.add(update, false);
    }

    /// Adds what was told before: it can wait, unless news about the same are still to be told.
    pub(super) fn put_again(&mut self, update: Update) {
        let older = self.latest.get(&about(&update));
        let news = older.is_some_and(|turn| !turn.can_wait);
        self.add(update, !news);
    }

    /// A new stream: what was compared with the books of the former one says nothing of this one.
    pub(super) fn begin_stream(&mut self) {
        if let Some(turn) = self.latest.remove(&About::VolumesCompared) {
            self.updates.remove(&turn);
        }
    }

    fn add(&mut self, update: Update, can_wait: bool) {
        let number = self.next;
        let turn = Turn { can_wait, number };
        self.next += 1;
        if let Some(older) = self.latest.insert(about(&update), turn) {
            self.updates.remove(&older);
        }
        self.updates.insert(turn, update);
    }

    /// Gives the updates whose turn it is; `None` if there are none.
    pub(super) fn first(&self, most: usize) -> Option<(Vec<Turn>, Vec<Update>)> {
        if self.updates.is_empty() {
            return None;
        }
        let border = Turn {
            can_wait: true,
            number: 0,
        };
        let waiting = self.updates.range(border..);
        // News without end must not keep the rest from ever being told.
        let kept = waiting.clone().take(most / SHARE_OF_WAITING).count();
        let news = self.updates.range(..border).take(most - kept);
        let first = news.chain(waiting).take(most);
        Some(first.map(|(turn, update)| (*turn, update.clone())).unzip())
    }

    /// The master has these. What came meanwhile about the same objects stays.
    pub(super) fn acknowledge(&mut self, told: &[Turn]) {
        for turn in told {
            if let Some(update) = self.updates.remove(turn) {
                self.latest.remove(&about(&update));
            }
        }
    }
}

fn about(update: &Update) -> About {
    match update {
        Update::Operation(report) => About::Operation(report.operation_uuid),
        Update::Volume(report) => About::Volume(report.volume_id),
        Update::UnknownVolume { spec, .. } => About::UnknownVolume(spec.volume_id),
        Update::Task(report) => About::Task(report.task_id.clone()),
        Update::Plugin { name, .. } => About::Plugin(name.clone()),
        Update::PluginsTold => About::PluginsTold,
        Update::VolumesCompared => About::VolumesCompared,
        Update::Agent { .. } => About::Agent,
    }
}

#[cfg(test)]
mod tests {
    use sutler_api::Timestamp;
    use sutler_api::agent::{TaskReport, VolumeReport};
    use sutler_api::task::TaskState;
    use sutler_api::volume::VolumeState;
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
        let (told, updates) = outbox.first(10).expect("two updates");
        assert_eq!(updates, [task(TaskState::Running), Update::PluginsTold]);
        outbox.put(task(TaskState::Finished));
        outbox.acknowledge(&told);
        let (_, updates) = outbox.first(10).expect("one update");
        assert_eq!(updates, [task(TaskState::Finished)]);
        let (told, _) = outbox.first(1).expect("one update");
        outbox.acknowledge(&told);
        assert!(outbox.first(1).is_none() && outbox.latest.is_empty());
    }

    #[test]
    fn an_operations_end_does_not_wait_for_the_states_of_all_volumes() {
        let volume = |n| {
            Update::Volume(VolumeReport {
                volume_id: VolumeId::new(uuid::Uuid::from_u128(n)),
                state: VolumeState::Ready,
                since: Timestamp::default(),
                csi_volume_id: None,
                capacity: None,
                used: None,
                holders: Vec::new(),
                problem: None,
            })
        };
        let mut outbox = Outbox::default();
        for n in 0..3 {
            outbox.put_again(volume(n));
        }
        outbox.put(volume(2));
        outbox.put(task(TaskState::Finished));
        outbox.put(Update::PluginsTold);
        // There are news of it to tell, so it does not wait.
        outbox.put_again(volume(2));
        outbox.put(Update::VolumesCompared);
        outbox.begin_stream();
        let (told, updates) = outbox.first(4).expect("five updates");
        let first = [
            task(TaskState::Finished),
            Update::PluginsTold,
            volume(2),
            volume(0),
        ];
        assert_eq!(updates, first);
        outbox.acknowledge(&told);
        // News without end leave one place of four to what can wait.
        for n in 10..20 {
            outbox.put(volume(n));
        }
        let (_, updates) = outbox.first(4).expect("eleven updates");
        assert_eq!(updates, [volume(10), volume(11), volume(12), volume(1)]);
    }
}
