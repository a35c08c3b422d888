//! A plugin that is not ready, or silent, and when that may end it.

use super::*;

fn silence() -> ProbeOutcome {
    ProbeOutcome::NoAnswer {
        raw: "no answer".to_owned(),
    }
}

fn report(plugin: &Plugin) -> sutler_api::plugin::PluginInstanceView {
    plugin.report(&"here".parse().expect("a name"), &BTreeMap::new())
}

fn looks(plugin: &mut Plugin, outcome: &ProbeOutcome, count: usize) -> Vec<String> {
    let looks = (0..count).map(|_| probed(1, outcome.clone()));
    play(plugin, looks.collect())
}

#[test]
fn a_plugin_that_says_it_is_not_ready_is_left_alone_and_goes_on() {
    let mut plugin = ready();
    let lines = looks(&mut plugin, &ProbeOutcome::NotReady, 10);
    assert_eq!(lines[0], "[] [down] notready");
    assert!(
        lines[1..].iter().all(|l| l == "[] [] notready"),
        "{lines:?}"
    );
    let told = report(&plugin).problem.expect("a reason").what;
    assert!(told.contains("says itself that it is not ready"), "{told}");
    assert!(!plugin.is_ready());
    assert_eq!(looks(&mut plugin, &answered(), 1), ["[] [up] ready"]);
    assert_eq!(
        (report(&plugin).restarts, report(&plugin).problem),
        (0, None)
    );
}

#[test]
fn a_silent_plugin_with_volumes_on_the_node_is_never_stopped() {
    let mut plugin = ready();
    assert_eq!(
        looks(&mut plugin, &silence(), 3),
        ["[] [] ready", "[] [] ready", "[] [count_volumes] silent"]
    );
    let since = report(&plugin).since;
    for _ in 0..10 {
        let lines = play(
            &mut plugin,
            vec![PluginEvent::VolumesHere(1), probed(1, silence())],
        );
        assert_eq!(lines, ["[] [] silent", "[] [count_volumes] silent"]);
    }
    let told = report(&plugin);
    assert_eq!((told.since, told.restarts), (since, 0));
    let hint = told.problem.and_then(|p| p.hint).expect("a hint");
    assert!(hint.contains("sutler plugin restart p --in-use"), "{hint}");
    assert_eq!(looks(&mut plugin, &answered(), 1), ["[] [] ready"]);
    assert_eq!(report(&plugin).problem, None);
}

#[test]
fn silence_alone_stops_nothing_before_the_volumes_are_counted() {
    let mut plugin = ready();
    let lines = looks(&mut plugin, &silence(), 20);
    assert!(lines.iter().all(|line| !line.contains("halt")), "{lines:?}");
}

#[test]
fn a_silent_plugin_without_volumes_is_stopped_once_no_call_can_begin() {
    let mut plugin = ready();
    looks(&mut plugin, &silence(), 3);
    let none = || PluginEvent::VolumesHere(0);
    assert_eq!(
        play(&mut plugin, vec![none(), none()]),
        ["[] [down count_volumes] silent", "[] [down halt] stopping"]
    );
    let mut plugin = ready();
    looks(&mut plugin, &silence(), 3);
    assert_eq!(
        play(&mut plugin, vec![none(), PluginEvent::VolumesHere(1)]),
        ["[] [down count_volumes] silent", "[] [up] silent"],
        "a call had begun before it was held back"
    );
}

#[test]
fn any_answered_call_is_a_sign_of_life() {
    let busy = ProbeOutcome::Busy {
        raw: "no answer".to_owned(),
    };
    let mut plugin = ready();
    for outcome in [silence(), silence(), busy.clone(), silence(), silence()] {
        assert_eq!(looks(&mut plugin, &outcome, 1), ["[] [] ready"]);
    }
    assert_eq!(
        looks(&mut plugin, &silence(), 1),
        ["[] [count_volumes] silent"]
    );
    assert_eq!(looks(&mut plugin, &busy, 1), ["[] [] ready"]);
    looks(&mut plugin, &ProbeOutcome::NotReady, 1);
    let told = looks(&mut plugin, &busy, 1);
    assert_eq!(told, ["[] [] notready"], "its last word holds");
}

fn coming_up() -> Plugin {
    let mut plugin = Plugin::new(wanted(1), at(0));
    play(
        &mut plugin,
        vec![want(1), prepared(1), pulled(1), started(1)],
    );
    plugin
}

#[test]
fn a_slow_but_honest_start_is_waited_for() {
    let mut plugin = coming_up();
    plugin.on_event(probed(1, ProbeOutcome::NotReady), at(5));
    for second in 20..100 {
        let step = plugin.on_event(PluginEvent::Tick, at(second));
        assert!(!step.effects.contains(&PluginEffect::Halt), "{step:?}");
        plugin.on_event(probed(1, ProbeOutcome::NotReady), at(second));
    }
    assert_eq!(report(&plugin).state, PluginState::NotReady);
    plugin.on_event(probed(1, answered()), at(100));
    assert!(plugin.is_ready());
    assert_eq!(report(&plugin).restarts, 0);
}

#[test]
fn an_honest_start_that_falls_silent_begins_anew() {
    let mut plugin = coming_up();
    plugin.on_event(probed(1, ProbeOutcome::NotReady), at(5));
    plugin.on_event(PluginEvent::Tick, at(20));
    let lines = looks(&mut plugin, &silence(), 3);
    assert_eq!(
        lines,
        ["[] [] notready", "[] [] notready", "[] [halt] stopping"]
    );
}

#[test]
fn an_adopted_plugin_that_does_not_answer_is_stopped_only_without_volumes() {
    for (count, expected) in [(1, "[] [] silent"), (0, "[] [halt] stopping")] {
        let mut plugin = Plugin::new(wanted(1), at(0));
        let record = PluginRecord {
            wanted: wanted(1),
            removing: false,
            started: Some(StartRecord {
                generation: 1,
                restart: 0,
                image: "p:1".to_owned(),
                digest: "sha256:1".to_owned(),
            }),
            facts: Some(facts()),
        };
        plugin.on_event(PluginEvent::Recorded(Box::new(record)), at(1));
        let seen = ContainerSeen::Running {
            started_at: at(0).wall,
        };
        plugin.on_event(PluginEvent::Observed(seen), at(2));
        let step = plugin.on_event(PluginEvent::Tick, at(60));
        assert_eq!(line(&plugin, &step), "[] [count_volumes] silent");
        let step = plugin.on_event(PluginEvent::VolumesHere(count), at(61));
        assert_eq!(line(&plugin, &step), expected);
    }
}

#[test]
fn an_operators_restart_is_a_new_start_of_the_same_definition() {
    let mut plugin = ready();
    looks(&mut plugin, &ProbeOutcome::NotReady, 1);
    let again = DesiredPlugin {
        restart: 1,
        ..wanted(1)
    };
    let again = || PluginEvent::Wanted(Box::new(again.clone()));
    assert_eq!(
        play(&mut plugin, vec![again(), again(), pulled(1), halted(1)]),
        [
            "[put] [pull] notready",
            "[] [] notready",
            "[] [down halt] stopping",
            "[] [prepare] waiting",
        ]
    );
    assert!(!plugin.is_upgrade(), "its image is not looked up anew");
}
