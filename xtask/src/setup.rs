//! What the other verbs need of the machine: found, or installed with a word about it.
//! Installs Debian packages only; a compiler of its own choice it never replaces.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;

/// A program that must be there, and the Debian package that brings it.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const fn need(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need {
        program,
        package,
        why,
    }
}

/// What `sutler` itself uses, and what its tests use besides.
const NEEDS: [Need; 12] = [
    need("runc", "runc", "starts containers"),
    need("mkfs.ext4", "e2fsprogs", "goes into the sutler-local image"),
    need("mkfs.xfs", "xfsprogs", "goes into the sutler-local image"),
    need(
        "busybox",
        "busybox-static",
        "is the demo's and the tests' task image",
    ),
    need(
        "docker-registry",
        "docker-registry",
        "is the tests' registry, on loopback",
    ),
    need("ip", "iproute2", "makes the tests' network namespaces"),
    need("strace", "strace", "counts syncs for the figures"),
    need("losetup", "mount", "cleans up after tests"),
    need("strip", "binutils", "makes the packed programs small"),
    need(
        "ldd",
        "libc-bin",
        "finds the libraries that a packed program needs",
    ),
    need("cc", "gcc", "links"),
    need("git", "git", "is asked for the version"),
];

/// What the lab uses besides: no other verb needs an emulator.
const LAB_NEEDS: [Need; 2] = [
    need(
        "qemu-system-x86_64",
        "qemu-system-x86",
        "is the lab's machine, emulated",
    ),
    need("dpkg-deb", "dpkg", "unpacks the lab's kernel"),
];

/// Oldest Go that builds the mock driver, as (major, minor).
const GO_MIN: (u32, u32) = (1, 26);

/// Installs what is missing, and says what; says nothing when all is there.
///
/// # Errors
/// Something is missing and cannot be installed: the text says what and what for.
pub fn ensure() -> Result<()> {
    ensure_all(&NEEDS)
}

/// Installs what the lab lacks, and says what.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_lab() -> Result<()> {
    ensure_all(&LAB_NEEDS)
}

fn ensure_all(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs
        .iter()
        .filter(|need| command::find_program(need.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !is_root() || command::find_program("apt-get").is_none() {
        let told: Vec<String> = missing
            .iter()
            .map(|n| format!("  {} {}", n.program, n.why))
            .collect();
        bail!(
            "missing:\n{}\nas root on Debian: apt-get install {}",
            told.join("\n"),
            packages.join(" ")
        );
    }
    for need in &missing {
        println!(
            "installing {} ({} {})",
            need.package, need.program, need.why
        );
    }
    install(&packages)
}

/// Gives the Go program when it is there and new enough to build the mock driver.
///
/// # Errors
/// There is none: the text says how to get one. Debian 12 has none new enough.
pub fn go() -> Result<std::path::PathBuf> {
    let wanted = format!(
        "Go {}.{} or newer builds the mock driver; Debian 12's is older. Install it from \
         https://go.dev/dl into /usr/local/go",
        GO_MIN.0, GO_MIN.1
    );
    let go = command::find_program("go").with_context(|| format!("no go program. {wanted}"))?;
    let told = command::output(Command::new(&go).arg("env").arg("GOVERSION"))?;
    let version = go_version(&told).with_context(|| format!("{told:?} is not a Go version"))?;
    if version < GO_MIN {
        bail!("{} is {}. {wanted}", go.display(), told.trim());
    }
    Ok(go)
}

/// Tells whether we may mount and start containers.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
}

/// Refuses what cannot work without root.
///
/// # Errors
/// We are not root; the text says what to run instead.
pub fn require_root(verb: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    bail!("it mounts file systems and starts containers, so it needs root: sudo cargo xtask {verb}")
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt
    };
    command::output(apt().arg("update")).context("refresh the package lists")?;
    let wanted = ["install", "--yes", "--no-install-recommends"];
    command::output(apt().args(wanted).args(packages))?;
    Ok(())
}

fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix("go")?.split('.');
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    let major = digits(parts.next()?).parse().ok()?;
    let minor = digits(parts.next()?).parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_by_number() {
        for (text, version) in [
            ("go1.26.8\n", Some((1, 26))),
            ("go1.9", Some((1, 9))),
            ("go1.27rc1", Some((1, 27))),
            ("devel", None),
        ] {
            assert_eq!(go_version(text), version, "{text}");
        }
        assert!(go_version("go1.9") < Some(GO_MIN));
    }
}
