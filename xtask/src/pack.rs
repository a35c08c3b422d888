//! Images of our own, under `target/images`: what the demo and the tests run.
//!
//! Each image is a folder in OCI layout (`NAME/`, for pushing) and an OCI archive
//! (`NAME.oci.tar`). One whose inputs have not changed since is left as it is. Programs of
//! others go in as they are on this machine, with the libraries that they need.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use sutler_host::remove::remove_tree;
use sutler_images::{ImageBuilder, ImageConfig};
use sutler_local::tools::REQUIRED_TOOLS;

use crate::places::{self, Profile};
use crate::{command, setup};

/// Raised when an image is put together differently from the same inputs.
const RECIPE: u32 = 1;

/// The tag of every packed image.
pub const TAG: &str = "latest";

/// Mode of programs in an image.
const PROGRAM_MODE: u32 = 0o755;

/// Mode of other files in an image.
const FILE_MODE: u32 = 0o644;

/// Builds the programs and packs all images.
///
/// # Errors
/// A program does not build, or something that goes into an image is not there.
pub fn pack(profile: Profile) -> Result<()> {
    pack_for_demo(profile, &[])?;
    pack_mock_driver()
}

/// Builds the programs, optimised those of other packages too, and packs what the demo needs:
/// no Go for those who only look.
///
/// # Errors
/// As [`pack`].
pub fn pack_for_demo(profile: Profile, packages: &[&str]) -> Result<()> {
    setup::ensure()?;
    build_programs(profile, packages)?;
    pack_busybox()?;
    pack_local(profile)
}

/// The packages of the programs that are shipped: what a plain `cargo build` builds.
const SHIPPED: [&str; 2] = ["sutler", "sutler-local"];

/// Builds in one call, and as those do who build besides: the tests, which build the whole
/// workspace, or a plain `cargo build --release`. So nothing is built a second time with other
/// features.
fn build_programs(profile: Profile, packages: &[&str]) -> Result<()> {
    let mut cargo = command::cargo();
    cargo.arg("build");
    match profile {
        Profile::Dev => {
            cargo.args(["--workspace", "--bins"]);
        }
        Profile::Release => {
            cargo.arg("--release");
            for package in SHIPPED.iter().chain(packages) {
                cargo.args(["-p", package]);
            }
        }
    }
    command::run(&mut cargo)
}

fn pack_busybox() -> Result<()> {
    let busybox = program("busybox")?;
    let image = Image::new("busybox", &[&busybox])?;
    image.write(|| {
        let listed = command::output(Command::new(&busybox).arg("--list"))?;
        let mut builder = ImageBuilder::new()
            .config(config(&["/bin/sh"], &[]))
            .file("bin/busybox", &busybox, PROGRAM_MODE)?
            .folder("tmp", 0o1777)?
            .folder("root", 0o700)?
            .bytes(
                "etc/passwd",
                "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
                FILE_MODE,
            )?
            .bytes("etc/group", "root:x:0:\nnogroup:x:65534:\n", FILE_MODE)?;
        for applet in listed.lines().filter(|applet| *applet != "busybox") {
            builder = builder.link(&format!("bin/{applet}"), "busybox")?;
        }
        Ok(builder)
    })
}

fn pack_local(profile: Profile) -> Result<()> {
    let built = profile.folder().join("sutler-local");
    let mut inputs = vec![built.clone()];
    for tool in REQUIRED_TOOLS {
        inputs.push(program(tool)?);
    }
    let formats = PathBuf::from("/etc/mke2fs.conf");
    inputs.push(formats.clone());
    let image = Image::new(
        "sutler-local",
        &inputs.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
    )?;
    image.write(|| {
        let stripped = stripped(&built)?;
        let mut builder = ImageBuilder::new()
            .config(config(&[], &["/usr/bin/sutler-local"]))
            .file("usr/bin/sutler-local", &stripped, PROGRAM_MODE)?
            .file("etc/mke2fs.conf", &formats, FILE_MODE)?
            .folder("tmp", 0o1777)?;
        let mut libraries = libraries_of(&stripped)?;
        for tool in REQUIRED_TOOLS {
            let tool_path = program(tool)?;
            libraries.extend(libraries_of(&tool_path)?);
            builder = builder.file(&format!("usr/sbin/{tool}"), &tool_path, PROGRAM_MODE)?;
        }
        for library in &libraries {
            builder = builder.file(&library.to_string_lossy(), library, PROGRAM_MODE)?;
        }
        Ok(builder)
    })?;
    // Where `sutler up` looks when it is told nothing.
    let beside = profile.folder().join("sutler-local.oci.tar");
    fs::copy(image.archive(), &beside).with_context(|| beside.display().to_string())?;
    Ok(())
}

/// Packs the driver whose calls cost nothing: the program that measures, optimised.
///
/// # Errors
/// It is not built.
pub(crate) fn pack_bench_driver() -> Result<()> {
    let built = Profile::Release.folder().join("sutler-bench");
    let image = Image::new("bench-driver", &[&built])?;
    image.write(|| {
        let stripped = stripped(&built)?;
        let mut builder = ImageBuilder::new()
            .config(config(&[], &["/usr/bin/sutler-bench", "--driver"]))
            .file("usr/bin/sutler-bench", &stripped, PROGRAM_MODE)?;
        for library in &libraries_of(&stripped)? {
            builder = builder.file(&library.to_string_lossy(), library, PROGRAM_MODE)?;
        }
        Ok(builder)
    })
}

/// Packs Kubernetes' mock driver, built with Go.
///
/// # Errors
/// Go is not there, or it does not build.
pub(crate) fn pack_mock_driver() -> Result<()> {
    let source = places::root().join("xtask/mock-driver");
    let inputs = ["main.go", "go.mod", "go.sum"].map(|name| source.join(name));
    let image = Image::new(
        "mock-driver",
        &inputs.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
    )?;
    image.write(|| {
        let go = setup::go()?;
        let program = places::images().join("work/mock-driver");
        println!("building the mock driver with Go; the first time it gets its modules");
        let mut build = Command::new(go);
        build
            .current_dir(&source)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly");
        build
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-ldflags=-s -w",
                "-o",
            ])
            .arg(&program);
        command::output(&mut build)?;
        let builder = ImageBuilder::new().config(config(&[], &["/mock-driver", "-v=3"]));
        Ok(builder.file("mock-driver", &program, PROGRAM_MODE)?)
    })
}

/// One image's place and what it is made from.
struct Image {
    name: &'static str,
    inputs: String,
}

impl Image {
    fn new(name: &'static str, inputs: &[&Path]) -> Result<Self> {
        let work = places::images().join("work");
        fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
        let mut described = format!("recipe {RECIPE}\n");
        for path in inputs {
            let about = fs::metadata(path).with_context(|| path.display().to_string())?;
            let changed = about.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
            writeln!(described, "{} {} {changed}", path.display(), about.len())?;
        }
        Ok(Self {
            name,
            inputs: described,
        })
    }

    fn archive(&self) -> PathBuf {
        places::images().join(format!("{}.oci.tar", self.name))
    }

    /// Writes the image unless it is there from the same inputs.
    fn write(&self, build: impl FnOnce() -> Result<ImageBuilder>) -> Result<()> {
        let stamp = places::images().join(format!("{}.stamp", self.name));
        let same = fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == self.inputs);
        let layout = places::images().join(self.name);
        if same && self.archive().is_file() && layout.is_dir() {
            return Ok(());
        }
        let builder = build().with_context(|| format!("pack {}", self.name))?;
        remove_tree(&layout)?;
        builder.write_layout(&layout, TAG)?;
        builder.write_archive(&self.archive(), TAG)?;
        fs::write(&stamp, &self.inputs).with_context(|| stamp.display().to_string())?;
        println!("packed {}", self.archive().display());
        Ok(())
    }
}

fn config(cmd: &[&str], entrypoint: &[&str]) -> ImageConfig {
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    ImageConfig {
        cmd: owned(cmd),
        entrypoint: owned(entrypoint),
        env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        ..ImageConfig::default()
    }
}

/// Finds a program of this machine.
///
/// # Errors
/// It is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    command::find_program(name).with_context(|| format!("{name} is not on this machine"))
}

/// Gives a copy without symbols: a tenth of the size, quicker to pack and to unpack.
fn stripped(program: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let copy = places::images().join("work").join(name);
    command::output(Command::new("strip").arg("-o").arg(&copy).arg(program))?;
    Ok(copy)
}

/// Finds the libraries that a program is linked with, the loader among them.
///
/// # Errors
/// ldd cannot tell.
pub fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let told = command::output(Command::new("ldd").arg(program))?;
    let found = parse_libraries(&told);
    ensure!(
        !found.is_empty(),
        "ldd tells no library of {}: {told}",
        program.display()
    );
    Ok(found)
}

fn parse_libraries(told: &str) -> BTreeSet<PathBuf> {
    let words = told.lines().filter_map(|line| {
        line.split_whitespace()
            .find(|word| word.starts_with('/') && !word.ends_with(':'))
    });
    words.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_every_library_are_found() {
        let told = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibblkid.so.1 => /lib/x86_64-linux-gnu/libblkid.so.1 (0x00007f)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = parse_libraries(told).into_iter().collect();
        let wanted = [
            "/lib/x86_64-linux-gnu/libblkid.so.1",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, wanted.map(PathBuf::from));
    }
}
