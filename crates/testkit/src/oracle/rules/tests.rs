//! The oracle finds every planted fault, names its invariant, and nothing in a sound world.

use super::super::{BookTask, ListedVolume};
use super::*;

/// One volume in use by one running task, one in the trash.
fn sound() -> Observed {
    let volume = |name: &str, state: &str| BookVolume {
        name: name.to_owned(),
        volume_id: format!("uuid-{name}"),
        csi_volume_id: Some(format!("csi-{name}")),
        plugin: "local".to_owned(),
        state: state.to_owned(),
        ..BookVolume::default()
    };
    let listed = |name: &str| ListedVolume {
        csi_volume_id: format!("csi-{name}"),
        name: Some(format!("sutler-uuid-{name}")),
    };
    let mut used = volume("a", "in_use");
    used.holders.insert("t1".to_owned());
    let task = |id: &str, state: &str, volumes: &[&str]| BookTask {
        task_id: id.to_owned(),
        state: state.to_owned(),
        volumes: volumes.iter().map(ToString::to_string).collect(),
    };
    Observed {
        volumes: vec![used, volume("b", "trashed")],
        tasks: vec![
            task("t1", "running", &["uuid-a"]),
            task("t2", "finished", &["uuid-b"]),
        ],
        listed: [("local".to_owned(), vec![listed("a"), listed("b")])].into(),
        mounts: [(
            "/s1".to_owned(),
            vec!["/s1/agent/volumes/local/uuid-a/pub".to_owned()],
        )]
        .into(),
        loop_files: vec!["/data/volumes/csi-a/data.img".to_owned()],
        texts: [("log".to_owned(), "all is well".to_owned())].into(),
        secrets: [("token".to_owned(), "s3cr3t".to_owned())].into(),
        read_back: vec![("a".to_owned(), "x".to_owned(), "x".to_owned())],
    }
}

fn broken_by(plant: impl FnOnce(&mut Observed)) -> Vec<u8> {
    let mut observed = sound();
    plant(&mut observed);
    let mut found: Vec<u8> = check(&observed, &Expectations::default())
        .iter()
        .map(|v| v.invariant)
        .collect();
    found.dedup();
    found
}

#[test]
fn a_sound_world_has_no_violation() {
    assert_eq!(check(&sound(), &Expectations::default()), []);
    assert_eq!(check_since(&sound(), &sound()), []);
}

#[test]
fn a_finished_volume_that_the_plugin_lost_breaks_1() {
    assert_eq!(
        broken_by(|o| drop(o.listed.get_mut("local").unwrap().pop())),
        [1]
    );
    assert_eq!(broken_by(|o| o.listed.clear()), [1]);
}

#[test]
fn a_leaked_volume_breaks_2_unless_it_was_there_before_us() {
    let leaked = ListedVolume {
        csi_volume_id: "leak".to_owned(),
        name: None,
    };
    let mut observed = sound();
    observed.listed.get_mut("local").unwrap().push(leaked);
    let found = check(&observed, &Expectations::default());
    assert_eq!(found.iter().map(|v| v.invariant).collect::<Vec<_>>(), [2]);
    let mut expectations = Expectations::default();
    expectations
        .foreign
        .insert("local".to_owned(), ["leak".to_owned()].into());
    assert_eq!(check(&observed, &expectations), []);
}

#[test]
fn a_failed_volume_that_the_plugin_has_breaks_2() {
    assert_eq!(broken_by(|o| o.volumes[1].state = "failed".to_owned()), [2]);
}

#[test]
fn a_volume_made_twice_breaks_3() {
    let twice = |o: &mut Observed| {
        let mut again = o.listed["local"][1].clone();
        again.csi_volume_id = "csi-b2".to_owned();
        o.listed.get_mut("local").unwrap().push(again);
    };
    assert_eq!(broken_by(twice), [2, 3]);
    let same_id = |o: &mut Observed| o.volumes[1].csi_volume_id = Some("csi-a".to_owned());
    assert!(broken_by(same_id).contains(&3));
}

#[test]
fn a_volume_on_two_nodes_breaks_4() {
    let point = "/s2/agent/volumes/local/uuid-a/pub".to_owned();
    assert_eq!(
        broken_by(|o| drop(o.mounts.insert("/s2".to_owned(), vec![point]))),
        [4]
    );
}

#[test]
fn a_deleted_file_behind_a_device_and_a_mount_of_nothing_break_5() {
    assert_eq!(broken_by(|o| o.loop_files[0].push_str(" (deleted)")), [5]);
    for point in [
        "/s1/agent/volumes/local/uuid-gone/pub",
        "/s1/agent/rootfs/task-t1/volumes/0",
    ] {
        let planted = |o: &mut Observed| o.mounts.get_mut("/s1").unwrap().push(point.to_owned());
        assert_eq!(broken_by(planted), [5], "{point}");
    }
}

#[test]
fn a_state_that_does_not_end_breaks_6() {
    for state in ["creating", "uncertain", "deleting"] {
        let planted = |o: &mut Observed| o.volumes[1].state = state.to_owned();
        assert!(broken_by(planted).contains(&6), "{state}");
    }
    assert_eq!(
        broken_by(|o| o.tasks[1].state = "releasing".to_owned()),
        [6]
    );
}

#[test]
fn holders_tasks_and_mounts_that_disagree_break_7() {
    assert!(broken_by(|o| o.tasks[0].state = "finished".to_owned()).contains(&7));
    assert_eq!(broken_by(|o| o.volumes[0].holders.clear()), [7]);
}

#[test]
fn a_status_that_goes_backwards_breaks_8() {
    let mut later = sound();
    later.tasks[1].state = "running".to_owned();
    let found = check_since(&sound(), &later);
    assert_eq!(
        found.iter().map(|v| v.invariant).collect::<Vec<_>>(),
        [8],
        "{found:?}"
    );
    let mut later = sound();
    later.volumes[1].csi_volume_id = Some("other".to_owned());
    assert_eq!(check_since(&sound(), &later).len(), 1);
}

#[test]
fn a_secret_in_a_log_breaks_9() {
    let planted = |o: &mut Observed| {
        o.texts
            .insert("agent's log".to_owned(), "token=s3cr3t".to_owned());
    };
    assert_eq!(broken_by(planted), [9]);
}

#[test]
fn data_that_reads_back_otherwise_breaks_10() {
    assert_eq!(broken_by(|o| o.read_back[0].2.clear()), [10]);
}
