//! `cargo xtask`: the verbs for those who work on sutler. Reads the command line, nothing else.

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

/// Everything that is done to this repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Install what the other verbs need, and say what
    Setup,
    /// Check sizes, purity, arrows, names, text and links
    Tidy,
    /// Check licences, bans and sources of dependencies
    Deny {
        /// Ask for known faults too; needs the network
        #[arg(long)]
        advisories: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Setup => {
            xtask::setup::ensure()?;
            xtask::setup::go()?;
            println!("everything is there");
            Ok(())
        }
        Verb::Tidy => tidy(),
        Verb::Deny { advisories } => xtask::deny::check(advisories),
    }
}

fn tidy() -> Result<()> {
    let findings = xtask::tidy::check(&xtask::places::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy");
    Ok(())
}
