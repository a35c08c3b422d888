//! Why an agent cannot start or go on, in words that an operator can act upon.

use std::io;
use std::path::PathBuf;

use sutler_store::{LoadError, OpenError};
use uuid::Uuid;

/// Says why an agent cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not root.
    #[error("the agent runs containers and mounts volumes, so it must run as root; use sudo")]
    NotRoot,
    /// The container runtime is not there.
    #[error(
        "the container runtime {} is not installed; run: apt-get install runc", binary.display()
    )]
    NoRuntime {
        /// What was looked for.
        binary: PathBuf,
    },
    /// No cgroups.
    #[error("no cgroups are mounted at /sys/fs/cgroup; mount them, or start the init system")]
    NoCgroups,
    /// The kernel has no overlayfs.
    #[error("the kernel has no overlayfs; run: modprobe overlay")]
    NoOverlayfs,
    /// A fact of the host cannot be read.
    #[error("{} cannot be read", path.display())]
    ReadHost {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder cannot be made or used.
    #[error("folder {} cannot be used", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path cannot be handed to containers and plugins.
    #[error(
        "state directory {} is not UTF-8 text without control characters", path.display()
    )]
    PathText { path: PathBuf },
    /// Mounts below the volumes' folder would not be seen by plugins.
    #[error("the folder {} cannot be made a shared mount: {cause}", path.display())]
    SharedMount {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The journal cannot be opened.
    #[error("the agent's journal cannot be opened")]
    OpenJournal {
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The journal cannot be read.
    #[error("the agent's journal cannot be read")]
    LoadJournal {
        /// Why.
        #[source]
        source: LoadError,
    },
    /// The journal cannot be written.
    #[error("the agent's journal cannot be written: {cause}")]
    WriteJournal {
        /// Why.
        cause: String,
    },
    /// The image store cannot be opened.
    #[error("the image store {} cannot be opened: {cause}", path.display())]
    OpenImages {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// Containers of an earlier run cannot be looked at.
    #[error("the containers of an earlier run cannot be looked at: {cause}")]
    Adopt {
        /// Why.
        cause: String,
    },
    /// The storage provider cannot recover.
    #[error("the volumes of an earlier run cannot be recovered: {cause}")]
    RecoverStorage {
        /// Why.
        cause: String,
    },
    /// The master's address cannot be used.
    #[error("the master's address {url} cannot be used: {cause}")]
    MasterAddress {
        /// The address.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// This node belongs to another cluster.
    #[error(
        "this node belongs to cluster {known}, but the master at {url} is of cluster \
         {found}; give it the right master, or another state directory"
    )]
    OtherCluster {
        /// The cluster in the journal.
        known: Uuid,
        /// The cluster of the master.
        found: Uuid,
        /// The master.
        url: String,
    },
    /// The journal does not say any more who this node is.
    #[error(
        "{} does not say any more which node this is ({what}); nothing was changed; put back \
         a copy of it", path.display()
    )]
    DamagedIdentity {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The shell ended without a reason.
    #[error("the agent's shell broke; this is a bug, see the log above")]
    Broken,
}
