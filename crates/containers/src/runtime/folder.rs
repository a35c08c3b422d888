//! One container's folder: its file names, its records, and how they are written.
//!
//! Every record is written beside its name and renamed, so a reader sees the whole record or
//! none. Only final records are synced: the others describe processes, which no power cut
//! leaves behind. Nothing here knows what the records mean.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::process::ProcessRef;
use super::runc::Runc;
use super::spec::ContainerSpec;

/// A file of a container's folder could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct FolderError {
    /// What was tried.
    pub act: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// `spec.json`: all that the shim needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpecRecord {
    /// Layout of this folder; a shim refuses one it does not know.
    pub version: u32,
    /// The runtime to drive.
    pub runtime: Runc,
    /// What was asked.
    pub spec: ContainerSpec,
}

/// `shim.json`: who looks after the container, and who it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimRecord {
    /// The shim.
    pub shim: ProcessRef,
    /// The container's first process, once the runtime has made it.
    pub container: Option<ProcessRef>,
    /// Set once its command was told to run.
    pub started_at: Option<jiff::Timestamp>,
}

/// Version of the folder's layout that this build writes and reads.
pub const FOLDER_VERSION: u32 = 1;

/// Paths and records of one container's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder at this path, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
