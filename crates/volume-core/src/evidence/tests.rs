//! Every kind of claim against what can be known of it.

use sutler_api::agent::VolumeAct;

use sutler_ids::Bytes;

use super::*;
use crate::Volume;
use crate::tests::world::{ALL, at, failure, made, operation, spec};

const HERE: &str = "/v/place";

fn record() -> VolumeRecord {
    let create = operation(1, VolumeAct::Create(spec()));
    let (volume, _) = Volume::create(&create, "boot", at(0)).unwrap();
    volume.record().clone()
}

fn weighed(rpc: Rpc, result: Result<Answer, Failure>, shown: Shown) -> Finding {
    weigh(rpc, &record(), ALL, (result, shown))
}

fn silent() -> Problem {
    Problem::new(ErrorKind::Unavailable, "the kernel does not say")
}

/// What the kernel may show after a call.
fn all_shown() -> [Shown; 4] {
    [
        Shown::NotAsked,
        Shown::Mounted(HERE.to_owned()),
        Shown::Nothing(HERE.to_owned()),
        Shown::NotKnown(silent()),
    ]
}

#[test]
fn an_ok_is_worth_what_the_kernel_shows() {
    let word = |rpc, shown| match weighed(rpc, Ok(Answer::Done), shown) {
        Finding::Done(There::Yes) => "there",
        Finding::Done(There::No) => "done",
        Finding::Done(There::Perhaps) => "perhaps",
        Finding::NotUp(problem) | Finding::NotDown(problem) => {
            assert!(
                problem.what.contains(HERE) || problem == silent(),
                "{problem}"
            );
            "not so"
        }
        other => panic!("{other:?}"),
    };
    let rows: [(Rpc, [&str; 4]); 7] = [
        // Not asked, a mount, nothing, silence.
        (Rpc::Publish, ["done", "there", "not so", "perhaps"]),
        (Rpc::Stage, ["done", "there", "done", "perhaps"]),
        (Rpc::Unpublish, ["done", "not so", "done", "not so"]),
        (Rpc::Unstage, ["done", "not so", "done", "not so"]),
        (Rpc::Delete, ["done", "there", "done", "perhaps"]),
        (Rpc::Detach, ["done", "there", "done", "perhaps"]),
        (
            Rpc::NodeExpand(Bytes::mib(1)),
            ["done", "there", "done", "perhaps"],
        ),
    ];
    for (rpc, words) in rows {
        for (shown, expected) in all_shown().into_iter().zip(words) {
            assert_eq!(word(rpc, shown.clone()), expected, "{rpc:?} {shown:?}");
        }
    }
}

#[test]
fn a_plugin_that_mounts_nothing_by_definition_is_taken_at_its_word() {
    let abilities = Abilities {
        mounts_nothing: true,
        ..ALL
    };
    let nothing = Shown::Nothing(HERE.to_owned());
    let found = weigh(
        Rpc::Publish,
        &record(),
        abilities,
        (Ok(Answer::Done), nothing),
    );
    assert_eq!(found, Finding::Done(There::No));
}

#[test]
fn a_volume_that_the_plugin_does_not_know_is_down_when_the_kernel_agrees() {
    for rpc in [Rpc::Unpublish, Rpc::Unstage] {
        let not_found = || Err(failure(Verdict::NotFound, "no such volume"));
        for (shown, down) in all_shown().into_iter().zip([true, false, true, false]) {
            let found = weighed(rpc, not_found(), shown.clone());
            assert_eq!(
                matches!(found, Finding::Failed(_)),
                down,
                "{rpc:?} {shown:?}"
            );
        }
    }
}

#[test]
fn what_was_made_is_what_was_asked_for_or_is_named_and_kept() {
    let place = |zone: &str| Segments::from([("zone".to_owned(), zone.to_owned())]);
    let asked = spec().capacity;
    let good = || made("id-1", asked);
    let holds = |made: Made| match weighed(Rpc::Create, Ok(Answer::Made(made)), Shown::NotAsked) {
        Finding::Created(created) => Ok(created.capacity),
        Finding::Unfit(created, problem) => {
            assert_eq!(created.csi_volume_id, "id-1");
            assert!(problem.raw.unwrap().contains("id-1"));
            Err(problem.what)
        }
        Finding::Others(problem) => Err(problem.what),
        other => panic!("{other:?}"),
    };
    assert_eq!(holds(good()), Ok(asked));
    let untold = Made {
        capacity: None,
        ..good()
    };
    assert_eq!(holds(untold), Ok(asked));
    assert_eq!(
        holds(made("id-1", Bytes::mib(11))),
        Ok(Bytes::mib(11)),
        "more than asked"
    );
    let short = holds(made("id-1", Bytes(4096))).unwrap_err();
    assert!(
        short.contains("4096 bytes were made of 10485760"),
        "{short}"
    );
    let reached_from = |topology: Vec<Segments>, here: Segments| Made {
        topology,
        here,
        ..good()
    };
    assert_eq!(
        holds(reached_from(vec![place("b"), place("a")], place("a"))),
        Ok(asked)
    );
    assert_eq!(holds(reached_from(Vec::new(), place("a"))), Ok(asked));
    assert_eq!(
        holds(reached_from(vec![place("b")], Segments::new())),
        Ok(asked)
    );
    let away = holds(reached_from(vec![place("b")], place("a"))).unwrap_err();
    assert!(
        away.contains("made in zone=b, and this node is in zone=a"),
        "{away}"
    );
    let also = Made {
        also: Some("other".parse().unwrap()),
        ..good()
    };
    let others = holds(also).unwrap_err();
    assert!(
        others.contains("answered with volume id-1, which is volume other"),
        "{others}"
    );
}

#[test]
fn a_growth_is_as_large_as_it_was_asked_to_be_or_has_failed() {
    let grown = |has: u64| {
        let expanded = Expanded {
            capacity: Bytes(has),
            node_expansion_required: true,
        };
        let rpc = Rpc::ControllerExpand(Bytes(100));
        weighed(rpc, Ok(Answer::Expanded(expanded)), Shown::NotAsked)
    };
    for (told, has) in [(100, 100), (101, 101), (0, 100)] {
        assert!(matches!(grown(told), Finding::Expanded(e) if e.capacity == Bytes(has)));
    }
    let Finding::Short(short, problem) = grown(99) else {
        panic!("99 bytes are not 100");
    };
    assert_eq!(short.capacity, Bytes(99));
    assert!(
        problem.what.contains("to 99 bytes, 100 were asked for"),
        "{problem}"
    );
}
