//! Licences, bans and sources of our dependencies, by cargo-deny.
//! Advisories need a data base from the network and are asked for on their own.

use anyhow::Result;

use crate::{command, places};

/// The release that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// Checks the dependencies against `deny.toml`.
///
/// # Errors
/// cargo-deny cannot be installed, or finds a fault and names it.
pub fn check(advisories: bool) -> Result<()> {
    ensure_installed()?;
    let mut deny = command::cargo();
    deny.current_dir(places::root()).args([
        "deny",
        "--all-features",
        "check",
        "--hide-inclusion-graph",
    ]);
    if !advisories {
        deny.args(["licenses", "bans", "sources"]);
    }
    command::run(&mut deny)
}

fn ensure_installed() -> Result<()> {
    let asked = command::finished(command::cargo().args(["deny", "--version"]))?;
    if asked.status.success() {
        return Ok(());
    }
    println!("installing cargo-deny {VERSION} (checks licences and sources of dependencies)");
    let mut install = command::cargo();
    install.args([
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "--version",
        VERSION,
        "cargo-deny",
    ]);
    command::run(&mut install)
}
