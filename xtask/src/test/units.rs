//! Whether a part is built from the same units as the whole. Where a package alone would give
//! one dependency other features, cargo builds that and all above it a second time: minutes for
//! whoever tests the one crate that they edit.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Count;
use crate::command;
use crate::steps::shown;

/// Asks cargo for each package what it would build for the tests of that alone. Nothing is
/// right: the tests of all are built, which the caller has seen to.
pub(super) fn check() -> Result<Count> {
    let started = Instant::now();
    let packages = packages()?;
    let mut count = Count::default();
    for package in &packages {
        let stale = built_anew(package)?;
        for unit in &stale {
            println!("✗ cargo test -p {package} builds {unit} a second time");
        }
        count.add(Count::one(stale.is_empty()));
    }
    let took = shown(started.elapsed());
    if count.failed > 0 {
        println!("  after a change of dependencies: cargo hakari generate");
    } else {
        println!(
            "✓ {} packages build from the units of the whole ({took})",
            packages.len()
        );
    }
    Ok(count)
}

fn packages() -> Result<Vec<String>> {
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version=1"]);
    let told: Value = serde_json::from_str(&command::output(&mut cargo)?)?;
    let packages = told["packages"].as_array().context("no packages")?;
    let names = packages
        .iter()
        .filter_map(|package| package["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Builds one package's tests and gives the units that were not there.
fn built_anew(package: &str) -> Result<Vec<String>> {
    let mut cargo = command::cargo();
    cargo.args(["test", "--no-run", "--message-format=json", "-p", package]);
    let built = cargo.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    if !built.status.success() {
        bail!("the tests of {package} alone do not build");
    }
    let told = String::from_utf8_lossy(&built.stdout);
    Ok(told.lines().filter_map(stale_unit).collect())
}

/// Gives the name of the unit that a message of cargo tells, if it was built.
fn stale_unit(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["fresh"] == true {
        return None;
    }
    let features = message["features"].as_array()?;
    let features: Vec<&str> = features.iter().filter_map(Value::as_str).collect();
    let name = message["target"]["name"].as_str()?;
    Some(format!("{name} ({})", features.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_was_built_is_told_and_a_fresh_one_is_not() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"tower"},
            "features":["log","util"],"fresh":false}"#;
        assert_eq!(stale_unit(message).as_deref(), Some("tower (log util)"));
        assert_eq!(stale_unit(&message.replace("false", "true")), None);
        assert_eq!(
            stale_unit(r#"{"reason":"build-finished","success":true}"#),
            None
        );
    }
}
