//! The lab: an emulated machine with Debian's kernel, for what this machine cannot show.
//! cgroup version 2 without version 1, and a power cut that takes the page cache with it.
//!
//! ```text
//! target/lab/kernel/    Debian's kernel package, unpacked once
//! target/lab/run/       disks and consoles of the run; gone after one that passed
//! ```
//!
//! The guest has no network. Its programs are copies of this machine's, each at the path that
//! it has here, since the tests know their programs by path.

mod cgroups;
mod cpio;
mod guest;
mod kernel;
mod life;
mod power_cut;
mod promises;
mod root_disk;
mod write_log;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sutler_host::remove::remove_tree;
use sutler_local::tools::REQUIRED_TOOLS;

use guest::{Guest, Parts};
use kernel::Kernel;
use root_disk::RootDisk;
use xtask::places::{self, Profile};
use xtask::steps::Steps;
use xtask::test::Count;
use xtask::test::programs;
use xtask::{pack, setup};

pub use life::live;

/// Images that the guest's tests use.
const IMAGES: [&str; 2] = ["busybox.oci.tar", "sutler-local.oci.tar"];

/// The lab's folder.
fn folder() -> PathBuf {
    places::target().join("lab")
}

/// Builds the guest of the programs and images that `cargo xtask test --stage lab` has just
/// built, then runs the cgroup tests and the power cuts.
///
/// # Errors
/// QEMU or the kernel cannot be had, or a guest does not come up or end.
pub fn run() -> Result<Count> {
    setup::require_root("test")?;
    setup::ensure_lab()?;
    let run = folder().join("run");
    remove_tree(&run)?;
    fs::create_dir_all(&run).with_context(|| run.display().to_string())?;
    let kernel = Kernel::get()?;
    let (first, root) = (run.join("first.cpio"), run.join("root.ext4"));
    Steps::default().step("build the guest", || {
        root_disk::write_first(&first, &kernel)?;
        write_root(&run.join("staged"), &root)
    })?;
    let parts = |name: &str| Parts {
        kernel: &kernel,
        first: &first,
        root: &root,
        folder: run.join(name),
    };
    let mut count = Count::default();
    // Both at once: an emulated machine is slow, and mostly waits for its one busy processor.
    std::thread::scope(|scope| {
        let cuts = scope.spawn(|| or_failed(power_cut(&parts(power_cut::SCRIPT))));
        count.add(or_failed(cgroups(&parts(cgroups::SCRIPT))));
        count.add(cuts.join().unwrap_or(Count::one(false)));
    });
    if count.failed == 0 {
        remove_tree(&run)?;
    }
    Ok(count)
}

fn cgroups(parts: &Parts<'_>) -> Result<Count> {
    fs::create_dir_all(&parts.folder).with_context(|| parts.folder.display().to_string())?;
    root_disk::make_ext4(&parts.disk(), None)?;
    cgroups::listen(Guest::start(parts, cgroups::SCRIPT, "")?)
}

fn power_cut(parts: &Parts<'_>) -> Result<Count> {
    fs::create_dir_all(&parts.folder).with_context(|| parts.folder.display().to_string())?;
    power_cut::run(parts)
}

/// Tells why a part came to nothing, so that the other is run all the same.
fn or_failed(part: Result<Count>) -> Count {
    part.unwrap_or_else(|error| {
        println!("✗ {error:#}");
        Count::one(false)
    })
}

/// Writes the root disk with everything that the guest runs.
fn write_root(staged: &Path, image: &Path) -> Result<()> {
    let built = programs::build()?;
    let chosen = cgroups::programs(&built)?;
    let debug = Profile::Dev.folder();
    let lab = debug.join("sutler-lab");
    let mut disk = RootDisk::new(staged)?;
    for program in &chosen {
        disk.program(&program.executable)?;
        disk.folder(&program.folder)?;
    }
    for program in ["sutler", "sutler-local", "sutler-lab", "examples/shim"] {
        disk.program(&debug.join(program))?;
    }
    for tool in REQUIRED_TOOLS.into_iter().chain(["runc"]) {
        disk.program(&pack::program(tool)?)?;
    }
    disk.file(Path::new("/etc/mke2fs.conf"))?;
    for image in IMAGES {
        disk.file(&places::images().join(image))?;
    }
    for (name, text) in [
        (cgroups::SCRIPT, cgroups::script(&chosen)),
        (power_cut::SCRIPT, power_cut::script(&lab)),
    ] {
        disk.text(&format!("/lab/{name}"), &text)?;
    }
    disk.write(image)
}
