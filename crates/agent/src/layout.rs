//! Where everything of an agent lies.
//!
//! ```text
//!   STATE_DIR/agent/journal.redb          records
//!                   containers/ID/        what the container runtime keeps
//!                   rootfs/ID/            root file systems of containers
//!                   rootfs/ID/volumes/    volumes that a start is about to give to a task
//!                   images/               the image store
//!                   volumes/              bound on itself, shared: mounts go both ways
//!                   volumes/PLUGIN/       the volumes of one plugin, all that it sees of them
//!                   plugins/NAME/state/   a plugin's own data; never deleted by us
//!   RUN_DIR/HASH/state                    link to STATE_DIR/agent: whose folder this is
//!                runc/                    the runtime's state
//!                plugins/NAME/            a plugin's socket folder
//! ```
//!
//! It makes folders and checks paths; it removes nothing.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use sutler_host::private;
use sutler_ids::PluginName;
use sutler_runtime::{ContainerId, ensure_shared_mount};
use sutler_telemetry::chain;

use crate::config::AgentConfig;
use crate::error::StartError;

/// Folders of the agent are for root alone: images, logs and sockets may hold secrets.
const PRIVATE: u32 = 0o700;

/// Folder of pins beside a root file system.
const PINS: &str = "volumes";

/// Tries to make a folder whose parent, shared with other agents, one of them removes as it ends.
const MAKE_TRIES: usize = 3;

/// Paths of one agent.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    run: PathBuf,
    tag: String,
}

impl Layout {
    /// Makes every folder, and the volumes' folder a shared mount. May be repeated.
    pub(crate) fn make(config: &AgentConfig) -> Result<Self, StartError> {
        let asked = config.state_dir.join("agent");
        ensure_private(&asked)?;
        let root = fs::canonicalize(&asked).map_err(|source| StartError::Folder {
            path: asked.clone(),
            source,
        })?;
        let text = root
            .to_str()
            .filter(|text| !text.chars().any(char::is_control));
        let tag = match text {
            Some(text) => format!("{:08x}", hash(text)),
            None => return Err(StartError::PathText { path: root }),
        };
        let run = config.run_dir.join(&tag);
        ensure_private(&run)?;
        let layout = Self { root, run, tag };
        for dir in [
            layout.containers(),
            layout.images(),
            layout.volumes(),
            layout.rootfs(),
            layout.root.join("plugins"),
            layout.runc_state(),
        ] {
            make_dir(&dir)?;
        }
        layout.sign()?;
        let volumes = layout.volumes();
        ensure_shared_mount(&volumes).map_err(|error| StartError::SharedMount {
            path: volumes,
            cause: chain(&error),
        })?;
        Ok(layout)
    }

    /// Says in the folder of sockets whose it is, to whoever finds it without its owner.
    fn sign(&self) -> Result<(), StartError> {
        let path = self.run.join("state");
        match symlink(&self.root, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let source = error;
                Err(StartError::Folder { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal.redb")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The volumes of one plugin. It may write here; the folder above is ours alone.
    pub(crate) fn volumes_of(&self, plugin: &PluginName) -> PathBuf {
        self.volumes().join(plugin.as_str())
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.root.join("rootfs")
    }

    pub(crate) fn rootfs_of(&self, id: &ContainerId) -> PathBuf {
        self.rootfs().join(id.as_str())
    }

    /// Where a task's volumes are pinned while its container is made.
    pub(crate) fn pins_of(&self, id: &ContainerId) -> PathBuf {
        self.rootfs_of(id).join(PINS)
    }

    /// Whether a path is at or below the pins of a container.
    pub(crate) fn is_pin(&self, path: &Path) -> bool {
        let below = path.strip_prefix(self.rootfs());
        below.is_ok_and(|below| below.iter().nth(1) == Some(OsStr::new(PINS)))
    }

    pub(crate) fn runc_state(&self) -> PathBuf {
        self.run.join("runc")
    }

    /// The plugin's own data; outlives the plugin.
    pub(crate) fn plugin_state(&self, plugin: &PluginName) -> PathBuf {
        self.root
            .join("plugins")
            .join(plugin.as_str())
            .join("state")
    }

    /// The folder that a plugin makes its socket in.
    pub(crate) fn plugin_sockets(&self, plugin: &PluginName) -> PathBuf {
        self.run.join("plugins").join(plugin.as_str())
    }

    /// The cgroup of everything that this agent runs. Two agents of one host differ in it, and
    /// have no parent in common: one could take that away while the other makes a group in it.
    pub(crate) fn cgroup(&self) -> String {
        format!("/sutler-{}", self.tag)
    }

    /// Sockets and the runtime's state.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// Makes a folder for root alone, or tightens the one that is there. For the folders that
/// everything else lies in: what is below is out of reach of others with whatever modes.
fn ensure_private(path: &Path) -> Result<(), StartError> {
    private::ensure_folder(path).map_err(|source| StartError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// Makes a folder and those above it, for root alone.
pub(crate) fn make_dir(path: &Path) -> Result<(), StartError> {
    make_private_dir(path).map_err(|source| StartError::Folder {
        path: path.to_owned(),
        source,
    })
}

/// As [`make_dir`], with the bare error.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    let mut made = Ok(());
    for _ in 0..MAKE_TRIES {
        made = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
        match &made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(()) | Err(_) => break,
        }
    }
    made
}

/// FNV-1a: a short name for a state directory that stays the same over versions.
fn hash(text: &str) -> u32 {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(PRIME)
    })
}
