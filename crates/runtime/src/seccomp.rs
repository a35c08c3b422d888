//! The system calls an unprivileged container may not make.
//!
//! Calls that reach the kernel beyond the container are refused unless the container holds the
//! capability that governs them; everything else is allowed, so that new harmless calls work
//! without a list to maintain. Source: OCI runtime specification, `linux.seccomp`.

use serde_json::{Value, json};

use super::capabilities::CapabilitySet;

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// Refused for everybody: obsolete, or without a capability that would tell friend from foe.
const ALWAYS: [&str; 19] = [
    "add_key",
    "get_kernel_syms",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "keyctl",
    "kexec_file_load",
    "kexec_load",
    "nfsservctl",
    "query_module",
    "request_key",
    "sysfs",
    "_sysctl",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
    "create_module",
];

/// Refused unless the container holds the capability.
const GOVERNED: [(&str, &[&str]); 10] = [
    (
        "CAP_SYS_ADMIN",
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "pivot_root",
            "quotactl",
            "quotactl_fd",
            "setns",
            "swapoff",
            "swapon",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (
        "CAP_SYS_MODULE",
        &["delete_module", "finit_module", "init_module"],
    ),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_RAWIO", &["ioperm", "iopl"]),
    ("CAP_SYS_PACCT", &["acct"]),
    (
        "CAP_SYS_TIME",
        &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    (
        "CAP_SYS_NICE",
        &["mbind", "migrate_pages", "move_pages", "set_mempolicy"],
    ),
    (
        "CAP_SYS_PTRACE",
        &[
            "kcmp",
            "pidfd_getfd",
            "process_vm_readv",
            "process_vm_writev",
        ],
    ),
    ("CAP_BPF", &["bpf"]),
    ("CAP_PERFMON", &["perf_event_open"]),
];

/// Open by handle reaches any file of a file system, past the container's root.
const FILE_HANDLES: (&str, &[&str]) = (
    "CAP_DAC_READ_SEARCH",
    &["name_to_handle_at", "open_by_handle_at"],
);

/// The `CLONE_NEW*` flags: mount, cgroup, uts, ipc, user, pid, net.
const NEW_NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// The filter for a container that holds these capabilities, on this host's architecture.
pub fn filter(held: CapabilitySet) -> Value {
    let governed = GOVERNED.iter().chain([&FILE_HANDLES]);
    let mut names: Vec<&str> = ALWAYS.to_vec();
    for (_, calls) in governed.filter(|(capability, _)| !held.has(capability)) {
        names.extend(*calls);
    }
    let mut rules = vec![json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM })];
    if !held.has("CAP_SYS_ADMIN") {
        rules.extend(NEW_NAMESPACES.map(refuse_clone_flag));
        // Its flags lie in memory that a filter cannot read; with ENOSYS libraries use clone.
        rules.push(json!({
            "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS
        }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures(std::env::consts::ARCH),
        "syscalls": rules,
    })
}

fn refuse_clone_flag(flag: u64) -> Value {
    json!({
        "names": ["clone"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": EPERM,
        "args": [{ "index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ" }],
    })
}

/// This architecture and those whose programs its kernel also runs.
fn architectures(arch: &str) -> &'static [&'static str] {
    match arch {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => &["SCMP_ARCH_RISCV64"],
        _native_only => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::super::capabilities::Network;
    use super::*;

    fn refused(held: CapabilitySet) -> String {
        filter(held)["syscalls"].to_string()
    }

    #[test]
    fn calls_are_refused_unless_their_capability_is_held() {
        let none = CapabilitySet(0);
        for call in [
            "mount",
            "bpf",
            "reboot",
            "open_by_handle_at",
            "clone3",
            "keyctl",
        ] {
            assert!(
                refused(none).contains(&format!("\"{call}\"")),
                "{call} is allowed"
            );
        }
        let admin = CapabilitySet(u64::MAX)
            .unprivileged(Network::Own, &["CAP_SYS_ADMIN".into()])
            .expect("known");
        for call in ["mount", "clone3", "clone", "setns"] {
            assert!(
                !refused(admin).contains(&format!("\"{call}\"")),
                "{call} is refused"
            );
        }
        assert!(refused(admin).contains("\"reboot\""));
    }
}
