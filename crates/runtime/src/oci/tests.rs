//! What a container gets, told as data: one test per rule of the configuration.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::inherited::Rlimits;
use crate::spec::{ContainerId, EnvVar};

fn spec() -> ContainerSpec {
    let id = ContainerId::new("c1").expect("valid");
    ContainerSpec::new(id, "/roots/c1", vec!["/bin/true".into()])
}

fn host() -> HostFacts {
    HostFacts {
        bounding: CapabilitySet((1 << 41) - 1),
        cgroups: CgroupMode::V2,
        counts_swap: true,
        devices: Vec::new(),
        rlimits: Rlimits::gather(true),
        oom_score: Some(0),
        name_files: vec![PathBuf::from("/etc/hosts")],
    }
}

fn built(spec: &ContainerSpec) -> Value {
    config(spec, &host(), &User::default()).expect("a good spec")
}

fn targets(config: &Value) -> Vec<&str> {
    let all = config["mounts"].as_array().expect("mounts");
    all.iter()
        .filter_map(|m| m["destination"].as_str())
        .collect()
}

#[test]
fn an_unprivileged_container_is_confined() {
    let config = built(&spec());
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert_eq!(config["linux"]["cgroupsPath"], "/sutler/c1");
    assert_eq!(config["linux"]["rootfsPropagation"], "rprivate");
    assert_eq!(config["linux"]["resources"]["devices"][0]["allow"], false);
    assert!(
        config["linux"]["maskedPaths"]
            .as_array()
            .is_some_and(|m| !m.is_empty())
    );
    assert!(config["linux"]["seccomp"].is_object());
    let bounding = config["process"]["capabilities"]["bounding"].to_string();
    assert!(!bounding.contains("CAP_SYS_ADMIN"), "{bounding}");
    assert_eq!(
        config["linux"]["namespaces"].as_array().map(Vec::len),
        Some(6)
    );
}

#[test]
fn a_privileged_container_gets_our_bounding_set_and_nothing_hidden() {
    let mut host = host();
    host.bounding = CapabilitySet(0b11);
    let spec = ContainerSpec {
        privileged: true,
        ..spec()
    };
    let config = config(&spec, &host, &User::default()).expect("a good spec");
    let names = ["CAP_CHOWN", "CAP_DAC_OVERRIDE"];
    assert_eq!(config["process"]["capabilities"]["effective"], json!(names));
    assert_eq!(config["process"]["noNewPrivileges"], false);
    assert_eq!(
        config["linux"]["resources"]["devices"],
        json!([{"allow":true,"access":"rwm"}])
    );
    assert!(config["linux"].get("maskedPaths").is_none());
    assert!(config["linux"].get("seccomp").is_none());
    let sys = config["mounts"].as_array().expect("mounts").iter();
    let sys = sys.filter(|m| {
        m["destination"]
            .as_str()
            .is_some_and(|t| t.starts_with("/sys"))
    });
    assert!(sys.clone().count() == 2 && !sys.clone().any(|m| m.to_string().contains("\"ro\"")));
}

#[test]
fn a_mount_over_dev_replaces_every_usual_mount_below_it() {
    // A devpts or mqueue put onto the host's own /dev would show on the host.
    let mut spec = spec();
    spec.mounts.push(MountSpec::bind("/dev", "/dev"));
    let config = built(&spec);
    assert_eq!(
        targets(&config),
        ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]
    );
}

#[test]
fn outer_mounts_come_before_inner_ones() {
    let mut spec = spec();
    spec.mounts = vec![
        MountSpec::bind("/a", "/data/inner"),
        MountSpec::tmpfs("/data"),
    ];
    let config = built(&spec);
    assert_eq!(&targets(&config)[7..], ["/data", "/data/inner"]);
}

#[test]
fn a_shared_mount_makes_the_root_shared() {
    let mut spec = spec();
    spec.mounts.push(MountSpec {
        propagation: Propagation::RSlave,
        ..MountSpec::bind("/a", "/a")
    });
    assert_eq!(built(&spec)["linux"]["rootfsPropagation"], "rslave");
    spec.mounts.push(MountSpec {
        propagation: Propagation::RShared,
        ..MountSpec::bind("/b", "/b")
    });
    let config = built(&spec);
    assert_eq!(config["linux"]["rootfsPropagation"], "shared");
    assert_eq!(
        config["mounts"][8]["options"],
        json!(["rbind", "rw", "rshared"])
    );
}

#[test]
fn limits_become_quota_shares_and_memory_without_swap() {
    let limits = Limits {
        cpus: Some(0.5),
        memory_bytes: Some(64 << 20),
        pids: Some(7),
    };
    let config = built(&ContainerSpec { limits, ..spec() });
    let resources = &config["linux"]["resources"];
    assert_eq!(
        resources["cpu"],
        json!({"quota": 50_000, "period": 100_000, "shares": 512})
    );
    assert_eq!(
        resources["memory"],
        json!({"limit": 64 << 20, "swap": 64 << 20})
    );
    assert_eq!(resources["pids"], json!({"limit": 7}));
}

#[test]
fn a_container_in_the_hosts_network_resolves_names_as_the_host() {
    let config = built(&ContainerSpec {
        host_network: true,
        ..spec()
    });
    assert!(targets(&config).contains(&"/etc/hosts"));
    assert!(
        !config["linux"]["namespaces"]
            .to_string()
            .contains("network")
    );
    assert!(!targets(&built(&spec())).contains(&"/etc/hosts"));
}

#[test]
fn contradictory_specs_are_refused_in_words() {
    let limits = |cpus, memory_bytes, pids| Limits {
        cpus,
        memory_bytes,
        pids,
    };
    let mount = |target: &str| vec![MountSpec::tmpfs(target)];
    let bad = [
        ContainerSpec {
            args: vec![],
            ..spec()
        },
        ContainerSpec {
            args: vec!["a\0".into()],
            ..spec()
        },
        ContainerSpec {
            rootfs: "relative".into(),
            ..spec()
        },
        ContainerSpec {
            cwd: "/a/../b".into(),
            ..spec()
        },
        ContainerSpec {
            mounts: mount("relative"),
            ..spec()
        },
        ContainerSpec {
            mounts: mount("/a/../../b"),
            ..spec()
        },
        ContainerSpec {
            mounts: mount("/"),
            ..spec()
        },
        ContainerSpec {
            cgroup_parent: "/".into(),
            ..spec()
        },
        ContainerSpec {
            cgroup_parent: "/a/../..".into(),
            ..spec()
        },
        ContainerSpec {
            env: vec![EnvVar::new("A=B", "c")],
            ..spec()
        },
        ContainerSpec {
            capabilities: vec!["CAP_NOPE".into()],
            ..spec()
        },
        ContainerSpec {
            limits: limits(Some(0.0), None, None),
            ..spec()
        },
        ContainerSpec {
            limits: limits(Some(f64::NAN), None, None),
            ..spec()
        },
        ContainerSpec {
            limits: limits(None, Some(1), None),
            ..spec()
        },
        ContainerSpec {
            limits: limits(None, Some(u64::MAX), None),
            ..spec()
        },
        ContainerSpec {
            limits: limits(None, None, Some(0)),
            ..spec()
        },
    ];
    for spec in bad {
        let refused = config(&spec, &host(), &User::default());
        assert!(refused.is_err(), "taken: {spec:?}");
    }
}
