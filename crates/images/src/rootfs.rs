//! The root file system of one container: an overlayfs of an image's layers.
//!
//! Layout of the folder it is given: `rootfs/` (the mount), `upper/` (what the container wrote),
//! `work/` (overlayfs' own), `empty/` (the lower layer of an image without layers). It never
//! deletes: `remove_tree` does, after `unmount`, and refuses while the mount is there.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags,
};

use sutler_host::mounts;

/// Longest string that fsconfig(2) takes, its zero byte included (kernel `fs/fsopen.c`).
const FSCONFIG_STRING_MAX: usize = 256;

/// Longest option string of mount(2), its zero byte included: one page on the smallest pages.
const MOUNT_OPTIONS_MAX: usize = 4096;

/// Mounts stacked on one `rootfs` that `unmount` takes off; more is somebody else's doing.
const STACKED_MOUNTS_MAX: usize = 8;

/// Why a root file system was not mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// A folder of the layout could not be made.
    #[error("make the folder {}", path.display())]
    MakeFolder {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A layer of the image is not there.
    #[error("open the image layer {}", path.display())]
    OpenLayer {
        /// The layer.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something is mounted there already.
    #[error("{} is a mount point already", path.display())]
    AlreadyMounted {
        /// The mount point.
        path: PathBuf,
    },
    /// The mount table could not be read.
    #[error("read the mount table")]
    ReadMounts {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel has no overlayfs.
    #[error("the kernel has no overlayfs; load it with: modprobe overlay")]
    NoOverlay,
    /// The kernel refused the overlay.
    #[error("mount an overlay of {layers} layers at {}{}", path.display(), said(kernel_log))]
    Mount {
        /// Where it was to be mounted.
        path: PathBuf,
        /// How many layers it has.
        layers: usize,
        /// The kernel's own words about it, empty if it gave none.
        kernel_log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The overlay is in use, or something is mounted inside it.
    #[error("unmount {}{}", path.display(), inside(nested))]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// Mount points inside it, deepest last.
        nested: Vec<PathBuf>,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn said(kernel_log: &str) -> String {
    if kernel_log.is_empty() {
        String::new()
    } else {
        format!(" (kernel: {kernel_log})")
    }
}

fn inside(nested: &[PathBuf]) -> String {
    match nested.first() {
        Some(first) => format!(" ({} is still mounted inside)", first.display()),
        None => String::new(),
    }
}

/// Mounts and unmounts root file systems; it keeps no state, the kernel does.
pub struct Rootfs;

/// The ways to hand many layers to the kernel, tried in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    /// fsconfig(2) with one `lowerdir+` per layer: Linux 6.5 and later, no length limit.
    PerLayer,
    /// mount(2) with one option string, the layers named by descriptor: 20 bytes each.
    OptionString,
}

impl Rootfs {
    /// Mounts `layers` (lowest first) with a writable layer of its own at `dir/rootfs`, and
    /// returns that path. Layers that occur more than once count at their topmost place.
    ///
    /// `dir` is made if it is missing and may hold the `upper` of an earlier mount, which is
    /// then seen again.
    ///
    /// # Errors
    ///
    /// [`RootfsError::AlreadyMounted`] if something is mounted at `dir/rootfs`; after any other
    /// error nothing is mounted.
    pub fn mount(layers: &[PathBuf], dir: &Path) -> Result<PathBuf, RootfsError> {
        let plan = Plan::new(layers, dir)?;
        match plan.mount(Method::PerLayer) {
            Err(RootfsError::Mount { source, .. }) if is_unsupported(&source) => {
                plan.mount(Method::OptionString)?;
            }
            other => other?,
        }
        Ok(plan.target)
    }

    /// Unmounts `dir/rootfs`. That nothing is mounted there, or that there is no such folder, is
    /// a success.
    ///
    /// # Errors
    ///
    /// [`RootfsError::Unmount`] names what is still mounted inside; nothing is unmounted lazily,
    /// so a success means that no process sees the overlay any more in this mount namespace.
    pub fn unmount(dir: &Path) -> Result<(), RootfsError> {
        let target = dir.join("rootfs");
        for _stacked in 0..STACKED_MOUNTS_MAX {
            match rustix::mount::unmount(&target, UnmountFlags::NOFOLLOW) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                Err(errno) => return Err(unmount_error(target, errno)),
            }
        }
        Err(unmount_error(target, Errno::BUSY))
    }
}

fn unmount_error(path: PathBuf, errno: Errno) -> RootfsError {
    let canonical = path.canonicalize().unwrap_or_else(|_gone| path.clone());
    let mut nested = mounts::points_under(&canonical).unwrap_or_default();
    nested.retain(|point| *point != canonical);
    RootfsError::Unmount {
        path,
        nested,
        source: errno.into(),
    }
}

/// Answers of kernels that do not know `lowerdir+` or the new mount calls.
fn is_unsupported(source: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(source),
        Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
    )
}

/// Everything the mount needs, checked and opened.
struct Plan {
    /// Topmost first, as overlayfs wants them.
    layers: Vec<Folder>,
    upper: Folder,
    work: Folder,
    target: PathBuf,
}

/// Mode of `/` in every container: programs that are not root must get through it.
const ROOT_MODE: u32 = 0o755;

/// An open folder, so that the kernel can be given a short name for it.
struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    fn open(path: PathBuf) -> Result<Folder, RootfsError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => Ok(Folder { path, fd }),
            Err(errno) => Err(RootfsError::OpenLayer {
                path,
                source: errno.into(),
            }),
        }
    }

    fn make(path: PathBuf) -> Result<Folder, RootfsError> {
        fs::create_dir_all(&path).map_err(|source| RootfsError::MakeFolder {
            path: path.clone(),
            source,
        })?;
        Folder::open(path)
    }

    /// Gives it the mode of a container's root: it shows as `/`, whatever umask made it.
    fn shown_as_root(self) -> Result<Folder, RootfsError> {
        let mode = std::fs::Permissions::from_mode(ROOT_MODE);
        match fs::set_permissions(&self.path, mode) {
            Ok(()) => Ok(self),
            Err(source) => Err(RootfsError::MakeFolder {
                path: self.path,
                source,
            }),
        }
    }

    /// A name of about 20 bytes that the kernel resolves in this process.
    fn short_name(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// The path itself where it fits, for a mount table that people can read.
    fn fsconfig_name(&self) -> CString {
        let path = self.path.as_os_str();
        let name = if path.len() < FSCONFIG_STRING_MAX {
            path.as_bytes().to_vec()
        } else {
            self.short_name().into_bytes()
        };
        CString::new(name).expect("a path that was opened has no zero byte")
    }
}

impl Plan {
    fn new(layers: &[PathBuf], dir: &Path) -> Result<Plan, RootfsError> {
        let target = dir.join("rootfs");
        let upper = Folder::make(dir.join("upper"))?.shown_as_root()?;
        let work = Folder::make(dir.join("work"))?;
        drop(Folder::make(target.clone())?);
        let target = target
            .canonicalize()
            .map_err(|source| RootfsError::MakeFolder {
                path: target.clone(),
                source,
            })?;
        if mounts::is_mount_point(&target).map_err(|error| RootfsError::ReadMounts {
            source: error.into(),
        })? {
            return Err(RootfsError::AlreadyMounted { path: target });
        }
        let mut lower = Vec::with_capacity(layers.len().max(1));
        for path in topmost_first(layers) {
            lower.push(Folder::open(path.clone())?);
        }
        if lower.is_empty() {
            lower.push(Folder::make(dir.join("empty"))?.shown_as_root()?);
        }
        Ok(Plan {
            layers: lower,
            upper,
            work,
            target,
        })
    }

    fn mount(&self, method: Method) -> Result<(), RootfsError> {
        match method {
            Method::PerLayer => self.mount_per_layer(),
            Method::OptionString => self.mount_option_string(),
        }
    }

    fn mount_per_layer(&self) -> Result<(), RootfsError> {
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| self.refused(errno, String::new()))?;
        self.configure(&context)
            .map_err(|errno| self.refused(errno, kernel_log(&context)))
    }

    fn configure(&self, context: &OwnedFd) -> Result<(), Errno> {
        use rustix::mount::{fsconfig_create, fsconfig_set_string, fsmount, move_mount};
        fsconfig_set_string(context, "source", "sutler")?;
        for layer in &self.layers {
            fsconfig_set_string(context, "lowerdir+", layer.fsconfig_name())?;
        }
        fsconfig_set_string(context, "upperdir", self.upper.fsconfig_name())?;
        fsconfig_set_string(context, "workdir", self.work.fsconfig_name())?;
        fsconfig_create(context)?;
        let mount = fsmount(
            context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        move_mount(
            &mount,
            c"",
            CWD,
            &self.target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    }

    fn mount_option_string(&self) -> Result<(), RootfsError> {
        let lower: Vec<String> = self.layers.iter().map(Folder::short_name).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            self.upper.short_name(),
            self.work.short_name()
        );
        if options.len() >= MOUNT_OPTIONS_MAX {
            let said = "too many layers for this kernel; Linux 6.5 has no such limit";
            return Err(self.refused(Errno::TOOBIG, said.into()));
        }
        let options = CString::new(options).expect("digits and slashes only");
        rustix::mount::mount(
            "sutler",
            &self.target,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .map_err(|errno| self.refused(errno, String::new()))
    }

    fn refused(&self, errno: Errno, kernel_log: String) -> RootfsError {
        if errno == Errno::NODEV {
            return RootfsError::NoOverlay;
        }
        RootfsError::Mount {
            path: self.target.clone(),
            layers: self.layers.len(),
            kernel_log,
            source: errno.into(),
        }
    }
}

/// Reverses the stack and keeps only the topmost of equal layers: overlayfs refuses a folder
/// twice, images repeat layers (the empty one above all), and a lower copy is fully hidden by
/// the upper one.
fn topmost_first(layers: &[PathBuf]) -> Vec<&PathBuf> {
    let mut seen = std::collections::BTreeSet::new();
    layers
        .iter()
        .rev()
        .filter(|layer| seen.insert(*layer))
        .collect()
}

/// Reads what the kernel logged about a mount being configured: `e overlay: reason` lines.
fn kernel_log(context: impl AsFd) -> String {
    /// Lines read at most; the kernel keeps eight.
    const LINES_MAX: usize = 8;
    let mut lines = Vec::new();
    let mut buffer = [0_u8; 512];
    for _line in 0..LINES_MAX {
        match rustix::io::read(context.as_fd(), &mut buffer) {
            Ok(length) if length > 0 => {
                let line = String::from_utf8_lossy(&buffer[..length]);
                lines.push(line.trim().trim_start_matches("e ").to_owned());
            }
            _none_left => break,
        }
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests;
