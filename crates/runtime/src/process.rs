//! Naming a process so that a reused pid is never mistaken for it, and watching its end.
//!
//! A [`ProcessRef`] is pid, start time and boot: all three must match. It never signals a pid
//! it has not verified through a pidfd first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// One process of one boot of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Its pid on the host.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks from boot to its start.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`, for a pid and tick may repeat after a restart.
    pub boot_id: String,
}

impl ProcessRef {
    /// Tells whether the process is in this one's mount namespace; yes if nobody can say.
    pub fn shares_our_mounts(&self) -> bool {
        let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/mnt"));
        match (namespace("self"), namespace(&self.pid.to_string())) {
            (Ok(ours), Ok(its)) => ours == its,
            (Err(_), _) | (_, Err(_)) => true,
        }
    }

    /// Names the live (or not yet reaped) process of this pid.
    ///
    /// # Errors
    /// If there is no such process or `/proc` is not readable.
    pub fn of(pid: i32) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_ticks: read_stat(pid)?.start_ticks,
            boot_id: boot_id()?,
        })
    }

    /// Opens a pidfd, which turns readable when the process ends; `None` if it has ended.
    ///
    /// # Errors
    /// If the process exists but cannot be opened.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        if boot_id()? != self.boot_id {
            return Ok(None);
        }
        let pid = Pid::from_raw(self.pid).ok_or(io::ErrorKind::InvalidInput)?;
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // The pid cannot be reused between these two reads and our verdict: the pidfd holds it.
        match read_stat(self.pid) {
            Ok(stat) if stat.start_ticks == self.start_ticks && !stat.ended() => Ok(Some(fd)),
            Ok(_) => Ok(None),
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether a wait saw the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    Ended,
    /// It had not by the end of the wait.
    StillRunning,
}

/// Blocks until the process of a pidfd ends, at most so long.
///
/// # Errors
/// If it cannot be polled.
pub fn wait_end(pidfd: impl AsFd, limit: Duration) -> io::Result<ProcessEnd> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return Ok(ProcessEnd::StillRunning),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(ProcessEnd::Ended),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// What we need of `/proc/<pid>/stat`.
struct Stat {
    state: char,
    start_ticks: u64,
}

impl Stat {
    /// Whether it is a zombie or dead: it has ended, its parent has not asked how.
    fn ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn read_stat(pid: i32) -> io::Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat reads {text:?}"),
        )
    })
}

/// Field 2 (the name) may hold blanks and brackets, so fields are counted after the last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_ticks })
}

/// Whether an error of `/proc/<pid>` says that the process is gone.
pub fn is_gone(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH];
    error
        .raw_os_error()
        .is_some_and(|raw| gone.iter().any(|e| e.raw_os_error() == raw))
}

fn boot_id() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let text = "7 (a) b (c)) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        let stat = parse_stat(text).expect("well formed");
        assert_eq!((stat.state, stat.start_ticks), ('Z', 4242));
        assert!(stat.ended());
    }

    #[test]
    fn a_pid_with_another_start_time_or_boot_is_not_the_process() {
        let me = ProcessRef::of(std::process::id() as i32).expect("own process");
        assert!(me.open().expect("readable").is_some());
        let reused = ProcessRef {
            start_ticks: me.start_ticks + 1,
            ..me.clone()
        };
        assert!(reused.open().expect("readable").is_none());
        let before_restart = ProcessRef {
            boot_id: "other".into(),
            ..me
        };
        assert!(before_restart.open().expect("readable").is_none());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = std::process::Command::new("true").spawn().expect("spawn");
        let named = ProcessRef::of(child.id() as i32).expect("a child not reaped has an entry");
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::waitid(
            rustix::process::WaitId::Pid(id),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .expect("wait without reaping");
        assert!(named.open().expect("readable").is_none());
        child.wait().expect("reap");
    }
}
