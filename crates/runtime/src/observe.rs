//! What can be said of a container from its folder and the kernel, at one look.
//!
//! ```text
//! no folder ───────────── Missing
//! start lock held ─────── Starting ──┬─ start-error.json ── NeverStarted(why)
//!                                    └─ shim lives ──────── Running
//! shim gone: exit.json ── Exited     started_at ── Lost     else ── NeverStarted
//! ```
//!
//! It only looks; `manager.rs` waits, `stop.rs` acts.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::failure::StartFailure;
use super::folder::{self, Folder, FolderError, ShimRecord};
use super::status::ExitRecord;

/// One look at a container.
#[derive(Debug)]
pub enum Observed {
    /// It has no folder.
    Missing,
    /// Its start is under way.
    Starting,
    /// Its command was never run.
    NeverStarted(Option<StartFailure>),
    /// Its shim looks after it.
    Running {
        /// Pidfd of the shim: readable once it has ended.
        shim: OwnedFd,
        /// What the shim wrote of itself and the container.
        record: ShimRecord,
    },
    /// It ended and left its record.
    Exited(ExitRecord),
    /// Its shim ended without leaving a record.
    Lost(Option<ShimRecord>),
}

/// Looks once.
///
/// # Errors
/// If a record is there but cannot be read.
pub fn observe(folder: &Folder) -> Result<Observed, FolderError> {
    if !folder.exists() {
        return Ok(Observed::Missing);
    }
    if folder.is_starting()? {
        return Ok(Observed::Starting);
    }
    if let Some(failure) = folder.read::<StartFailure>(folder::START_ERROR)? {
        return Ok(Observed::NeverStarted(Some(failure)));
    }
    let record = folder.read::<ShimRecord>(folder::SHIM)?;
    if let Some(record) = &record {
        let opened = record.shim.open().map_err(|source| FolderError {
            act: "check the shim of",
            path: folder.file(folder::SHIM),
            source,
        })?;
        if let Some(shim) = opened {
            return Ok(Observed::Running {
                shim,
                record: record.clone(),
            });
        }
    }
    // Read only after the shim was seen gone: from then on nobody writes it.
    if let Some(exit) = folder.read::<ExitRecord>(folder::EXIT)? {
        return Ok(Observed::Exited(exit));
    }
    let may_have_run = record.as_ref().is_some_and(|r| r.started_at.is_some());
    Ok(if may_have_run {
        Observed::Lost(record)
    } else {
        Observed::NeverStarted(None)
    })
}

/// Whether nothing of a container runs or is being started, by its folder. One that cannot be
/// looked at, or whose shim is gone without a word, may run.
pub fn is_at_rest(folder: &Path) -> bool {
    match observe(&Folder::at(folder)) {
        Ok(Observed::Missing | Observed::NeverStarted(_) | Observed::Exited(_)) => true,
        Ok(Observed::Starting | Observed::Running { .. } | Observed::Lost(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessRef;

    fn gone() -> ProcessRef {
        ProcessRef {
            pid: 1,
            start_ticks: u64::MAX,
            boot_id: "an earlier boot".into(),
        }
    }

    fn folder_with(started: bool) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().expect("temp dir");
        let folder = Folder::at(dir.path());
        let started_at = started.then_some(jiff::Timestamp::UNIX_EPOCH);
        let record = ShimRecord {
            shim: gone(),
            container: None,
            started_at,
        };
        folder.write(folder::SHIM, &record).expect("written");
        (dir, folder)
    }

    #[test]
    fn without_a_shim_only_a_record_tells_the_end() {
        let (_dir, folder) = folder_with(true);
        assert!(matches!(observe(&folder), Ok(Observed::Lost(Some(_)))));
        let exit = ExitRecord {
            status: crate::ExitStatus::Code(3),
            oom_killed: false,
            started_at: jiff::Timestamp::UNIX_EPOCH,
            ended_at: jiff::Timestamp::UNIX_EPOCH,
            log_bytes_dropped: 0,
        };
        folder.persist_exit(&exit).expect("written");
        assert!(matches!(observe(&folder), Ok(Observed::Exited(e)) if e == exit));
    }

    #[test]
    fn a_command_that_was_never_told_to_run_never_started() {
        let (_dir, folder) = folder_with(false);
        assert!(matches!(observe(&folder), Ok(Observed::NeverStarted(None))));
        let failure = StartFailure::Runtime { raw: "no".into() };
        folder
            .write(folder::START_ERROR, &failure)
            .expect("written");
        assert!(matches!(observe(&folder), Ok(Observed::NeverStarted(Some(f))) if f == failure));
    }

    #[test]
    fn a_held_lock_means_starting_whatever_else_is_there() {
        let (_dir, folder) = folder_with(true);
        let lock = folder.lock_start().expect("locked");
        assert!(matches!(observe(&folder), Ok(Observed::Starting)));
        drop(lock);
        assert!(matches!(observe(&folder), Ok(Observed::Lost(_))));
    }
}
