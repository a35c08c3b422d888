//! Random histories: every answer, every order; the laws hold and rest is reached.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sutler_api::agent::{Outcome, VolumeAct};
use sutler_ids::Bytes;
use sutler_ids::{OperationUuid, TaskId};

use super::world::*;
use crate::*;

#[derive(Debug, Clone)]
enum Happening {
    Acquire(u8, bool),
    Release(u8),
    Grow(u8),
    Delete,
    PluginBounces,
    /// The plugin lists its volumes, with this one or without; true or not.
    Listed(bool),
    Restart,
    Reboot,
    /// Somebody unmounts behind our back.
    Unmount {
        staging: bool,
        target: bool,
    },
    /// A mount of a call that was given up appears at last, and the host shows it.
    Late {
        staging: bool,
    },
    LookAnswers,
    LookHangs,
    /// The back end does it (or not) and the answer is lost or is an error.
    AnswerNext {
        done: bool,
        verdict: Option<u8>,
    },
    /// The plugin says OK to what it has not done.
    Lies,
    Due,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u8..3, any::<bool>()).prop_map(|(n, ro)| Happening::Acquire(n, ro)),
        (0_u8..3).prop_map(Happening::Release),
        (0_u8..4).prop_map(Happening::Grow),
        Just(Happening::Delete),
        Just(Happening::PluginBounces),
        any::<bool>().prop_map(Happening::Listed),
        Just(Happening::Restart),
        Just(Happening::Reboot),
        (any::<bool>(), any::<bool>())
            .prop_map(|(staging, target)| Happening::Unmount { staging, target }),
        any::<bool>().prop_map(|staging| Happening::Late { staging }),
        Just(Happening::LookAnswers),
        Just(Happening::LookHangs),
        (any::<bool>(), proptest::option::of(0_u8..5))
            .prop_map(|(done, verdict)| Happening::AnswerNext { done, verdict }),
        Just(Happening::AnswerNext {
            done: true,
            verdict: None
        }),
        Just(Happening::Lies),
        Just(Happening::Due),
    ]
}

/// What a faithful plugin may say of a volume that it knows; that it does not know one, it
/// says of itself in [`Backend::carry_out`].
const VERDICTS: [Verdict; 5] = [
    Verdict::Refused,
    Verdict::Exhausted,
    Verdict::AlreadyExists,
    Verdict::NotNow,
    Verdict::Uncertain,
];

/// A shell that leaves calls open until told otherwise.
struct Slow {
    world: World,
    open: Option<Call>,
    look: Option<(CallId, Mount)>,
    next_operation: u128,
    growths: BTreeMap<OperationUuid, Bytes>,
    /// Tasks that were told that they have it: each may run and write until it lets go.
    holders: BTreeSet<TaskId>,
}

/// Kinds of plugins: each with and without the rungs that a plugin may lack.
fn abilities() -> impl Strategy<Value = Abilities> {
    (any::<bool>(), any::<bool>()).prop_map(|(attaches, stages)| Abilities {
        attaches,
        stages,
        ..ALL
    })
}

impl Slow {
    fn new(abilities: Abilities) -> Self {
        let create = operation(1, VolumeAct::Create(spec()));
        let mut world = World::new(abilities);
        let (volume, step) = Volume::create(&create, "1", at(0)).unwrap();
        world.volume = Some(volume);
        let mut slow = Self {
            world,
            open: None,
            look: None,
            next_operation: 1,
            growths: BTreeMap::new(),
            holders: BTreeSet::new(),
        };
        slow.take(step);
        slow.send(plugin_up(abilities));
        slow
    }

    /// An operation told as finished is finished.
    fn check_told(&self, report: &sutler_api::agent::OperationReport) {
        let asked = self.growths.get(&report.operation_uuid);
        if let (Some(asked), Outcome::Finished) = (asked, &report.outcome) {
            let volume = self.world.volume.as_ref().unwrap();
            let created = volume.record().created();
            assert!(
                created.is_none_or(|created| created.capacity >= *asked),
                "told that it has grown to {asked}, and it has not"
            );
        }
    }

    fn send(&mut self, event: Event) {
        let now = self.world.now();
        let Some(volume) = self.world.volume.as_mut() else {
            return;
        };
        if let Ok(step) = volume.on_event(event, now) {
            self.take(step);
        }
        self.check_why(now);
    }

    /// Whoever asks why something has not happened yet is never told that there is nothing to do.
    fn check_why(&self, now: sutler_ids::Now) {
        let Some(volume) = self.world.volume.as_ref() else {
            return;
        };
        let Phase::Settled(_) = &volume.record().phase else {
            let idle = volume.why(now).next == "nothing to do";
            let open = matches!(volume.record().phase, Phase::InFlight(_));
            return assert!(!(idle && open), "{:?}", volume.record());
        };
        let abilities = volume.abilities().unwrap_or_default();
        let owed = crate::plan::next_rpc(volume.record(), abilities);
        // A file system that could not be grown is grown at the next publish.
        let owed = owed.filter(|rpc| !matches!(rpc, Rpc::NodeExpand(_)));
        let idle = volume.why(now).next == "nothing to do";
        assert!(!(idle && owed.is_some()), "{owed:?}: {:?}", volume.record());
    }

    fn take(&mut self, step: Step) {
        if let Some(record) = step.persist {
            self.world.disk = Some(*record);
        }
        for effect in step.effects {
            match effect {
                Effect::Call(call) => {
                    assert!(self.open.is_none(), "two calls in flight on one volume");
                    let down = matches!(call.rpc, Rpc::Unpublish | Rpc::Unstage | Rpc::Detach);
                    let held = down && !self.holders.is_empty();
                    assert!(!held, "{:?} under {:?}", call.rpc, self.holders);
                    self.open = Some(*call);
                }
                Effect::Look { call_id, mount } => self.look = Some((call_id, mount)),
                Effect::TellOperation(report) => self.check_told(&report),
                Effect::TellAcquired {
                    task_id,
                    result: Ok(()),
                } => {
                    let mounted = self.world.backend.target_mounted;
                    assert!(mounted, "{task_id} would write to the host's own disk");
                    self.holders.insert(task_id);
                }
                Effect::WakeAt(_) | Effect::TellAcquired { .. } | Effect::TellReleased { .. } => {}
            }
        }
    }

    /// Answers the open call. An error other than the unknown one is only given by a
    /// faithful plugin that has done nothing.
    fn answer(&mut self, done: bool, verdict: Option<u8>) {
        let Some(call) = self.open.take() else { return };
        let mut verdict = verdict.map(|n| VERDICTS[usize::from(n)]);
        // Of a volume that is not there a faithful plugin tells the truth, and this one has
        // a list; see the tables for one that has none.
        let known = self
            .world
            .backend
            .volumes
            .contains_key(&call.spec.volume_id.csi_name());
        let lists = call.rpc == Rpc::Verify;
        if verdict != Some(Verdict::Uncertain) && call.rpc != Rpc::Create && (!known || lists) {
            verdict = None;
        }
        let really_done = match verdict {
            Some(Verdict::Uncertain) => done,
            Some(_) => false,
            None => true,
        };
        let truth = really_done.then(|| self.world.backend.carry_out(&call));
        let result = match (verdict, truth) {
            (Some(verdict), _) => Err(failure(verdict, "said so")),
            (None, Some(result)) => result,
            (None, None) => Ok(Answer::Done),
        };
        self.end(&call, result);
    }

    fn end(&mut self, call: &Call, result: Result<Answer, Failure>) {
        let shown = self.world.backend.shown_after(call.rpc, &result);
        self.send(Event::Ended {
            call_id: call.call_id,
            result,
            shown,
        });
    }

    /// The plugin says OK and has done nothing, where the kernel can tell. Where it cannot, the
    /// call stays open.
    fn lie(&mut self) {
        let backend = &self.world.backend;
        let tells = self.open.as_ref().is_some_and(|call| match call.rpc {
            Rpc::Publish => !backend.target_mounted,
            Rpc::Unpublish => backend.target_mounted,
            Rpc::Unstage => backend.staging_mounted,
            _ => false,
        });
        if tells && let Some(call) = self.open.take() {
            self.end(&call, Ok(Answer::Done));
        }
    }

    fn come_late(&mut self, staging: bool) {
        let mount = match staging && self.world.abilities.stages {
            true => Mount::Staging,
            false => Mount::Target,
        };
        let volume = self.world.volume.as_ref();
        if !volume.is_some_and(|volume| volume.is_stray(mount)) {
            return;
        }
        let backend = &mut self.world.backend;
        // Of a volume that is deleted nothing can be mounted any more.
        if backend.volumes.is_empty() {
            return;
        }
        match mount {
            Mount::Staging => (backend.staged, backend.staging_mounted) = (true, true),
            Mount::Target => (backend.published, backend.target_mounted) = (true, true),
        }
        self.send(Event::Stray { mount });
    }

    fn answer_look(&mut self) {
        if let Some((call_id, mount)) = self.look.take() {
            let seen = seen(self.world.backend.shows(mount));
            self.send(Event::Looked { call_id, seen });
        }
    }

    fn restart(&mut self, boots: bool) {
        // A call that was open dies unanswered; the back end may have done it.
        self.open = None;
        self.look = None;
        if boots {
            self.world.boot += 1;
            self.holders.clear();
            self.world.backend.forget_mounts();
        }
        let Some(record) = self.world.disk.clone() else {
            return;
        };
        let now = self.world.now();
        let boot = self.world.boot.to_string();
        let (volume, step) = Volume::recover(record, &boot, now);
        self.world.volume = Some(volume);
        self.take(step);
        self.send(plugin_up(self.world.abilities));
    }

    fn release(&mut self, n: u8) {
        let task_id = task(&format!("t{n}"));
        self.holders.remove(&task_id);
        self.send(Event::Release { task_id });
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Acquire(n, read_only) => {
                let task_id = task(&format!("t{n}"));
                let read_only = *read_only;
                // Who asks (again) has not started.
                self.holders.remove(&task_id);
                self.send(Event::Acquire { task_id, read_only });
            }
            Happening::Release(n) => self.release(*n),
            Happening::Grow(n) => self.operate(VolumeAct::Grow {
                capacity: Bytes::mib(10 + 10 * u64::from(*n)),
            }),
            Happening::Delete => self.operate(VolumeAct::Delete),
            Happening::PluginBounces => {
                self.send(Event::PluginDown);
                self.send(plugin_up(self.world.abilities));
            }
            Happening::Listed(there) => self.send(listed(*there)),
            Happening::Restart => self.restart(false),
            Happening::Reboot => self.restart(true),
            Happening::Unmount { staging, target } => {
                self.world.backend.staging_mounted &= !staging;
                self.world.backend.target_mounted &= !target;
            }
            Happening::Late { staging } => self.come_late(*staging),
            Happening::LookAnswers => self.answer_look(),
            Happening::LookHangs => {
                if let Some((call_id, _)) = self.look.take() {
                    let problem = sutler_ids::Problem::new(
                        sutler_ids::ErrorKind::Unavailable,
                        "the look has no answer",
                    );
                    let seen = Seen::NotKnown(problem);
                    self.send(Event::Looked { call_id, seen });
                }
            }
            Happening::AnswerNext { done, verdict } => self.answer(*done, *verdict),
            Happening::Lies => self.lie(),
            Happening::Due => {
                self.world.clock_ms += 60_000;
                self.send(Event::Due);
            }
        }
    }

    fn operate(&mut self, act: VolumeAct) {
        self.next_operation += 1;
        let operation = operation(self.next_operation, act);
        if let VolumeAct::Grow { capacity } = operation.act {
            self.growths.insert(operation.operation_uuid, capacity);
        }
        self.send(Event::Operation(operation));
    }

    /// From here on the plugin is well: everything comes to rest.
    fn calm_down(&mut self) {
        for n in 0..3 {
            self.release(n);
        }
        for _ in 0..60 {
            self.world.clock_ms += 60_000;
            self.send(Event::Due);
            self.answer_look();
            self.answer(true, None);
        }
    }
}

/// Lives through a history, and through peace after it; then everything is at rest and the books
/// say what the back end has.
fn check_history(abilities: Abilities, happenings: &[Happening]) {
    let mut slow = Slow::new(abilities);
    for happening in happenings {
        slow.happen(happening);
    }
    slow.calm_down();
    assert!(slow.open.is_none(), "a call is still open");
    let volume = slow.world.volume.as_ref().unwrap();
    assert!(volume.record().pending.is_none(), "an operation never ends");
    assert!(slow.world.backend.creations <= 1, "made more than once");
    slow.world.check();
}

/// The call is carried out, or not, and its caller is told that nobody knows.
const fn lost(done: bool) -> Happening {
    Happening::AnswerNext {
        done,
        verdict: Some(4),
    }
}

const ANSWERED: Happening = Happening::AnswerNext {
    done: true,
    verdict: None,
};

const REFUSED: Happening = Happening::AnswerNext {
    done: false,
    verdict: Some(0),
};

/// Histories that once ended with the books wrong.
#[test]
fn histories_that_once_failed_come_to_rest() {
    use Happening::{Acquire, Due, Release, Restart};
    let without = |attaches, stages| Abilities {
        attaches,
        stages,
        ..ALL
    };
    // A holder was counted while the volume was made and is not known to wait any more after a
    // restart: a refusal of the repeated call was then believed, and what the first one had
    // made stayed for ever.
    let up_in_doubt = [Acquire(0, false), ANSWERED, lost(true), Restart, REFUSED];
    check_history(without(true, false), &up_in_doubt);
    check_history(without(false, true), &up_in_doubt);
    check_history(without(false, false), &up_in_doubt);
    // The same, one rung further up.
    let staged_in_doubt = [
        Acquire(0, false),
        ANSWERED,
        ANSWERED,
        lost(true),
        Restart,
        REFUSED,
    ];
    check_history(without(true, true), &staged_in_doubt);
    check_history(without(true, false), &staged_in_doubt);
    // Refused with the doubt of a run before the last.
    let twice = [
        Acquire(0, false),
        ANSWERED,
        lost(true),
        Restart,
        lost(false),
        Restart,
        Due,
        REFUSED,
        Release(0),
    ];
    check_history(without(true, true), &twice);
    // A mount came late, and somebody wanted the volume while it was taken down.
    let late = [
        ANSWERED,
        Happening::Late { staging: false },
        Acquire(0, false),
        ANSWERED,
    ];
    check_history(without(false, true), &late);
    check_history(without(true, true), &late);
    // The same, and the process died on the way down.
    let late_and_dead = [&late[..], &[Restart, ANSWERED, ANSWERED]].concat();
    check_history(without(true, true), &late_and_dead);
    // Unmounted by somebody while its file system was grown, before its holder was told.
    let unmounted = Happening::Unmount {
        staging: false,
        target: true,
    };
    for ended in [ANSWERED, lost(true), REFUSED] {
        let grown = [
            ANSWERED,
            Happening::Grow(1),
            ANSWERED,
            Acquire(0, false),
            ANSWERED,
            ANSWERED,
            unmounted.clone(),
            ended,
        ];
        check_history(without(false, true), &grown);
    }
}

proptest! {
    #![proptest_config(sutler_cases::config())]

    #[test]
    fn any_history_comes_to_rest_with_the_books_right(
        abilities in abilities(),
        happenings in proptest::collection::vec(happening(), 1..50)
    ) {
        check_history(abilities, &happenings);
    }

    #[test]
    fn a_record_reads_back_as_it_was_written(
        happenings in proptest::collection::vec(happening(), 1..30)
    ) {
        let mut slow = Slow::new(ALL);
        for happening in &happenings {
            slow.happen(happening);
            let record = slow.world.volume.as_ref().unwrap().record();
            let text = serde_json::to_string(record).unwrap();
            prop_assert_eq!(&serde_json::from_str::<VolumeRecord>(&text).unwrap(), record);
            prop_assert_eq!(Some(record), slow.world.disk.as_ref());
        }
    }
}
