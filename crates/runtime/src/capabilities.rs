//! Capabilities: their names, our own bounding set, and what a container gets of it.
//!
//! "Privileged" means what this process could give (`CapBnd`), read when asked, never a fixed
//! list: inside a container or a restricted service the set is smaller.
//! Source: capabilities(7), `linux/capability.h`.

use std::io;

/// Names by number, as OCI configurations spell them.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What programs in images expect to have as root without reaching out of the container.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

/// What of the default is not for a container on the host's network: there it would read what
/// all others say, and speak in their names.
const NOT_ON_HOST_NETWORK: &str = "CAP_NET_RAW";

/// Which network a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The host's.
    Host,
    Own,
}

/// A set of capabilities, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// Reads this process's bounding set.
    ///
    /// # Errors
    /// If `/proc/self/status` cannot be read or has no `CapBnd` line.
    pub(crate) fn own_bounding() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        parse_bounding(&status)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no CapBnd line"))
    }

    /// The usual set of an unprivileged container with `extra`, as far as `self` has it.
    ///
    /// # Errors
    /// The first name of `extra` that is no capability or not in `self`, in words.
    pub fn unprivileged(self, network: Network, extra: &[String]) -> Result<Self, String> {
        let given = |name: &&&str| network == Network::Own || **name != NOT_ON_HOST_NETWORK;
        let mut bits = DEFAULT
            .iter()
            .filter(given)
            .filter_map(|name| bit(name))
            .fold(0, |set, b| set | b);
        bits &= self.0;
        for name in extra {
            let wanted = bit(name).ok_or_else(|| format!("{name:?} is no capability"))?;
            if self.0 & wanted == 0 {
                return Err(format!("capability {name} is not in our own bounding set"));
            }
            bits |= wanted;
        }
        Ok(Self(bits))
    }

    /// Whether it holds a capability of that name.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The names in it that we know.
    pub fn names(self) -> Vec<&'static str> {
        let held = |(number, _): &(usize, &&str)| self.0 & (1 << number) != 0;
        NAMES
            .iter()
            .enumerate()
            .filter(held)
            .map(|(_, name)| *name)
            .collect()
    }
}

/// The bit of a capability; the `CAP_` may be left out, case does not matter.
fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| known.strip_prefix("CAP_") == Some(bare))
        .map(|n| 1 << n)
}

fn parse_bounding(status: &str) -> Option<CapabilitySet> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok().map(CapabilitySet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unprivileged_container_gets_no_more_than_we_have() {
        let ours = CapabilitySet(0b1); // CAP_CHOWN only
        assert_eq!(
            ours.unprivileged(Network::Own, &[])
                .expect("default")
                .names(),
            ["CAP_CHOWN"]
        );
        assert!(
            ours.unprivileged(Network::Own, &["CAP_SYS_ADMIN".into()])
                .is_err()
        );
        assert!(
            CapabilitySet(u64::MAX)
                .unprivileged(Network::Own, &["CAP_NOPE".into()])
                .is_err()
        );
    }

    #[test]
    fn extra_capabilities_are_added_in_any_spelling() {
        let set = CapabilitySet(u64::MAX)
            .unprivileged(Network::Own, &["sys_admin".into()])
            .expect("known");
        assert!(set.has("CAP_SYS_ADMIN") && !set.has("CAP_SYS_MODULE"));
    }

    #[test]
    fn raw_sockets_on_the_hosts_network_are_given_by_name_only() {
        let all = CapabilitySet(u64::MAX);
        let raw = |network, extra: &[String]| {
            let set = all.unprivileged(network, extra).expect("known");
            set.has("CAP_NET_RAW")
        };
        assert!(raw(Network::Own, &[]));
        assert!(!raw(Network::Host, &[]));
        assert!(raw(Network::Host, &["CAP_NET_RAW".into()]));
    }

    #[test]
    fn the_bounding_set_is_read_from_its_own_line() {
        let status = "CapEff:\t00000000000000ff\nCapBnd:\t0000000000200000\nCapAmb:\t0\n";
        let set = parse_bounding(status).expect("has the line");
        assert_eq!(set.names(), ["CAP_SYS_ADMIN"]);
        assert_eq!(parse_bounding("CapEff:\t0\n"), None);
    }
}
