//! `sutler-lab`: the lab, for `cargo xtask test --stage lab`; and what runs inside its guest.
//! Reads the command line only.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

/// Tests on an emulated machine
#[derive(Debug, Parser)]
#[command(about, version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build the guest, then run the cgroup tests and the power cuts
    Run,
    /// Live one life of the power-cut guest; runs inside the lab's machine only
    Life {
        /// Its number
        number: usize,
        /// Only look at what earlier lives left
        #[arg(long)]
        last: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Run => {
            let count = sutler_lab::run()?;
            println!("lab: {} passed, {} failed", count.passed, count.failed);
            if count.failed > 0 {
                bail!("{} failed", count.failed);
            }
            Ok(())
        }
        Verb::Life { number, last } => sutler_lab::live(number, last),
    }
}
