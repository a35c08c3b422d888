//! What a process takes of the machine: resident memory, processor time, wake-ups. Read from
//! the kernel per thread, so that nanoseconds count and not clock ticks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use sutler_testkit::host;

/// Processor time and switches of every thread since it began.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(BTreeMap<String, Spent>);

/// Processor time and switches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// Time on a processor.
    pub cpu: Duration,
    /// How often it went to sleep, and so was woken, or was put aside.
    pub switches: u64,
}

impl Work {
    /// Looks at a process now.
    pub(super) fn of(pid: i32) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let threads = host::subfolders(Path::new(&folder));
        // A thread that ends while we look is left out.
        let read = |thread: &Path| {
            let times = fs::read_to_string(thread.join("schedstat")).ok()?;
            let status = fs::read_to_string(thread.join("status")).ok()?;
            Some((thread.display().to_string(), parse_spent(&times, &status)?))
        };
        let spent: BTreeMap<_, _> = threads.iter().filter_map(|t| read(t)).collect();
        anyhow::ensure!(!spent.is_empty(), "process {pid} is gone");
        Ok(Self(spent))
    }

    /// Gives what was spent since an earlier look. Threads that ended meanwhile do not count.
    pub(super) fn since(&self, before: &Self) -> Spent {
        let mut sum = Spent::default();
        for (thread, now) in &self.0 {
            let before = before.0.get(thread).copied().unwrap_or_default();
            sum.cpu += now.cpu.saturating_sub(before.cpu);
            sum.switches += now.switches.saturating_sub(before.switches);
        }
        sum
    }
}

/// Gives the resident memory of a process in bytes, shared pages included.
pub(super) fn resident_bytes(pid: i32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

/// Gives the most resident memory that a process ever had, in bytes.
pub(super) fn peak_bytes(pid: i32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

fn memory(pid: i32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib = field(&status, name).with_context(|| format!("no {name} in {path}"))?;
    Ok(kib * 1024)
}

fn parse_spent(times: &str, status: &str) -> Option<Spent> {
    let nanoseconds = times.split_whitespace().next()?.parse().ok()?;
    let voluntary = field(status, "voluntary_ctxt_switches:")?;
    let forced = field(status, "nonvoluntary_ctxt_switches:")?;
    Some(Spent {
        cpu: Duration::from_nanos(nanoseconds),
        switches: voluntary + forced,
    })
}

fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let status = "Name:\tx\nVmRSS:\t   1234 kB\nvoluntary_ctxt_switches:\t5\n\
            nonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234));
        let spent = parse_spent("2500 77 3\n", status);
        let wanted = Spent {
            cpu: Duration::from_nanos(2500),
            switches: 7,
        };
        assert_eq!(spent, Some(wanted));
    }

    #[test]
    fn a_thread_that_came_counts_and_one_that_went_does_not() {
        let spent = |ns, switches| Spent {
            cpu: Duration::from_nanos(ns),
            switches,
        };
        let work = |threads: &[(&str, Spent)]| {
            Work(threads.iter().map(|(t, s)| ((*t).to_owned(), *s)).collect())
        };
        let before = work(&[("stays", spent(10, 1)), ("goes", spent(90, 9))]);
        let after = work(&[("stays", spent(15, 3)), ("comes", spent(4, 2))]);
        assert_eq!(after.since(&before), spent(9, 4));
    }

    #[test]
    fn this_process_has_memory_and_has_worked() {
        let own = i32::try_from(std::process::id()).expect("pids are small");
        assert!(resident_bytes(own).expect("it runs") > 0);
        let work = Work::of(own).expect("it runs");
        assert!(work.since(&Work::default()).cpu > Duration::ZERO);
    }
}
