//! What a process gets from whoever started it, and what of that a container may get: nothing.
//!
//! A shim and its container are the same whatever shell, unit or cron job started the agent. The
//! shim takes off what it can take off itself ([`shed`]); limits and the score for want of memory
//! are written into the container's configuration ([`Rlimits`], [`oom_score`]).
//! Source: execve(2), close_range(2), proc(5), getrlimit(2).
#![expect(
    unsafe_code,
    reason = "rustix has no close_range, and closing what others may own is unsafe"
)]

use std::fs;
use std::io;

use rustix::fs::Mode;
use rustix::process::{Resource, getrlimit, setpriority_process, umask};
use serde_json::{Value, json};

/// First descriptor that a shim was not given on purpose.
const FIRST_STRANGER: libc::c_uint = 3;

const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Takes off what the shim inherited: open files (a lock of whoever started the agent would be
/// held as long as the container runs), the umask (folders that the runtime makes in the
/// container take their mode from it), niceness, and a raised score for want of memory.
///
/// Call it before anything was opened and before any thread exists.
pub(crate) fn shed() -> io::Result<()> {
    let flags: libc::c_int = 0;
    // SAFETY: nothing in this process has opened a file yet, so nobody owns what is closed.
    let closed = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_STRANGER,
            libc::c_uint::MAX,
            flags,
        )
    };
    if closed != 0 {
        return Err(io::Error::last_os_error());
    }
    umask(Mode::from_raw_mode(0o022));
    // Both may be refused by a confined host; the container then has what the agent has.
    let _ = setpriority_process(None, 0);
    if read_oom_score().is_some_and(|score| score > 0) {
        let _ = fs::write(OOM_SCORE, "0");
    }
    Ok(())
}

fn read_oom_score() -> Option<i32> {
    fs::read_to_string(OOM_SCORE).ok()?.trim().parse().ok()
}

/// Gives the score that a container's configuration asks for: that of an ordinary process. A
/// service manager may protect the agent (`OOMScoreAdjust=-999`); with the same protection no
/// task could be killed for want of memory. None where this process is not allowed to lower its
/// own: the runtime would fail, and the shim has tried already.
pub(crate) fn oom_score(may_raise_limits: bool) -> Option<i32> {
    let own = read_oom_score().unwrap_or(0);
    (own <= 0 || may_raise_limits).then_some(0)
}

const NO_LIMIT: u64 = u64::MAX;

/// Limits of a container's processes: what a service of systemd has by default, soft and hard.
/// 1024 descriptors, since programs exist that close or count all they may have; those that need
/// more raise it themselves, up to the hard limit. Processes and memory are limited by the cgroup,
/// where a spec asks for it.
const WANTED: [(&str, Resource, u64, u64); 10] = [
    ("RLIMIT_AS", Resource::As, NO_LIMIT, NO_LIMIT),
    ("RLIMIT_CORE", Resource::Core, 0, NO_LIMIT),
    ("RLIMIT_CPU", Resource::Cpu, NO_LIMIT, NO_LIMIT),
    ("RLIMIT_DATA", Resource::Data, NO_LIMIT, NO_LIMIT),
    ("RLIMIT_FSIZE", Resource::Fsize, NO_LIMIT, NO_LIMIT),
    ("RLIMIT_MEMLOCK", Resource::Memlock, 8 << 20, 8 << 20),
    ("RLIMIT_NOFILE", Resource::Nofile, 1024, 512 << 10),
    ("RLIMIT_NPROC", Resource::Nproc, NO_LIMIT, NO_LIMIT),
    ("RLIMIT_RSS", Resource::Rss, NO_LIMIT, NO_LIMIT),
    ("RLIMIT_STACK", Resource::Stack, 8 << 20, NO_LIMIT),
];

/// The limits of a container, as far as this process may set them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimits(Vec<(&'static str, u64, u64)>);

impl Rlimits {
    /// Gives what is wanted; without the right to raise a hard limit, at most our own hard limits.
    pub(crate) fn gather(may_raise_limits: bool) -> Self {
        let ceiling = |resource| match may_raise_limits {
            true => NO_LIMIT,
            false => getrlimit(resource).maximum.unwrap_or(NO_LIMIT),
        };
        let one = |(name, resource, soft, hard): (_, _, u64, u64)| {
            let hard = hard.min(ceiling(resource));
            (name, soft.min(hard), hard)
        };
        Self(WANTED.into_iter().map(one).collect())
    }

    pub(crate) fn to_oci(&self) -> Vec<Value> {
        let limits = self.0.iter();
        limits
            .map(|(name, soft, hard)| json!({ "type": name, "soft": soft, "hard": hard }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_right_to_raise_no_limit_is_above_our_own() {
        let own = getrlimit(Resource::Nofile).maximum.unwrap_or(NO_LIMIT);
        let Rlimits(limits) = Rlimits::gather(false);
        let (_, soft, hard) = limits
            .into_iter()
            .find(|l| l.0 == "RLIMIT_NOFILE")
            .expect("listed");
        assert_eq!((soft, hard), (1024.min(own), (512 << 10).min(own)));
        let Rlimits(limits) = Rlimits::gather(true);
        assert!(limits.contains(&("RLIMIT_NOFILE", 1024, 512 << 10)));
        assert!(limits.contains(&("RLIMIT_CORE", 0, NO_LIMIT)));
    }
}
