//! Loop devices: an image file as a block device.
//!
//! Owns every ioctl of this program. What is attached is read from the kernel at each call:
//! the candidates from /sys by the end of their path, which one it is by device and inode,
//! since the path that the kernel shows depends on who looks. Never remembers a device.
//! Source: linux/loop.h, linux/fs.h.
#![expect(
    unsafe_code,
    reason = "loop devices are driven by ioctls, which rustix has not wrapped"
)]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl};

mod wait;

pub use wait::{wait_detached, wait_removed_detached};

const CONTROL: &str = "/dev/loop-control";
const BLOCK_DEVICES: &str = "/sys/block";

const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const LOOP_SET_CAPACITY: Opcode = 0x4C07;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const BLKROSET: Opcode = 0x125D;
const BLKROGET: Opcode = 0x125E;

const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Others may take the free device that we were told of; each turn asks for another one.
const ATTACH_TRIES: u32 = 32;

/// The kernel's `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// The kernel's `struct loop_config`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const EMPTY_INFO: LoopInfo = LoopInfo {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// When a new device goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// With its last user, such as the mount: nothing is left to detach.
    UntilUnused,
    /// When it is detached.
    UntilDetached,
}

/// A loop device that carries an image; open as long as this value lives.
#[derive(Debug)]
pub struct Loop {
    number: u32,
    dev: u64,
    file: File,
}

/// Why a loop device could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// The kernel's list of block devices cannot be read.
    #[error("cannot look for loop devices in {path}")]
    Search {
        /// The folder or file.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The image cannot be opened.
    #[error("cannot open the image {path}")]
    OpenImage {
        /// The image.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// There is no free loop device.
    #[error("cannot get a free loop device from {CONTROL}")]
    GetFree {
        /// The kernel's word.
        source: io::Error,
    },
    /// Others were faster each time.
    #[error("{ATTACH_TRIES} free loop devices in a row were taken by others")]
    Contended,
    /// The device node cannot be opened.
    #[error("cannot open {path}; is the host's /dev visible here?")]
    OpenDevice {
        /// The node.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// The device node is no block device.
    #[error("{path} is not a block device")]
    NotADevice {
        /// The node.
        path: PathBuf,
    },
    /// An ioctl on the device failed.
    #[error("cannot {act} {path}")]
    Control {
        act: &'static str,
        /// The device.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Whether this host can have loop devices.
pub fn is_available() -> bool {
    fs::metadata(CONTROL).is_ok_and(|meta| meta.file_type().is_char_device())
}

/// The loop device that carries this image, if there is one.
///
/// # Errors
/// The kernel's lists cannot be read. An image that is not there is on no device.
pub fn find(image: &Path) -> Result<Option<Loop>, LoopError> {
    let meta = match fs::metadata(image) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(LoopError::OpenImage {
                path: image.to_owned(),
                source,
            });
        }
    };
    let ending = ending(image);
    for number in numbers()? {
        if !backing_file(number)?.ends_with(&ending) {
            continue;
        }
        let looked = Loop::open(number).and_then(|device| {
            let info = device.info();
            let info = info.map_err(|source| device.failed("look at", source))?;
            Ok((device, info))
        });
        match looked {
            Ok((device, info)) if (info.device, info.inode) == (meta.dev(), meta.ino()) => {
                return Ok(Some(device));
            }
            Ok(_of_another_file) => {}
            // Only a device that went meanwhile is no match: taking any other for absent would
            // attach or delete an image that is in use.
            Err(_) if !backing_file(number)?.ends_with(&ending) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The loop device that still carries an image of this name whose file was removed.
///
/// # Errors
/// The kernel's lists cannot be read.
pub(crate) fn find_removed(image: &Path) -> Result<Option<Loop>, LoopError> {
    let ending = format!("{} (deleted)", ending(image));
    for number in numbers()? {
        if !backing_file(number)?.ends_with(&ending) {
            continue;
        }
        match Loop::open(number) {
            Ok(device) => return Ok(Some(device)),
            // As in `find`: only a device that went meanwhile is no match.
            Err(_) if !backing_file(number)?.ends_with(&ending) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Attaches an image to a free loop device.
///
/// # Errors
/// The image or the device cannot be opened, or none is free.
pub fn attach(image: &Path, lifetime: Lifetime) -> Result<Loop, LoopError> {
    let open = File::options().read(true).write(true).open(image);
    let file = open.map_err(|source| LoopError::OpenImage {
        path: image.to_owned(),
        source,
    })?;
    for _ in 0..ATTACH_TRIES {
        let device = Loop::open(free_number()?)?;
        match device.take(&file, lifetime) {
            Ok(()) => return Ok(device),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(source) => return Err(device.failed("attach", source)),
        }
    }
    Err(LoopError::Contended)
}

impl Loop {
    /// The device node.
    pub fn path(&self) -> PathBuf {
        node(self.number)
    }

    /// The device number, as stat gives it.
    pub fn dev(&self) -> u64 {
        self.dev
    }

    /// The number in the node's name.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives the device back, without the write protection that the kernel would keep for its
    /// next user; it goes once its last user is gone.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn detach(self) -> Result<(), LoopError> {
        if self.is_read_only()? {
            self.set_read_only(false)?;
        }
        // SAFETY: LOOP_CLR_FD takes no argument.
        let done = unsafe { ioctl(&self.file, NoArg::<LOOP_CLR_FD>::new()) };
        match done {
            Ok(()) | Err(rustix::io::Errno::NXIO) => Ok(()),
            Err(error) => Err(self.failed("detach", error.into())),
        }
    }

    /// Takes over the present size of the image.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn refresh_size(&self) -> Result<(), LoopError> {
        // SAFETY: LOOP_SET_CAPACITY takes no argument.
        let done = unsafe { ioctl(&self.file, NoArg::<LOOP_SET_CAPACITY>::new()) };
        done.map_err(|error| self.failed("resize", error.into()))
    }

    /// Forbids or allows writing to the device.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_read_only(&self, read_only: bool) -> Result<(), LoopError> {
        // SAFETY: BLKROSET reads one int.
        let done = unsafe {
            ioctl(
                &self.file,
                Setter::<BLKROSET, i32>::new(i32::from(read_only)),
            )
        };
        done.map_err(|error| self.failed("set the write protection of", error.into()))
    }

    /// Whether writing is forbidden.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn is_read_only(&self) -> Result<bool, LoopError> {
        let mut value = 0_i32;
        // SAFETY: BLKROGET writes one int.
        let done = unsafe { ioctl(&self.file, Updater::<BLKROGET, i32>::new(&mut value)) };
        done.map_err(|error| self.failed("ask for the write protection of", error.into()))?;
        Ok(value != 0)
    }

    /// Whether the device goes with its last user; unknown counts as no.
    pub(crate) fn goes_by_itself(&self) -> bool {
        // A device that is gone has gone by itself.
        self.info()
            .map_or(true, |info| info.flags & LO_FLAGS_AUTOCLEAR != 0)
    }

    fn open(number: u32) -> Result<Self, LoopError> {
        let path = node(number);
        let open = File::options().read(true).write(true).open(&path);
        // A write-protected device opens for reading only.
        let opened = open.or_else(|_| File::open(&path)).and_then(|file| {
            let meta = file.metadata()?;
            Ok((file, meta))
        });
        match opened {
            Ok((file, meta)) if meta.file_type().is_block_device() => Ok(Self {
                number,
                dev: meta.rdev(),
                file,
            }),
            Ok(_) => Err(LoopError::NotADevice { path }),
            Err(source) => Err(LoopError::OpenDevice { path, source }),
        }
    }

    fn info(&self) -> io::Result<LoopInfo> {
        let mut info = EMPTY_INFO;
        // SAFETY: LOOP_GET_STATUS64 writes one loop_info64, whose layout LoopInfo has.
        unsafe {
            ioctl(
                &self.file,
                Updater::<LOOP_GET_STATUS64, LoopInfo>::new(&mut info),
            )
        }?;
        Ok(info)
    }

    /// Attaches the image, and lifts the write protection that a former user has left.
    fn take(&self, image: &File, lifetime: Lifetime) -> io::Result<()> {
        self.configure(image, lifetime)?;
        if self.is_read_only().map_err(io::Error::other)? {
            self.set_read_only(false).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn configure(&self, image: &File, lifetime: Lifetime) -> io::Result<()> {
        let lasting = match lifetime {
            Lifetime::UntilUnused => LO_FLAGS_AUTOCLEAR,
            Lifetime::UntilDetached => 0,
        };
        // Direct I/O keeps the data from being cached twice; some file systems have none.
        match self.configure_with(image, lasting | LO_FLAGS_DIRECT_IO) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.configure_with(image, lasting)
            }
            done => done,
        }
    }

    fn configure_with(&self, image: &File, flags: u32) -> io::Result<()> {
        let fd = u32::try_from(image.as_raw_fd()).expect("an open file has a number from 0 up");
        let info = LoopInfo {
            flags,
            ..EMPTY_INFO
        };
        let config = LoopConfig {
            fd,
            block_size: 0,
            info,
            reserved: [0; 8],
        };
        // SAFETY: LOOP_CONFIGURE reads one loop_config, whose layout LoopConfig has.
        unsafe {
            ioctl(
                &self.file,
                Setter::<LOOP_CONFIGURE, LoopConfig>::new(config),
            )
        }?;
        Ok(())
    }

    fn failed(&self, act: &'static str, source: io::Error) -> LoopError {
        LoopError::Control {
            act,
            path: self.path(),
            source,
        }
    }
}

fn node(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{number}"))
}

/// The last folder and the name: the part of the path that every onlooker sees alike.
fn ending(image: &Path) -> String {
    let mut parts = image
        .iter()
        .rev()
        .take(2)
        .map(|part| part.to_string_lossy());
    let name = parts.next().unwrap_or_default();
    let folder = parts.next().unwrap_or_default();
    format!("/{folder}/{name}")
}

/// What the kernel says is attached; empty when nothing is.
fn backing_file(number: u32) -> Result<String, LoopError> {
    let path = PathBuf::from(format!("{BLOCK_DEVICES}/loop{number}/loop/backing_file"));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        // Nothing is attached, or it is just being detached.
        Err(source) => match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => Ok(String::new()),
            Some(_) | None => Err(LoopError::Search { path, source }),
        },
    }
}

fn numbers() -> Result<Vec<u32>, LoopError> {
    let search = |source| LoopError::Search {
        path: BLOCK_DEVICES.into(),
        source,
    };
    let entries = fs::read_dir(BLOCK_DEVICES).map_err(search)?;
    let number = |entry: fs::DirEntry| {
        entry
            .file_name()
            .to_str()?
            .strip_prefix("loop")?
            .parse::<u32>()
            .ok()
    };
    let entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(search)?;
    Ok(entries.into_iter().filter_map(number).collect())
}

fn free_number() -> Result<u32, LoopError> {
    let ask = || {
        let control = File::options().read(true).write(true).open(CONTROL)?;
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number.
        let number = unsafe { ioctl(&control, GetFree) }?;
        Ok(number)
    };
    ask().map_err(|source| LoopError::GetFree { source })
}

/// LOOP_CTL_GET_FREE: no argument, the answer is the return value.
struct GetFree;

// SAFETY: the ioctl neither reads nor writes memory; its result is a device number.
unsafe impl rustix::ioctl::Ioctl for GetFree {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        number: rustix::ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(number).map_err(|_| rustix::io::Errno::RANGE)
    }
}

#[cfg(test)]
mod tests;
