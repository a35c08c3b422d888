//! Tables and random histories of one task.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sutler_api::task::{TaskExit, TaskSpec, TaskState, TaskVolume};
use sutler_api::volume::AccessType;
use sutler_ids::{Bytes, ErrorKind, Problem};
use sutler_ids::{TaskId, TaskInstance, VolumeId, VolumeName};
use uuid::Uuid;

use super::report::rank;
use super::*;
use crate::clock::{at, when};
use crate::container::ContainerSeen;

fn volume(n: u128) -> VolumeId {
    VolumeId::new(Uuid::from_u128(n))
}

fn spec(volumes: u128) -> TaskSpec {
    let asked = |n| TaskVolume {
        volume_id: volume(n),
        name: VolumeName::new(format!("v{n}")).expect("a name"),
        path: format!("/v{n}"),
        read_only: n == 2,
    };
    TaskSpec {
        task_id: TaskId::new("t1").expect("a name"),
        instance: TaskInstance::new(Uuid::from_u128(7)),
        image: "busybox".to_owned(),
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        volumes: (1..=volumes).map(asked).collect(),
        cpus: None,
        memory: Some(Bytes::mib(16)),
        stop_grace_ms: 5_000,
        pull_always: true,
    }
}

fn trouble() -> Problem {
    Problem::new(ErrorKind::Unavailable, "it broke")
}

fn here() -> VolumeAt {
    VolumeAt {
        plugin: "p".parse().expect("a name"),
        path: "/vol".to_owned(),
        access: AccessType::Mount,
    }
}

fn exited(code: i32) -> ContainerEnd {
    let exit = TaskExit {
        code: Some(code),
        signal: None,
        oom_killed: false,
    };
    ContainerEnd::Exited {
        exit,
        started_at: at(3).wall,
        ended_at: at(9).wall,
    }
}

fn lost() -> ContainerEnd {
    ContainerEnd::Lost {
        rebooted: false,
        log_tail: vec!["last words".to_owned()],
    }
}

fn acquired(n: u128, result: Result<VolumeAt, Problem>) -> TaskEvent {
    TaskEvent::Acquired {
        volume_id: volume(n),
        result,
    }
}

fn released(n: u128) -> TaskEvent {
    TaskEvent::Released {
        volume_id: volume(n),
    }
}

fn volume_failed(n: u128) -> TaskEvent {
    TaskEvent::VolumeFailed {
        volume_id: volume(n),
        problem: trouble(),
    }
}

fn pulled() -> TaskEvent {
    TaskEvent::Pulled(Ok("sha256:1".to_owned()))
}

/// One line: what is written, what is done, what is told.
fn line(task: &Task, step: &TaskStep) -> String {
    let persist: Vec<&str> = step.persist.iter().map(TaskPersist::name).collect();
    let effects: Vec<&str> = step.effects.iter().map(TaskEffect::name).collect();
    let told = format!("{:?}", task.report().state).to_lowercase();
    format!("[{}] [{}] {told}", persist.join(" "), effects.join(" "))
}

fn play(task: &mut Task, events: Vec<TaskEvent>) -> Vec<String> {
    let mut lines = Vec::new();
    for (second, event) in (0_u64..).zip(events) {
        let step = task.on_event(event, at(second));
        lines.push(line(task, &step));
    }
    lines
}

fn check(volumes: u128, events: Vec<TaskEvent>, expected: &[&str]) -> Task {
    let mut task = Task::new(spec(volumes));
    assert_eq!(play(&mut task, events), expected);
    task
}

fn recorded(stop: bool, stage: Stage) -> TaskEvent {
    TaskEvent::Recorded(Box::new(TaskRecord {
        spec: spec(1),
        stop,
        stage,
    }))
}

fn starting() -> Stage {
    Stage::Starting {
        digest: "sha256:1".to_owned(),
    }
}

#[test]
fn a_task_runs_and_its_volumes_go_back_after_its_container() {
    let task = check(
        2,
        vec![
            TaskEvent::Wanted,
            pulled(),
            acquired(1, Ok(here())),
            acquired(2, Ok(here())),
            TaskEvent::Started(Ok(at(3).wall)),
            TaskEvent::Ended(exited(0)),
            TaskEvent::Cleaned,
            released(1),
            released(2),
            TaskEvent::Forget,
            TaskEvent::Cleared,
        ],
        &[
            "[launch] [pull] pulling",
            "[] [acquire acquire] preparing",
            "[] [] preparing",
            "[start] [start] starting",
            "[] [wait] running",
            "[release] [clean] releasing",
            "[] [release release] releasing",
            "[] [] releasing",
            "[end] [] finished",
            "[] [clear] finished",
            "[forget] [] finished",
        ],
    );
    assert!(task.is_forgotten());
    let report = task.report();
    assert_eq!(report.exit.and_then(|exit| exit.code), Some(0));
    assert_eq!(
        (report.started_at, report.ended_at),
        (Some(at(3).wall), Some(at(9).wall))
    );
}

#[test]
fn a_volume_is_asked_for_as_the_task_uses_it() {
    let mut task = Task::new(spec(2));
    task.on_event(TaskEvent::Wanted, at(0));
    let step = task.on_event(pulled(), at(1));
    let read_only = |n, read_only| TaskEffect::Acquire {
        volume_id: volume(n),
        read_only,
    };
    assert_eq!(step.effects, [read_only(1, false), read_only(2, true)]);
}

#[test]
fn a_failure_at_each_step_gives_back_what_was_taken() {
    let want = TaskEvent::Wanted;
    check(
        1,
        vec![want.clone(), TaskEvent::Pulled(Err(trouble())), released(1)],
        &[
            "[launch] [pull] pulling",
            "[release] [release] releasing",
            "[end] [] failed",
        ],
    );
    check(
        2,
        vec![
            want.clone(),
            pulled(),
            acquired(2, Err(trouble())),
            acquired(1, Ok(here())),
            released(1),
            released(2),
        ],
        &[
            "[launch] [pull] pulling",
            "[] [acquire acquire] preparing",
            "[release] [release release] releasing",
            "[] [] releasing",
            "[] [] releasing",
            "[end] [] failed",
        ],
    );
    let task = check(
        1,
        vec![
            want,
            pulled(),
            acquired(1, Ok(here())),
            TaskEvent::Started(Err(trouble())),
            TaskEvent::Cleaned,
            released(1),
        ],
        &[
            "[launch] [pull] pulling",
            "[] [acquire] preparing",
            "[start] [start] starting",
            "[release] [clean] releasing",
            "[] [release] releasing",
            "[end] [] failed",
        ],
    );
    assert_eq!(task.report().problem, Some(trouble()));
}

#[test]
fn a_volume_that_could_not_be_made_ends_the_pull_at_once() {
    let task = check(
        1,
        vec![
            TaskEvent::Wanted,
            volume_failed(9),
            volume_failed(1),
            pulled(),
            released(1),
        ],
        &[
            "[launch] [pull] pulling",
            "[] [] pulling",
            "[release] [cancel_pull release] releasing",
            "[] [] releasing",
            "[end] [] failed",
        ],
    );
    assert_eq!(task.report().problem, Some(trouble()));
    // Once it was asked for, the volume itself answers.
    let mut task = Task::new(spec(1));
    play(&mut task, vec![TaskEvent::Wanted, pulled()]);
    let step = task.on_event(volume_failed(1), at(9));
    assert_eq!(step, TaskStep::default());
}

#[test]
fn a_stop_ends_a_task_in_every_state() {
    let stop = TaskEvent::Stop;
    let started = TaskEvent::Started(Ok(at(3).wall));
    let cases: Vec<(Vec<TaskEvent>, &str)> = vec![
        (vec![], "[release] [release] releasing"),
        (
            vec![TaskEvent::Wanted],
            "[release] [cancel_pull release] releasing",
        ),
        (
            vec![TaskEvent::Wanted, pulled()],
            "[release] [release] releasing",
        ),
        (
            vec![TaskEvent::Wanted, pulled(), acquired(1, Ok(here()))],
            "[start] [] starting",
        ),
        (
            vec![
                TaskEvent::Wanted,
                pulled(),
                acquired(1, Ok(here())),
                started.clone(),
            ],
            "[start] [stop] stopping",
        ),
    ];
    for (before, expected) in cases {
        let mut task = Task::new(spec(1));
        play(&mut task, before.clone());
        let step = task.on_event(stop.clone(), at(50));
        assert_eq!(line(&task, &step), expected, "after {before:?}");
        let again = task.on_event(stop.clone(), at(51));
        assert_eq!(again, TaskStep::default(), "a second stop after {before:?}");
        let rest = vec![
            started.clone(),
            TaskEvent::Ended(exited(0)),
            TaskEvent::Cleaned,
        ];
        play(&mut task, rest);
        task.on_event(released(1), at(60));
        assert_eq!(task.report().state, TaskState::Killed, "after {before:?}");
    }
}

#[test]
fn a_stop_during_the_start_is_carried_out_once_it_runs() {
    let mut task = Task::new(spec(0));
    play(
        &mut task,
        vec![TaskEvent::Wanted, pulled(), TaskEvent::Stop],
    );
    let step = task.on_event(TaskEvent::Started(Ok(at(3).wall)), at(4));
    assert_eq!(
        step.effects,
        [TaskEffect::Wait, TaskEffect::Stop { grace_ms: 5_000 }]
    );
}

#[test]
fn the_end_is_told_exactly() {
    let oom = TaskExit {
        code: None,
        signal: Some(9),
        oom_killed: true,
    };
    let oom = ContainerEnd::Exited {
        exit: oom,
        started_at: at(3).wall,
        ended_at: at(9).wall,
    };
    let child = TaskExit {
        code: Some(0),
        signal: None,
        oom_killed: true,
    };
    let child = ContainerEnd::Exited {
        exit: child,
        started_at: at(3).wall,
        ended_at: at(9).wall,
    };
    let memory = Some("task t1 needed more than its memory limit of 16M");
    let killed = Some("the process that looked after task t1 was killed, so its end is not known");
    for (end, state, what) in [
        (exited(0), TaskState::Finished, None),
        (exited(3), TaskState::Failed, None),
        (oom, TaskState::Failed, memory),
        (child, TaskState::Finished, None),
        (lost(), TaskState::Failed, killed),
    ] {
        let mut task = Task::new(spec(0));
        let started = TaskEvent::Started(Ok(at(3).wall));
        let ended = TaskEvent::Ended(end.clone());
        play(
            &mut task,
            vec![
                TaskEvent::Wanted,
                pulled(),
                started,
                ended,
                TaskEvent::Cleaned,
            ],
        );
        let report = task.report();
        assert_eq!(report.state, state, "{end:?}");
        assert_eq!(
            report.problem.as_ref().map(|p| p.what.as_str()),
            what,
            "{end:?}"
        );
        match end {
            ContainerEnd::Exited { exit, .. } => assert_eq!(report.exit, Some(exit)),
            ContainerEnd::Lost { .. } => assert_eq!(report.exit, None),
        }
    }
}

#[test]
fn after_a_crash_the_container_folder_decides_whether_to_start() {
    let running = ContainerSeen::Running {
        started_at: at(3).wall,
    };
    let cases: Vec<(bool, Stage, ContainerSeen, &str)> = vec![
        (
            false,
            Stage::Launching,
            ContainerSeen::Absent,
            "[] [clean] preparing",
        ),
        (
            false,
            starting(),
            ContainerSeen::Absent,
            "[] [clean] starting",
        ),
        (
            false,
            starting(),
            ContainerSeen::NeverStarted(None),
            "[] [clean] starting",
        ),
        (
            false,
            starting(),
            ContainerSeen::NeverStarted(Some(trouble())),
            "[release] [clean] releasing",
        ),
        (
            true,
            starting(),
            ContainerSeen::NeverStarted(None),
            "[release] [clean] releasing",
        ),
        (false, starting(), running.clone(), "[] [wait] running"),
        (true, starting(), running, "[] [wait stop] stopping"),
        (
            false,
            starting(),
            ContainerSeen::Ended(exited(1)),
            "[release] [clean] releasing",
        ),
        (
            false,
            starting(),
            ContainerSeen::Ended(lost()),
            "[release] [clean] releasing",
        ),
    ];
    for (stop, stage, seen, expected) in cases {
        let mut task = Task::new(spec(1));
        task.on_event(recorded(stop, stage.clone()), at(1));
        let step = task.on_event(TaskEvent::Observed(seen.clone()), at(2));
        assert_eq!(
            line(&task, &step),
            expected,
            "{stage:?} {seen:?} stop {stop}"
        );
    }
}

#[test]
fn after_a_boot_a_start_that_left_no_trace_may_have_run_and_is_not_repeated() {
    let record = |stage| TaskRecord {
        spec: spec(1),
        stop: false,
        stage,
    };
    for trace in [ContainerSeen::Absent, ContainerSeen::NeverStarted(None)] {
        let seen = record(starting()).seen_after_boot(trace.clone());
        let task = check(
            1,
            vec![recorded(false, starting()), TaskEvent::Observed(seen)],
            &["[] [] starting", "[release] [clean] releasing"],
        );
        let problem = task.report().problem.expect("a reason");
        assert!(problem.what.contains("started again"), "{problem}");
        // Before its start nothing can have run.
        let early = record(Stage::Launching).seen_after_boot(trace.clone());
        assert_eq!(early, trace);
    }
    let refused = ContainerSeen::NeverStarted(Some(trouble()));
    assert_eq!(record(starting()).seen_after_boot(refused.clone()), refused);
}

#[test]
fn a_task_begun_again_after_a_crash_keeps_its_image_and_never_goes_back() {
    let mut task = Task::new(spec(1));
    let lines = play(
        &mut task,
        vec![
            recorded(false, starting()),
            TaskEvent::Observed(ContainerSeen::NeverStarted(None)),
            TaskEvent::Cleaned,
        ],
    );
    assert_eq!(lines.last().map(String::as_str), Some("[] [pull] starting"));
    assert_eq!(task.digest(), Some("sha256:1"));
    let mut task = Task::new(spec(1));
    task.on_event(recorded(false, starting()), at(1));
    task.on_event(TaskEvent::Observed(ContainerSeen::Absent), at(2));
    let step = task.on_event(TaskEvent::Cleaned, at(3));
    assert_eq!(step.effects, [TaskEffect::Pull { always: false }]);
}

#[test]
fn an_interrupted_release_is_finished_after_a_crash() {
    let ending = Ending {
        state: TaskState::Finished,
        exit: None,
        problem: None,
        started_at: None,
        ended_at: at(9).wall,
    };
    let stage = Stage::Releasing {
        digest: None,
        ending: ending.clone(),
    };
    let mut task = Task::new(spec(1));
    let lines = play(
        &mut task,
        vec![
            recorded(false, stage),
            TaskEvent::Observed(ContainerSeen::Ended(exited(0))),
            TaskEvent::Cleaned,
            released(1),
        ],
    );
    let expected = [
        "[] [] releasing",
        "[] [clean] releasing",
        "[] [release] releasing",
        "[end] [] finished",
    ];
    assert_eq!(lines, expected);
    let ended = Stage::Ended {
        digest: None,
        ending,
    };
    let mut task = Task::new(spec(1));
    let seen = TaskEvent::Observed(ContainerSeen::Absent);
    assert_eq!(
        play(&mut task, vec![recorded(false, ended), seen]),
        ["[] [] finished", "[] [] finished"]
    );
    assert!(!task.may_hold_volumes());
}

#[test]
fn an_act_that_falters_is_repeated_with_growing_pauses_and_shown() {
    let mut task = Task::new(spec(0));
    let started = TaskEvent::Started(Ok(at(3).wall));
    play(
        &mut task,
        vec![
            TaskEvent::Wanted,
            pulled(),
            started,
            TaskEvent::Ended(exited(0)),
        ],
    );
    let faltered = TaskEvent::Faltered {
        act: Act::Clean,
        problem: trouble(),
    };
    let mut now = at(100);
    for wait_ms in [100, 200, 400] {
        let step = task.on_event(faltered.clone(), now);
        let due = now.after_ms(wait_ms);
        assert_eq!(step.effects, [TaskEffect::WakeAt(due)]);
        assert_eq!(task.report().state, TaskState::Releasing);
        let early = when(now.after_ms(wait_ms - 1));
        assert_eq!(task.on_event(TaskEvent::Tick, early), TaskStep::default());
        let step = task.on_event(TaskEvent::Tick, when(due));
        assert_eq!(step.effects, [TaskEffect::Clean(CleanUp::KeepLogs)]);
        assert_eq!(
            task.on_event(TaskEvent::Tick, when(due)),
            TaskStep::default()
        );
        now = when(due);
    }
    task.on_event(TaskEvent::Cleaned, now);
    assert_eq!(task.report().state, TaskState::Finished);
    assert_eq!(task.report().problem, None);
}

#[test]
fn a_damaged_record_becomes_a_failed_task_whose_container_goes() {
    let id = TaskId::new("t1").expect("a name");
    let record = TaskRecord::unreadable(id, "checksum", at(1));
    let mut task = Task::new(record.spec.clone());
    task.on_event(TaskEvent::Recorded(Box::new(record)), at(1));
    let seen = TaskEvent::Observed(ContainerSeen::Running {
        started_at: at(0).wall,
    });
    let step = task.on_event(seen, at(2));
    assert_eq!(step.effects, [TaskEffect::Clean(CleanUp::All)]);
    task.on_event(TaskEvent::Cleaned, at(3));
    assert_eq!(task.report().state, TaskState::Failed);
}

/// A little world that answers a task's effects, and may forget everything but disk.
struct World {
    task: Task,
    disk: Option<TaskRecord>,
    /// The container's folder: absent, running or ended.
    container: ContainerSeen,
    starts: u32,
    held: BTreeSet<VolumeId>,
    pending: Vec<TaskEffect>,
    told: TaskState,
    second: u64,
}

impl World {
    fn new() -> Self {
        Self {
            task: Task::new(spec(2)),
            disk: None,
            container: ContainerSeen::Absent,
            starts: 0,
            held: BTreeSet::new(),
            pending: Vec::new(),
            told: TaskState::Accepted,
            second: 0,
        }
    }

    fn feed(&mut self, event: TaskEvent) {
        self.second += 1;
        let step = self.task.on_event(event, at(self.second));
        for record in step.persist {
            match record {
                TaskPersist::Put(record) => self.disk = Some(*record),
                TaskPersist::Delete(_) => self.disk = None,
            }
        }
        self.pending.extend(step.effects);
        let now = self.task.report().state;
        assert!(
            rank(now) >= rank(self.told),
            "{now:?} after {:?}",
            self.told
        );
        if self.told.is_terminal() {
            assert_eq!(now, self.told, "a terminal state changed");
        }
        self.told = now;
        if now.is_terminal() {
            assert!(self.held.is_empty(), "told the end while volumes are held");
        }
    }

    /// Carries out one pending effect; `fail` makes it fail where it can.
    fn carry_out(&mut self, index: usize, fail: bool) {
        if self.pending.is_empty() {
            return;
        }
        let effect = self.pending.remove(index % self.pending.len());
        for event in self.outcome(effect, fail) {
            self.feed(event);
        }
    }

    fn outcome(&mut self, effect: TaskEffect, fail: bool) -> Vec<TaskEvent> {
        let faltered = |act| {
            vec![TaskEvent::Faltered {
                act,
                problem: trouble(),
            }]
        };
        match effect {
            TaskEffect::Pull { .. } if fail => vec![TaskEvent::Pulled(Err(trouble()))],
            TaskEffect::Pull { .. } => vec![pulled()],
            TaskEffect::CancelPull => vec![],
            TaskEffect::Acquire { volume_id, .. } if fail => {
                vec![TaskEvent::Acquired {
                    volume_id,
                    result: Err(trouble()),
                }]
            }
            TaskEffect::Acquire { volume_id, .. } => {
                if !self.told.is_terminal() && self.task.may_hold_volumes() {
                    self.held.insert(volume_id);
                }
                vec![TaskEvent::Acquired {
                    volume_id,
                    result: Ok(here()),
                }]
            }
            TaskEffect::Start(_) => self.start(fail),
            TaskEffect::Wait => match &self.container {
                ContainerSeen::Running { .. } => {
                    self.pending.push(TaskEffect::Wait);
                    vec![]
                }
                ContainerSeen::Ended(end) => vec![TaskEvent::Ended(end.clone())],
                ContainerSeen::Absent | ContainerSeen::NeverStarted(_) => {
                    panic!("nothing to watch")
                }
            },
            TaskEffect::Stop { .. } if fail => faltered(Act::Stop),
            TaskEffect::Stop { .. } => {
                self.end_container();
                vec![]
            }
            TaskEffect::Clean(_) if fail => faltered(Act::Clean),
            TaskEffect::Clean(CleanUp::All) => {
                self.container = ContainerSeen::Absent;
                vec![TaskEvent::Cleaned]
            }
            TaskEffect::Clean(CleanUp::KeepLogs) => {
                let running = matches!(self.container, ContainerSeen::Running { .. });
                assert!(!running, "took the file system from a running container");
                vec![TaskEvent::Cleaned]
            }
            TaskEffect::Release { volume_id } => {
                let running = matches!(self.container, ContainerSeen::Running { .. });
                assert!(!running, "released a volume under a running container");
                // Storage takes acquire and release in order, so a release ends what it follows.
                self.pending.retain(|other| {
                    !matches!(other, TaskEffect::Acquire { volume_id: id, .. } if *id == volume_id)
                });
                self.held.remove(&volume_id);
                vec![TaskEvent::Released { volume_id }]
            }
            TaskEffect::Clear if fail => faltered(Act::Clear),
            TaskEffect::Clear => {
                self.container = ContainerSeen::Absent;
                vec![TaskEvent::Cleared]
            }
            TaskEffect::WakeAt(time) => {
                self.second = self
                    .second
                    .max(time.since(Boottime::default()).as_secs() + 1);
                vec![TaskEvent::Tick]
            }
        }
    }

    fn start(&mut self, fail: bool) -> Vec<TaskEvent> {
        let intent = self.disk.as_ref().map(|record| &record.stage);
        assert!(
            matches!(intent, Some(Stage::Starting { .. })),
            "started without intent"
        );
        assert!(
            matches!(self.container, ContainerSeen::Absent),
            "started over a container"
        );
        if fail {
            self.container = ContainerSeen::NeverStarted(Some(trouble()));
            return vec![TaskEvent::Started(Err(trouble()))];
        }
        self.starts += 1;
        assert_eq!(self.starts, 1, "started twice");
        self.container = ContainerSeen::Running {
            started_at: at(self.second).wall,
        };
        vec![TaskEvent::Started(Ok(at(self.second).wall))]
    }

    fn end_container(&mut self) {
        if matches!(self.container, ContainerSeen::Running { .. }) {
            self.container = ContainerSeen::Ended(exited(0));
        }
    }

    /// The agent dies. A start under way may or may not have happened by then.
    fn crash(&mut self, start_happens: bool) {
        let starting = self
            .pending
            .iter()
            .any(|e| matches!(e, TaskEffect::Start(_)));
        if starting && start_happens {
            self.start(false);
        }
        self.pending.clear();
        self.held.clear();
        self.told = TaskState::Accepted;
        let Some(record) = self.disk.clone() else {
            self.task = Task::new(spec(2));
            self.starts = 0;
            self.container = ContainerSeen::Absent;
            return self.feed(TaskEvent::Wanted);
        };
        self.task = Task::new(record.spec.clone());
        self.feed(TaskEvent::Recorded(Box::new(record)));
        let seen = self.container.clone();
        self.feed(TaskEvent::Observed(seen));
    }
}

#[derive(Debug, Clone)]
enum Move {
    CarryOut(usize, bool),
    EndContainer,
    Stop,
    Forget,
    Crash(bool),
    Noise(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (any::<usize>(), prop::bool::weighted(0.15)).prop_map(|(i, f)| Move::CarryOut(i, f)),
        1 => Just(Move::EndContainer),
        1 => Just(Move::Stop),
        1 => Just(Move::Forget),
        1 => any::<bool>().prop_map(Move::Crash),
        1 => (0_usize..9).prop_map(Move::Noise),
    ];
    prop::collection::vec(one, 1..80)
}

/// Late and repeated events that a real agent can see.
fn noise(n: usize) -> TaskEvent {
    match n {
        0 => TaskEvent::Wanted,
        1 => TaskEvent::Tick,
        2 => acquired(9, Err(trouble())),
        3 => released(9),
        4 => TaskEvent::Observed(ContainerSeen::Absent),
        5 => recorded(false, Stage::Launching),
        6 => TaskEvent::Faltered {
            act: Act::Stop,
            problem: trouble(),
        },
        7 => volume_failed(1),
        _ => TaskEvent::Forget,
    }
}

proptest! {
    #![proptest_config(sutler_cases::config())]

    #[test]
    fn whatever_happens_it_starts_once_never_goes_back_and_ends(moves in moves()) {
        let mut world = World::new();
        world.feed(TaskEvent::Wanted);
        for one in moves {
            match one {
                Move::CarryOut(index, fail) => world.carry_out(index, fail),
                Move::EndContainer => world.end_container(),
                Move::Stop => world.feed(TaskEvent::Stop),
                Move::Forget => world.feed(TaskEvent::Forget),
                Move::Crash(start_happens) => world.crash(start_happens),
                Move::Noise(n) => world.feed(noise(n)),
            }
        }
        world.feed(TaskEvent::Stop);
        // Far more than the longest way to the end, with every effect answered.
        for _ in 0..200 {
            world.end_container();
            world.carry_out(0, false);
        }
        prop_assert!(world.task.report().state.is_terminal(), "{:?}", world.task);
    }
}
