//! The guest's kernel: Debian's for clouds, from its package, unpacked and never installed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sutler_host::remove::remove_tree;

use super::folder;
use xtask::command;

/// The package that depends on the newest kernel.
const NEWEST: &str = "linux-image-cloud-amd64";

/// Most folders below a kernel's modules that are looked into.
const DEPTH_MAX: usize = 8;

/// A kernel and its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What the machine boots.
    pub(super) image: PathBuf,
    modules: BTreeMap<String, PathBuf>,
}

impl Kernel {
    /// Finds the kernel where it was unpacked before, or gets it.
    ///
    /// # Errors
    /// There is no such package, or it cannot be had or unpacked.
    pub(super) fn get() -> Result<Self> {
        let unpacked = folder().join("kernel");
        if !unpacked.is_dir() {
            unpack(&unpacked)?;
        }
        let image = files_below(&unpacked.join("boot"), 1)
            .into_iter()
            .find(|path| path.file_name().is_some_and(is_image));
        let modules = files_below(&unpacked.join("lib/modules"), DEPTH_MAX)
            .into_iter()
            .filter(|path| path.extension() == Some(OsStr::new("ko")))
            .filter_map(|path| Some((module_name(path.file_stem()?), path)))
            .collect();
        let image =
            image.with_context(|| format!("no kernel in {}: remove it", unpacked.display()))?;
        Ok(Self { image, modules })
    }

    /// Gives the files of modules and of what they need, in the order to load them.
    ///
    /// # Errors
    /// The kernel has no such module.
    pub(super) fn in_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let mut ordered = Vec::new();
        for name in wanted {
            self.add(name, &mut ordered)?;
        }
        Ok(ordered)
    }

    fn add(&self, name: &str, ordered: &mut Vec<PathBuf>) -> Result<()> {
        let path = self.modules.get(&module_name(OsStr::new(name)));
        let path = path.with_context(|| format!("the kernel has no module {name}"))?;
        if ordered.contains(path) {
            return Ok(());
        }
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        for needed in needs_of(&bytes) {
            self.add(&needed, ordered)?;
        }
        ordered.push(path.clone());
        Ok(())
    }
}

fn unpack(unpacked: &Path) -> Result<()> {
    let package = newest()?;
    println!("getting {package}, the lab's kernel; it is unpacked, not installed");
    let work = folder().join("package");
    remove_tree(&work)?;
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let mut download = Command::new("apt-get");
    download.current_dir(&work).args(["-qq", "download"]);
    command::output(download.arg(&package))?;
    let archive = files_below(&work, 1).into_iter().next();
    let archive = archive.with_context(|| format!("apt-get downloaded no {package}"))?;
    let content = work.join("content");
    command::output(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(archive)
            .arg(&content),
    )?;
    // Renamed when it is whole: one that is there is taken for good.
    fs::rename(&content, unpacked).with_context(|| unpacked.display().to_string())?;
    Ok(remove_tree(&work)?)
}

/// Asks apt which kernel is the newest, once more with fresh lists if it does not know.
fn newest() -> Result<String> {
    let ask = || command::output(Command::new("apt-cache").args(["depends", NEWEST]));
    let told = ask().unwrap_or_default();
    if let Some(found) = depends_of(&told) {
        return Ok(found);
    }
    command::output(Command::new("apt-get").args(["-qq", "update"]))
        .context("refresh the package lists")?;
    let told = ask()?;
    depends_of(&told).with_context(|| format!("{NEWEST} names no kernel: {told}"))
}

fn depends_of(told: &str) -> Option<String> {
    let mut lines = told
        .lines()
        .filter_map(|l| l.trim().strip_prefix("Depends: "));
    let package = lines.find(|package| package.starts_with("linux-image-"))?;
    Some(package.to_owned())
}

fn is_image(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("vmlinuz-")
}

/// File names have hyphens where the kernel has underscores.
fn module_name(name: &OsStr) -> String {
    name.to_string_lossy().replace('-', "_")
}

/// Reads the modules that one needs from its own description of itself.
fn needs_of(module: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(at) = module.windows(FIELD.len()).position(|w| w == FIELD) else {
        return Vec::new();
    };
    let value = &module[at + FIELD.len()..];
    let end = value.iter().position(|byte| *byte == 0);
    let value = String::from_utf8_lossy(&value[..end.unwrap_or(0)]).into_owned();
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn files_below(folder: &Path, depth_left: usize) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = Vec::new();
    for entry in entries {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        } else if depth_left > 1 {
            files.extend(files_below(&entry.path(), depth_left - 1));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_what_it_needs() {
        let none: [&str; 0] = [];
        for (module, needs) in [
            (
                &b"ELF\0license=GPL\0depends=a,b_c\0name=x\0"[..],
                &["a", "b_c"][..],
            ),
            (&b"ELF\0depends=\0name=x\0"[..], &none[..]),
            (&b"ELF"[..], &none[..]),
        ] {
            assert_eq!(needs_of(module), needs);
        }
    }

    #[test]
    fn the_newest_kernel_is_what_its_package_depends_on() {
        let told = "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n";
        let newest = depends_of(told);
        assert_eq!(newest.as_deref(), Some("linux-image-6.1.0-9-cloud-amd64"));
        assert_eq!(depends_of("N: Unable to locate"), None);
    }
}
