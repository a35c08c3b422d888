//! A lock on a file of its own: one process at a time has what it stands for (a store, a pool of
//! volumes, a store of images). It ends with the process, whatever its end.
//!
//! It is a flock, let go with an explicit unlock. A child that another thread forks has a copy
//! of our descriptor until it executes its program, and a lock that ended with its last
//! descriptor would outlive us by that time; an unlock takes it from every copy at once. POSIX
//! record locks are not inherited, but any descriptor of the file that our process closes takes
//! them away, a backup's of the state folder included, and they never refuse a second opener
//! of the same process. Locks of open file descriptions (`F_OFD_SETLK`) are inherited as a
//! flock is, and no better for it.
//!
//! What no unlock covers is a process that was killed between its fork and the child's exec:
//! for as long as a dead process seems to hold the lock, it is asked for again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use crate::private;

/// Says why a lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("in use by process {}", pid.map_or("?".to_owned(), |pid| pid.to_string()))]
    Held {
        /// The process, as it noted itself.
        pid: Option<u32>,
    },
    /// Its file cannot be used.
    #[error("its lock file cannot be used")]
    File {
        /// Why.
        source: io::Error,
    },
}

/// Time between two tries to take the lock from a process that has died.
const DEAD_PAUSE: Duration = Duration::from_millis(10);

/// Most tries after that: 2 s, where a fork becomes a program within milliseconds, and within
/// tenths of a second on a host that is short of processors.
const DEAD_TRIES: u32 = 200;

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock whose file this is, making the file for its owner alone if it is not there.
    ///
    /// # Errors
    /// [`LockError`], at once if a living process has it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        Self::take_with(path, || std::thread::sleep(DEAD_PAUSE))
    }

    fn take_with(path: &Path, mut pause: impl FnMut()) -> Result<Self, LockError> {
        let fault = |source| LockError::File { source };
        let mut file = open(path).map_err(fault)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(fault(source)),
            }
            let pid = read_pid(&mut file);
            if tries == DEAD_TRIES || !pid.is_some_and(has_died) {
                return Err(LockError::Held { pid });
            }
            tries += 1;
            pause();
        }
        // The pid only makes an error text better; a full disk must not keep us from starting.
        let _ = write_pid(&mut file);
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The close that follows unlocks too, unless a fork of ours has yet to execute.
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    private::ensure_file(&file)?;
    Ok(file)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether no process has this number. One that we may not signal is there.
fn has_died(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a lock that a dead process noted, and gives the copy that a fork of it still has.
    fn left_behind(path: &Path) -> File {
        let mut file = open(path).expect("made");
        file.try_lock().expect("free");
        let mut child = std::process::Command::new("/bin/true")
            .spawn()
            .expect("there is a /bin/true");
        let pid = child.id();
        child.wait().expect("ends");
        file.write_all(format!("{pid}\n").as_bytes())
            .expect("writable");
        file
    }

    #[test]
    fn a_dead_process_keeps_its_lock_only_until_its_last_fork_executes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let mut fork = Some(left_behind(&path));
        let lock = Lock::take_with(&path, || drop(fork.take()));
        assert!(lock.is_ok() && fork.is_none());
    }

    #[test]
    fn a_lock_that_stays_is_refused_after_a_bounded_number_of_tries() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let _fork = left_behind(&path);
        let mut pauses = 0;
        let refused = Lock::take_with(&path, || pauses += 1);
        assert!(matches!(refused, Err(LockError::Held { .. })));
        assert_eq!(pauses, DEAD_TRIES);
    }

    #[test]
    fn a_living_process_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let _held = Lock::take(&path).expect("free");
        let refused = Lock::take_with(&path, || panic!("it waits"));
        assert!(matches!(refused, Err(LockError::Held { pid: Some(pid) })
            if pid == std::process::id()));
    }
}
