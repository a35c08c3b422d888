//! Tables and random histories of one plugin.

mod alive;

use std::collections::BTreeMap;

use proptest::prelude::*;
use sutler_api::definition::PluginDefinition;
use sutler_api::task::TaskExit;
use sutler_ids::{ErrorKind, SaidBy};

use super::*;
use crate::clock::{at, when};
use crate::container::ContainerEnd;

fn wanted(generation: u64) -> DesiredPlugin {
    let mut definition = PluginDefinition::of_image("p:1")
        .checked(&BTreeMap::new())
        .expect("a definition");
    definition.driver = Some("p.example.com".to_owned());
    definition.startup_timeout = "10s".to_owned();
    let name = definition.checked_name().clone();
    DesiredPlugin {
        name,
        generation,
        definition,
        set: BTreeMap::new(),
        restart: 0,
    }
}

fn want(generation: u64) -> PluginEvent {
    PluginEvent::Wanted(Box::new(wanted(generation)))
}

fn trouble() -> Problem {
    Problem::new(ErrorKind::Unavailable, "it broke")
}

fn facts() -> PluginFactsView {
    PluginFactsView {
        driver_name: "p.example.com".to_owned(),
        ..PluginFactsView::default()
    }
}

fn answered() -> ProbeOutcome {
    ProbeOutcome::Answered(Box::new(facts()))
}

fn prepared(run: u64) -> PluginEvent {
    PluginEvent::Prepared {
        run,
        result: Ok(()),
    }
}

fn pulled(run: u64) -> PluginEvent {
    PluginEvent::Pulled {
        run,
        result: Ok("sha256:1".to_owned()),
    }
}

fn started(run: u64) -> PluginEvent {
    PluginEvent::Started {
        run,
        result: Ok(()),
    }
}

fn probed(run: u64, outcome: ProbeOutcome) -> PluginEvent {
    PluginEvent::Probed { run, outcome }
}

fn halted(run: u64) -> PluginEvent {
    PluginEvent::Halted {
        run,
        evidence: Evidence::default(),
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

fn ended(run: u64) -> PluginEvent {
    PluginEvent::Ended {
        run,
        end: exited(1),
    }
}

fn line(plugin: &Plugin, step: &PluginStep) -> String {
    let persist: Vec<&str> = step.persist.iter().map(PluginPersist::name).collect();
    let effects: Vec<&str> = step
        .effects
        .iter()
        .filter(|effect| !matches!(effect, PluginEffect::WakeAt(_)))
        .map(PluginEffect::name)
        .collect();
    let told = format!("{:?}", plugin.state_to_tell()).to_lowercase();
    format!("[{}] [{}] {told}", persist.join(" "), effects.join(" "))
}

/// Plays events one second apart, from second 1.
fn play(plugin: &mut Plugin, events: Vec<PluginEvent>) -> Vec<String> {
    let mut lines = Vec::new();
    for (second, event) in (1_u64..).zip(events) {
        let step = plugin.on_event(event, at(second));
        lines.push(line(plugin, &step));
    }
    lines
}

fn to_ready() -> Vec<PluginEvent> {
    vec![
        want(1),
        prepared(1),
        pulled(1),
        started(1),
        probed(1, answered()),
    ]
}

fn ready() -> Plugin {
    let mut plugin = Plugin::new(wanted(1), at(0));
    play(&mut plugin, to_ready());
    assert!(plugin.is_ready());
    plugin
}

#[test]
fn a_plugin_comes_up_and_serves_only_once_it_answered() {
    let mut plugin = Plugin::new(wanted(1), at(0));
    let mut events = to_ready();
    events.insert(4, probed(1, ProbeOutcome::NoSocket));
    events.insert(5, probed(1, ProbeOutcome::NotReady));
    assert_eq!(
        play(&mut plugin, events),
        [
            "[put] [prepare] waiting",
            "[] [pull] pulling",
            "[put] [start] starting",
            "[] [watch probe] probing",
            "[] [] probing",
            "[] [] probing",
            "[put] [up] ready",
        ]
    );
}

#[test]
fn looks_come_quickly_at_first_and_never_after_the_deadline() {
    let mut plugin = Plugin::new(wanted(1), at(0));
    play(
        &mut plugin,
        vec![want(1), prepared(1), pulled(1), started(1)],
    );
    let mut now = at(4);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let step = plugin.on_event(probed(1, ProbeOutcome::NoSocket), now);
        let [PluginEffect::WakeAt(next)] = step.effects[..] else {
            panic!("{step:?}")
        };
        waits.push(now.until(next).as_millis());
        now = when(next);
        let step = plugin.on_event(PluginEvent::Tick, now);
        assert_eq!(step.effects, [PluginEffect::Probe]);
    }
    assert_eq!(waits, [20, 40, 80, 160, 250, 250]);
    let step = plugin.on_event(PluginEvent::Tick, at(14));
    assert_eq!(step.effects, [PluginEffect::Halt]);
}

#[test]
fn every_way_of_not_coming_up_is_told_with_cause_and_remedy() {
    let silent = Evidence::default();
    let elsewhere = Evidence {
        log_tail: vec!["listening".to_owned(), String::new()],
        sockets: vec!["/tmp/x.sock".to_owned()],
    };
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
    let refused = ProbeOutcome::Refused {
        rpc: "Probe".into(),
        raw: "INTERNAL: no disk".into(),
    };
    let in_time = |last| Cause::NotReadyInTime { last };
    let ended = |end| Cause::Ended {
        end,
        was_ready: false,
    };
    let cases: Vec<(Cause, &Evidence, &str, Option<&str>, &str)> = vec![
        (
            ended(exited(2)),
            &elsewhere,
            "ended before it was ready with exit status 2",
            Some("listening"),
            "sutler plugin logs p",
        ),
        (
            ended(oom),
            &silent,
            "killed for want of memory",
            Some("signal 9"),
            "free memory",
        ),
        (
            in_time(None),
            &silent,
            "did not open its socket /csi/csi.sock within 10s",
            None,
            "{{endpoint.url}}",
        ),
        (
            in_time(Some(ProbeOutcome::NoSocket)),
            &elsewhere,
            "listens at /tmp/x.sock inside its container, not at /csi/csi.sock",
            Some("listening"),
            "endpoint = \"/tmp/x.sock\"",
        ),
        (
            in_time(Some(ProbeOutcome::NotReady)),
            &silent,
            "not ready after 10s",
            None,
            "startup_timeout",
        ),
        (
            in_time(Some(ProbeOutcome::NoAnswer {
                raw: "refused".into(),
            })),
            &silent,
            "does not answer",
            Some("refused"),
            "logs p",
        ),
        (
            in_time(Some(refused)),
            &silent,
            "refused Probe",
            Some("INTERNAL: no disk"),
            "logs p",
        ),
        (
            Cause::OtherDriver { told: "q".into() },
            &silent,
            "is the driver \"q\"",
            None,
            "driver = \"q\"",
        ),
        (
            Cause::NotStarted(trouble().hint("mend it")),
            &silent,
            "it broke",
            None,
            "mend it",
        ),
    ];
    for (cause, evidence, what, raw, hint) in cases {
        let shown = format!("{cause:?}");
        let problem = cause.problem(&wanted(1), evidence);
        assert!(problem.what.contains(what), "{shown}: {}", problem.what);
        assert_eq!(
            problem
                .raw
                .as_deref()
                .map(|r| raw.is_some_and(|want| r.contains(want))),
            raw.map(|_| true),
            "{shown}: {:?}",
            problem.raw
        );
        let told = problem.hint.unwrap_or_default();
        assert!(told.contains(hint), "{shown}: {told}");
    }
}

#[test]
fn a_cause_is_shown_before_the_stop_ends_and_a_refusal_before_the_deadline() {
    let shown = |plugin: &Plugin| {
        let agent = "here".parse().expect("a name");
        let report = plugin.report(&agent, &BTreeMap::new());
        report.problem.map(|problem| problem.what)
    };
    let mut plugin = Plugin::new(wanted(1), at(0));
    play(
        &mut plugin,
        vec![
            want(1),
            prepared(1),
            pulled(1),
            started(1),
            probed(1, ProbeOutcome::NoSocket),
        ],
    );
    assert_eq!(shown(&plugin), None, "it may still come up");
    let refused = ProbeOutcome::Refused {
        rpc: "GetPluginInfo".into(),
        raw: "INTERNAL: no".into(),
    };
    let name = &wanted(1).name;
    plugin.on_event(probed(1, refused), at(6));
    let what = format!("plugin {name} refused GetPluginInfo");
    assert_eq!(shown(&plugin), Some(what));
    plugin.on_event(probed(1, ProbeOutcome::NotReady), at(7));
    assert_eq!(shown(&plugin), None, "that has passed");
    plugin.on_event(PluginEvent::Tick, at(20));
    assert_eq!(plugin.state_to_tell(), PluginState::NotReady);
    let what = format!("plugin {name} still says that it is not ready after 10s");
    assert_eq!(shown(&plugin), Some(what));
}

#[test]
fn a_plugin_that_ends_at_once_is_started_again_with_growing_pauses() {
    let mut plugin = Plugin::new(wanted(1), at(0));
    play(
        &mut plugin,
        vec![want(1), prepared(1), pulled(1), started(1)],
    );
    let mut waits = Vec::new();
    let mut now = at(10);
    for run in 1..=10 {
        let step = plugin.on_event(ended(run), now);
        assert_eq!(line(&plugin, &step), "[] [halt] stopping");
        let tail = vec!["no config".to_owned()];
        let evidence = Evidence {
            log_tail: tail.clone(),
            sockets: Vec::new(),
        };
        plugin.on_event(PluginEvent::Halted { run, evidence }, now);
        let report = plugin.report(&"a".parse().expect("a name"), &BTreeMap::new());
        assert_eq!(report.state, PluginState::BackingOff);
        assert_eq!(report.log_tail, tail);
        assert_eq!(
            report.problem.as_ref().and_then(|p| p.raw.as_deref()),
            Some("no config")
        );
        let retry_at = report.retry_at.expect("set while backing off");
        let shown = retry_at.duration_since(now.wall);
        waits.push(shown.as_millis());
        now = when(now.after_ms(shown.as_millis().try_into().expect("a wait")));
        let step = plugin.on_event(PluginEvent::Tick, now);
        assert_eq!(line(&plugin, &step), "[] [prepare] waiting");
        for event in [prepared(run + 1), pulled(run + 1), started(run + 1)] {
            plugin.on_event(event, now);
        }
    }
    assert_eq!(
        waits,
        [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]
    );
    assert_eq!(
        plugin
            .report(&"a".parse().expect("a name"), &BTreeMap::new())
            .restarts,
        10
    );
}

#[test]
fn a_long_healthy_life_forgives_earlier_failures() {
    for (life, wait) in [(59, 200), (60, 100)] {
        let mut plugin = ready();
        plugin.on_event(ended(1), at(10));
        plugin.on_event(halted(1), at(10));
        plugin.on_event(PluginEvent::Tick, at(11));
        for event in [prepared(2), pulled(2), started(2), probed(2, answered())] {
            plugin.on_event(event, at(12));
        }
        let now = at(12 + life);
        let step = plugin.on_event(ended(2), now);
        assert_eq!(step.effects, [PluginEffect::Down, PluginEffect::Halt]);
        let step = plugin.on_event(halted(2), now);
        assert_eq!(
            step.effects,
            [PluginEffect::WakeAt(now.after_ms(wait))],
            "after {life} s"
        );
    }
}

#[test]
fn a_ready_plugin_may_miss_two_looks_but_not_three() {
    let missed = || ProbeOutcome::NoAnswer {
        raw: "deadline".to_owned(),
    };
    let mut plugin = ready();
    assert_eq!(
        play(
            &mut plugin,
            vec![
                probed(1, missed()),
                probed(1, missed()),
                probed(1, answered()),
                probed(1, missed()),
                probed(1, missed()),
                probed(1, missed()),
            ]
        ),
        [
            "[] [] ready",
            "[] [] ready",
            "[] [] ready",
            "[] [] ready",
            "[] [] ready",
            "[] [count_volumes] silent",
        ]
    );
}

#[test]
fn another_driver_is_refused() {
    let mut plugin = Plugin::new(wanted(1), at(0));
    play(
        &mut plugin,
        vec![want(1), prepared(1), pulled(1), started(1)],
    );
    let other = PluginFactsView {
        driver_name: "q".to_owned(),
        ..facts()
    };
    let step = plugin.on_event(probed(1, ProbeOutcome::Answered(Box::new(other))), at(9));
    assert_eq!(line(&plugin, &step), "[] [halt] stopping");
}

#[test]
fn what_is_late_from_an_earlier_start_is_ignored() {
    let mut plugin = ready();
    plugin.on_event(ended(1), at(10));
    plugin.on_event(halted(1), at(10));
    plugin.on_event(PluginEvent::Tick, at(11));
    for event in [
        ended(1),
        halted(1),
        prepared(1),
        pulled(1),
        started(1),
        probed(1, answered()),
    ] {
        assert_eq!(
            plugin.on_event(event.clone(), at(12)),
            PluginStep::default(),
            "{event:?}"
        );
    }
}

#[test]
fn an_upgrade_pulls_first_and_restarts_in_place() {
    let mut plugin = ready();
    assert_eq!(
        play(
            &mut plugin,
            vec![
                want(1),
                want(2),
                pulled(1),
                halted(1),
                prepared(2),
                pulled(2),
                started(2),
                probed(2, answered()),
            ]
        ),
        [
            "[] [] ready",
            "[put] [pull] ready",
            "[] [down halt] stopping",
            "[] [prepare] waiting",
            "[] [pull] pulling",
            "[put] [start] starting",
            "[] [watch probe] probing",
            "[] [up] ready",
        ]
    );
}

#[test]
fn an_upgrade_whose_image_cannot_be_had_leaves_the_old_one_serving() {
    let mut plugin = ready();
    plugin.on_event(want(2), at(20));
    let step = plugin.on_event(
        PluginEvent::Pulled {
            run: 1,
            result: Err(trouble()),
        },
        at(21),
    );
    assert_eq!(line(&plugin, &step), "[] [] ready");
    assert_eq!(
        plugin
            .report(&"a".parse().expect("a name"), &BTreeMap::new())
            .problem,
        Some(trouble())
    );
    let step = plugin.on_event(PluginEvent::Tick, at(51));
    assert!(step.effects.contains(&PluginEffect::Pull), "{step:?}");
}

#[test]
fn a_plugin_is_removed_only_once_no_volume_is_left() {
    let mut plugin = ready();
    assert_eq!(
        play(
            &mut plugin,
            vec![
                PluginEvent::Unwanted,
                PluginEvent::VolumesHere(2),
                PluginEvent::Tick,
                PluginEvent::VolumesHere(0),
                halted(1),
                PluginEvent::Cleared,
            ]
        ),
        [
            "[put] [count_volumes] ready",
            "[] [] ready",
            "[] [count_volumes] ready",
            "[] [down halt] stopping",
            "[] [clear] stopping",
            "[forget] [] stopped",
        ]
    );
    assert!(plugin.is_gone());
    let mut kept = ready();
    kept.on_event(PluginEvent::Unwanted, at(20));
    let step = kept.on_event(want(1), at(21));
    assert_eq!(line(&kept, &step), "[put] [] ready");
    assert_eq!(
        kept.on_event(PluginEvent::VolumesHere(0), at(22)),
        PluginStep::default()
    );
}

#[test]
fn a_plugin_wanted_again_in_the_moment_it_is_gone_is_begun_anew() {
    let mut plugin = ready();
    play(
        &mut plugin,
        vec![
            PluginEvent::Unwanted,
            PluginEvent::VolumesHere(0),
            halted(1),
            PluginEvent::Cleared,
        ],
    );
    assert!(plugin.is_gone());
    assert_eq!(
        play(&mut plugin, vec![want(2)]),
        ["[put] [prepare] waiting"]
    );
    assert!(!plugin.is_gone());
}

#[test]
fn a_running_container_is_adopted_only_in_its_own_generation() {
    let running = ContainerSeen::Running {
        started_at: at(3).wall,
    };
    for (generation, seen, expected) in [
        (1, running.clone(), "[] [watch probe] probing"),
        (2, running, "[] [halt] stopping"),
        (1, ContainerSeen::Ended(exited(0)), "[] [prepare] waiting"),
        (1, ContainerSeen::NeverStarted(None), "[] [prepare] waiting"),
        (1, ContainerSeen::Absent, "[] [prepare] waiting"),
    ] {
        let record = PluginRecord {
            wanted: wanted(generation),
            removing: false,
            started: Some(StartRecord {
                generation: 1,
                restart: 0,
                image: "p:1".to_owned(),
                digest: "sha256:1".to_owned(),
            }),
            facts: Some(facts()),
        };
        let mut plugin = Plugin::new(wanted(generation), at(0));
        plugin.on_event(PluginEvent::Recorded(Box::new(record)), at(1));
        let step = plugin.on_event(PluginEvent::Observed(seen.clone()), at(2));
        assert_eq!(
            line(&plugin, &step),
            expected,
            "generation {generation}, {seen:?}"
        );
    }
}

#[test]
fn a_missing_need_and_a_failed_pull_back_off_with_their_reason() {
    for event in [
        PluginEvent::Prepared {
            run: 1,
            result: Err(trouble()),
        },
        PluginEvent::Pulled {
            run: 1,
            result: Err(trouble()),
        },
    ] {
        let mut plugin = Plugin::new(wanted(1), at(0));
        let mut events = vec![want(1)];
        if matches!(event, PluginEvent::Pulled { .. }) {
            events.push(prepared(1));
        }
        events.push(event);
        play(&mut plugin, events);
        let report = plugin.report(&"a".parse().expect("a name"), &BTreeMap::new());
        assert_eq!(report.state, PluginState::BackingOff);
        assert_eq!(report.problem, Some(trouble()));
    }
    let said = Cause::Silent {
        last: Some(ProbeOutcome::NotReady),
    };
    let said = said.problem(&wanted(1), &Evidence::default()).said_by;
    assert_eq!(said, SaidBy::Plugin("p".to_owned()));
}

/// Answers effects, keeps the number of containers, and may crash the agent.
struct World {
    plugin: Plugin,
    disk: Option<PluginRecord>,
    containers: u32,
    up: bool,
    volumes: usize,
    pending: Vec<(u64, PluginEffect)>,
    now: Now,
}

impl World {
    fn feed(&mut self, event: PluginEvent) {
        self.now = when(self.now.after_ms(10));
        let step = self.plugin.on_event(event, self.now);
        for record in step.persist {
            match record {
                PluginPersist::Put(record) => self.disk = Some(*record),
                PluginPersist::Delete(_) => self.disk = None,
            }
        }
        let run = self.plugin.run();
        self.pending
            .extend(step.effects.into_iter().map(|effect| (run, effect)));
        for (_, effect) in &self.pending {
            match effect {
                PluginEffect::Up => self.up = true,
                PluginEffect::Down => self.up = false,
                _ => {}
            }
        }
        self.pending
            .retain(|(_, e)| !matches!(e, PluginEffect::Up | PluginEffect::Down));
        assert_eq!(self.up, self.plugin.is_ready(), "storage and state differ");
        assert!(self.containers <= 1, "two containers");
    }

    fn carry_out(&mut self, index: usize, fail: bool) {
        if self.pending.is_empty() {
            return;
        }
        let (run, effect) = self.pending.remove(index % self.pending.len());
        let event = match effect {
            PluginEffect::Prepare if fail => PluginEvent::Prepared {
                run,
                result: Err(trouble()),
            },
            PluginEffect::Prepare => prepared(run),
            PluginEffect::Pull if fail => PluginEvent::Pulled {
                run,
                result: Err(trouble()),
            },
            PluginEffect::Pull => pulled(run),
            PluginEffect::Start if fail => PluginEvent::Started {
                run,
                result: Err(trouble()),
            },
            PluginEffect::Start => {
                self.containers += 1;
                started(run)
            }
            PluginEffect::Watch if self.containers == 0 => ended(run),
            PluginEffect::Watch => return self.pending.push((run, PluginEffect::Watch)),
            PluginEffect::Probe if fail => probed(run, ProbeOutcome::NotReady),
            PluginEffect::Probe => probed(run, answered()),
            PluginEffect::Halt if fail => PluginEvent::Faltered {
                run,
                problem: trouble(),
            },
            PluginEffect::Halt => {
                self.containers = 0;
                halted(run)
            }
            PluginEffect::CountVolumes => PluginEvent::VolumesHere(self.volumes),
            PluginEffect::Clear if fail => PluginEvent::Faltered {
                run,
                problem: trouble(),
            },
            PluginEffect::Clear => PluginEvent::Cleared,
            PluginEffect::WakeAt(time) => {
                self.now = when(self.now.boottime.max(time));
                PluginEvent::Tick
            }
            PluginEffect::CancelPull | PluginEffect::Up | PluginEffect::Down => return,
        };
        self.feed(event);
    }

    fn crash(&mut self) {
        self.pending.clear();
        self.up = false;
        let Some(record) = self.disk.clone() else {
            return;
        };
        self.plugin = Plugin::new(record.wanted.clone(), self.now);
        self.feed(PluginEvent::Recorded(Box::new(record)));
        let seen = match self.containers {
            0 => ContainerSeen::Absent,
            _ => ContainerSeen::Running {
                started_at: self.now.wall,
            },
        };
        self.feed(PluginEvent::Observed(seen));
    }
}

#[derive(Debug, Clone)]
enum Move {
    CarryOut(usize, bool),
    ContainerEnds,
    Want(u64),
    Unwant,
    Volumes(usize),
    Crash,
}

proptest! {
    #![proptest_config(sutler_cases::config())]

    #[test]
    fn whatever_happens_there_is_one_container_and_it_comes_up_or_goes(
        moves in prop::collection::vec(prop_oneof![
            12 => (any::<usize>(), prop::bool::weighted(0.2))
                .prop_map(|(i, f)| Move::CarryOut(i, f)),
            1 => Just(Move::ContainerEnds),
            1 => (1_u64..4).prop_map(Move::Want),
            1 => Just(Move::Unwant),
            1 => (0_usize..2).prop_map(Move::Volumes),
            1 => Just(Move::Crash),
        ], 1..120),
        wanted_at_last in any::<bool>(),
    ) {
        let mut world = World {
            plugin: Plugin::new(wanted(1), at(0)),
            disk: None,
            containers: 0,
            up: false,
            volumes: 0,
            pending: Vec::new(),
            now: at(0),
        };
        world.feed(want(1));
        for one in moves {
            match one {
                Move::CarryOut(index, fail) => world.carry_out(index, fail),
                Move::ContainerEnds => world.containers = 0,
                Move::Want(generation) => world.feed(want(generation)),
                Move::Unwant => world.feed(PluginEvent::Unwanted),
                Move::Volumes(count) => world.volumes = count,
                Move::Crash => world.crash(),
            }
            if world.plugin.is_gone() {
                return Ok(());
            }
        }
        world.volumes = 0;
        world.feed(if wanted_at_last { want(9) } else { PluginEvent::Unwanted });
        for _ in 0..400 {
            world.carry_out(0, false);
            if !wanted_at_last && world.plugin.is_gone() {
                prop_assert_eq!(world.containers, 0);
                return Ok(());
            }
        }
        prop_assert!(wanted_at_last && world.plugin.is_ready(), "{:?}", world.plugin);
        let digest_of = world.disk.and_then(|record| record.started).map(|s| s.generation);
        prop_assert_eq!(digest_of, Some(9));
    }
}
