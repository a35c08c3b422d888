//! What containers may use: memory, processors, devices, capabilities.

use std::fs;

use sutler_runtime::{ContainerSpec, DeviceSpec, ExitStatus, Limits};

use crate::world::World;

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_killed_for_memory_is_reported_as_such() {
    let world = World::new();
    let limits = Limits {
        memory_bytes: Some(16 * MIB),
        ..Limits::default()
    };
    let spec = world.spec(
        "c",
        &["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"],
    );
    let record = world.run(&ContainerSpec { limits, ..spec }).await;
    assert_eq!(
        (record.status, record.oom_killed),
        (ExitStatus::Signal(9), true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_killed_for_memory_is_reported_as_such() {
    let world = World::new();
    let limits = Limits {
        memory_bytes: Some(16 * MIB),
        ..Limits::default()
    };
    let spec = world.sh("c", "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 5");
    let record = world.run(&ContainerSpec { limits, ..spec }).await;
    assert_eq!(
        (record.status, record.oom_killed),
        (ExitStatus::Code(5), true)
    );
}

/// First of these files of the container's cgroups that exists (version 1, then 2).
fn cgroup_value(world: &World, name: &str, files: [&str; 2]) -> String {
    let folders = world.cgroups(name);
    let read = |file: &&str| {
        folders
            .iter()
            .find_map(|f| fs::read_to_string(f.join(file)).ok())
    };
    files
        .iter()
        .find_map(read)
        .expect("one of the versions")
        .trim()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_in_the_containers_own_cgroup() {
    let world = World::new();
    let limits = Limits {
        cpus: Some(0.5),
        memory_bytes: Some(64 * MIB),
        pids: Some(33),
    };
    world
        .start(&ContainerSpec {
            limits,
            ..world.spec("c", &["sleep", "1000"])
        })
        .await;
    let quota = cgroup_value(&world, "c", ["cpu.cfs_quota_us", "cpu.max"]);
    assert_eq!(quota.split(' ').next(), Some("50000"));
    let memory = cgroup_value(&world, "c", ["memory.limit_in_bytes", "memory.max"]);
    assert_eq!(memory, (64 * MIB).to_string());
    assert_eq!(cgroup_value(&world, "c", ["pids.max", "pids.max"]), "33");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_devices_can_be_used() {
    let world = World::new();
    let device = "/dev/loop-control";
    let use_it = format!("test -c {device} && true < {device}");
    let without = world.run(&world.sh("without", &use_it)).await;
    assert_ne!(without.status, ExitStatus::Code(0));
    // Not even through a node of the container's own making.
    let made = "mknod /tmp/d c 10 237 || exit 1; head -c 0 /tmp/d || exit 40";
    let made = world.run(&world.sh("made", made)).await;
    assert_eq!(made.status, ExitStatus::Code(40));
    let spec = world.sh("with", &format!("{use_it} && head -c 0 /tmp/d"));
    let with = world
        .run(&ContainerSpec {
            devices: vec![given(device, false)],
            ..spec
        })
        .await;
    assert_eq!(with.status, ExitStatus::Code(0));
}

fn given(device: &str, read_only: bool) -> DeviceSpec {
    DeviceSpec {
        path: device.into(),
        read_only,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_given_for_reading_cannot_be_opened_for_writing() {
    let world = World::new();
    let device = "/dev/loop-control";
    let open = format!("true < {device} || exit 40; true <> {device} || exit 41");
    for (name, read_only, status) in [("rw", false, 0), ("ro", true, 41)] {
        let spec = ContainerSpec {
            devices: vec![given(device, read_only)],
            ..world.sh(name, &format!("({open})"))
        };
        let ended = world.run(&spec).await;
        assert_eq!(ended.status, ExitStatus::Code(status), "{name}");
    }
}

fn own_bounding_set() -> String {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("CapBnd:"))
        .expect("has the line");
    line.trim().to_owned()
}

async fn status_field(world: &World, name: &str, field: &str) -> String {
    let status = world.stdout(name).await;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(field))
        .expect("has the field");
    line.trim_start_matches(':').trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn privileged_means_our_own_bounding_set() {
    let world = World::new();
    let spec = world.spec("c", &["cat", "/proc/self/status"]);
    world
        .run(&ContainerSpec {
            privileged: true,
            ..spec
        })
        .await;
    for set in ["CapBnd", "CapEff", "CapPrm"] {
        assert_eq!(
            status_field(&world, "c", set).await,
            own_bounding_set(),
            "{set}"
        );
    }
    assert_eq!(status_field(&world, "c", "Seccomp").await, "0");
    assert_eq!(status_field(&world, "c", "NoNewPrivs").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_container_has_every_device_of_the_host() {
    let world = World::new();
    let script = "test -c /dev/loop-control && true < /dev/loop-control && mkdir /sys/fs/cgroup/x; \
                  test -w /sys/kernel";
    let record = world
        .run(&ContainerSpec {
            privileged: true,
            ..world.sh("c", script)
        })
        .await;
    assert_eq!(record.status, ExitStatus::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unprivileged_container_is_confined() {
    let world = World::new();
    world
        .run(&world.spec("status", &["cat", "/proc/self/status"]))
        .await;
    assert_eq!(status_field(&world, "status", "Seccomp").await, "2");
    assert_eq!(status_field(&world, "status", "NoNewPrivs").await, "1");
    let held = status_field(&world, "status", "CapBnd").await;
    let held = u64::from_str_radix(&held, 16).expect("a set");
    assert_eq!(held & (1 << 21), 0, "it holds CAP_SYS_ADMIN");
    for (name, script) in [
        ("mount", "mount -t tmpfs x /tmp"),
        ("sysctl", "echo 0 > /proc/sys/kernel/hostname"),
        ("sysfs", "echo 1 > /sys/kernel/profiling"),
        ("kcore", "head -c 1 /proc/kcore | grep -q ."),
    ] {
        let record = world.run(&world.sh(name, script)).await;
        assert_ne!(record.status, ExitStatus::Code(0), "{script} worked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_capability_works() {
    let world = World::new();
    let mut spec = world.sh("c", "mount -t tmpfs x /tmp");
    spec.capabilities = vec!["CAP_SYS_ADMIN".into()];
    let record = world.run(&spec).await;
    assert_eq!(
        record.status,
        ExitStatus::Code(0),
        "{}",
        world.log_of_errors("c").await
    );
}
