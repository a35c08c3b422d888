//! What the guest runs, on two disks: a first file system that only finds the root, and a root
//! file system with copies of this machine's programs, each where it lies here.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sutler_host::remove::remove_tree;

use super::cpio::Cpio;
use super::kernel::Kernel;
use xtask::{command, pack};

/// Modules that the guest needs: its disks, and what volumes and images are made with.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "loop", "overlay", "xfs"];

/// Folders that every Linux has.
const FOLDERS: [&str; 14] = [
    "bin", "dev", "disk", "etc", "lab", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin",
    "var/lib", "sbin",
];

/// Loads the modules, finds the root disk, goes there. Both waits are bounded.
const FIRST_INIT: &str = "#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules); do
    /bin/busybox insmod /$module || echo \"LAB cannot load $module\"
done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do
    tries=$((tries + 1)); /bin/busybox usleep 50000
done
/bin/busybox mount -t ext4 -o ro,noload /dev/vda /new
/bin/busybox mount --move /dev /new/dev
exec /bin/busybox switch_root /new /lab/init
";

/// Mounts what a machine has, on cgroup version 2 alone, does what the kernel's command line
/// asks for, and ends the machine. The second disk is `/tmp`; what the root disk has there, a
/// checkout below `/tmp`, is seen in it.
const INIT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs var /var/lib
mount -t ext4 -o noinit_itable /dev/vdb /disk && chmod 1777 /disk
for folder in /tmp/*; do
    [ -d \"$folder\" ] || continue
    seen=\"/disk/${folder#/tmp/}\"
    mkdir -p \"$seen\" && mount -o bind \"$folder\" \"$seen\"
done
mount --move /disk /tmp
ifconfig lo 127.0.0.1 up
hostname lab
stty -F /dev/ttyS1 raw -echo
sh /lab/$LAB_SCRIPT > /dev/ttyS1 2>&1
echo \"LAB ended $?\" > /dev/ttyS1
sync
poweroff -f
";

/// The root file system under way.
#[derive(Debug)]
pub(super) struct RootDisk {
    staged: PathBuf,
    libraries: BTreeSet<PathBuf>,
}

impl RootDisk {
    /// Begins one with busybox for everyday programs.
    ///
    /// # Errors
    /// A program is not there, or the disk is full.
    pub(super) fn new(staged: &Path) -> Result<Self> {
        remove_tree(staged)?;
        for name in FOLDERS {
            fs::create_dir_all(staged.join(name)).with_context(|| name.to_owned())?;
        }
        let disk = Self {
            staged: staged.to_owned(),
            libraries: BTreeSet::new(),
        };
        let busybox = pack::program("busybox")?;
        fs::copy(&busybox, disk.place(Path::new("/bin/busybox"))?)?;
        let applets = command::output(Command::new(&busybox).arg("--list"))?;
        for applet in applets.lines().filter(|name| *name != "busybox") {
            symlink("/bin/busybox", staged.join("bin").join(applet))?;
        }
        for (name, text) in [
            ("/lab/init", INIT),
            ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("/etc/group", "root:x:0:\n"),
            ("/etc/hosts", "127.0.0.1 localhost lab\n"),
            ("/etc/resolv.conf", "\n"),
        ] {
            disk.text(name, text)?;
        }
        Ok(disk)
    }

    /// Adds a program without its symbols, and the libraries that it needs.
    ///
    /// # Errors
    /// As [`RootDisk::new`].
    pub(super) fn program(&mut self, path: &Path) -> Result<()> {
        let place = self.place(path)?;
        command::output(Command::new("strip").arg("-o").arg(place).arg(path))?;
        self.libraries.extend(pack::libraries_of(path)?);
        Ok(())
    }

    /// Adds a file as it is.
    ///
    /// # Errors
    /// As [`RootDisk::new`].
    pub(super) fn file(&self, path: &Path) -> Result<()> {
        let place = self.place(path)?;
        fs::copy(path, &place).with_context(|| path.display().to_string())?;
        Ok(())
    }

    /// Adds a text as a program.
    ///
    /// # Errors
    /// As [`RootDisk::new`].
    pub(super) fn text(&self, path: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let place = self.place(Path::new(path))?;
        fs::write(&place, text).with_context(|| path.to_owned())?;
        Ok(fs::set_permissions(
            &place,
            fs::Permissions::from_mode(0o755),
        )?)
    }

    /// Adds an empty folder.
    ///
    /// # Errors
    /// As [`RootDisk::new`].
    pub(super) fn folder(&self, path: &Path) -> Result<()> {
        let place = self.place(path)?;
        fs::create_dir_all(&place).with_context(|| path.display().to_string())
    }

    /// Writes the disk.
    ///
    /// # Errors
    /// As [`RootDisk::new`].
    pub(super) fn write(self, image: &Path) -> Result<()> {
        for library in &self.libraries {
            self.file(library)?;
        }
        make_ext4(image, Some(&self.staged))?;
        Ok(remove_tree(&self.staged)?)
    }

    fn place(&self, path: &Path) -> Result<PathBuf> {
        let relative = path
            .strip_prefix("/")
            .context("programs have whole paths")?;
        let place = self.staged.join(relative);
        let parent = place.parent().context("everything lies in a folder")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        Ok(place)
    }
}

/// Makes an ext4 disk: sparse, with a folder's content, or empty.
///
/// # Errors
/// mkfs.ext4 fails, or the disk is full.
pub(super) fn make_ext4(image: &Path, content: Option<&Path>) -> Result<()> {
    const SIZE: &str = "2G";
    let mut mkfs = Command::new(pack::program("mkfs.ext4")?);
    mkfs.arg("-q");
    if let Some(folder) = content {
        mkfs.arg("-d").arg(folder);
    }
    command::output(mkfs.arg(image).arg(SIZE))?;
    Ok(())
}

/// Writes the first file system.
///
/// # Errors
/// A module or busybox is not there, or the disk is full.
pub(super) fn write_first(path: &Path, kernel: &Kernel) -> Result<()> {
    let mut cpio = Cpio::default();
    for name in ["bin", "dev", "new"] {
        cpio.folder(name);
    }
    cpio.file("bin/busybox", &fs::read(pack::program("busybox")?)?);
    let mut listed = String::new();
    for module in kernel.in_order(&MODULES)? {
        let name = module.file_name().context("a module has a name")?;
        let name = name.to_string_lossy();
        cpio.file(&name, &fs::read(&module)?);
        listed.push_str(&format!("{name}\n"));
    }
    cpio.file("modules", listed.as_bytes());
    cpio.file("init", FIRST_INIT.as_bytes());
    fs::write(path, cpio.into_bytes()).with_context(|| path.display().to_string())
}
