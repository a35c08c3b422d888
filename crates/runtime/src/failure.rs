//! What the runtime or the kernel said of a container that could not be started: it is kept in
//! `start-error.json`, so it carries text instead of live causes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The container could not be started as it was asked for; retrying the same spec is useless
/// unless the image or host changes. `raw` keeps the runtime's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StartFailure {
    /// The command, or the interpreter its first line names, is not in the image or its `PATH`.
    #[error("command {command:?} not found in the container: {raw}")]
    CommandNotFound {
        /// First argument of the spec.
        command: String,
        /// The runtime's words.
        raw: String,
    },
    /// The command is no executable file, or the user may not execute it.
    #[error("command {command:?} cannot be executed: {raw}")]
    PermissionDenied {
        /// First argument of the spec.
        command: String,
        /// The runtime's words.
        raw: String,
    },
    /// The command is no program of this host's architecture.
    #[error(
        "command {command:?} is not a program for this host ({}): {raw}",
        std::env::consts::ARCH
    )]
    ExecFormat {
        /// First argument of the spec.
        command: String,
        /// The runtime's words.
        raw: String,
    },
    /// The host path of a bind mount cannot be used.
    #[error("mount source {} cannot be used: {raw}", path.display())]
    MountSource {
        /// The host path.
        path: PathBuf,
        /// The system's words.
        raw: String,
    },
    /// The runtime refused for another reason.
    #[error("container runtime: {raw}")]
    Runtime {
        /// The runtime's words.
        raw: String,
    },
}
