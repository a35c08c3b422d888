//! `cargo xtask`: the verbs for those who work on sutler. Reads the command line, nothing else.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use xtask::places::Profile;
use xtask::test::Stage;

/// Everything that is done to this repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Do the main job once: plugin image in, file on a volume out
    Demo {
        /// Master and agent as two processes
        #[arg(long)]
        split: bool,
    },
    /// Run every check and test, quick ones first
    Test {
        /// Only this stage; may be repeated. Without it, all but `lab`
        #[arg(long = "stage", value_enum)]
        stages: Vec<Stage>,
    },
    /// What every commit passes: format, lints, unit tests, demo
    Gate,
    /// Build sutler and pack the images of the demo and the tests into target/images
    Pack {
        /// With optimised programs, and without the images of the tests alone
        #[arg(long)]
        release: bool,
    },
    /// Measure the figures of the specification; takes minutes
    Bench {
        /// Two runs of each instead of seven
        #[arg(long)]
        quick: bool,
        /// Measure what volumes cost when there are many instead: sizes, smallest first
        #[arg(long, value_delimiter = ',', conflicts_with = "quick")]
        volumes: Vec<usize>,
        /// With `--volumes`: Kubernetes' mock driver in place of one whose calls cost nothing
        #[arg(long, requires = "volumes")]
        mock: bool,
        /// Measure the programs as they were last built
        #[arg(long)]
        no_build: bool,
    },
    /// Clean up what killed test runs have left on this machine
    Sweep,
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
        Verb::Demo { split } => xtask::demo::run(split),
        Verb::Test { stages } => {
            xtask::setup::ensure()?;
            xtask::test::run(&stages)
        }
        Verb::Gate => {
            xtask::setup::ensure()?;
            xtask::gate::run()
        }
        // What is shipped; the tests' images need Go besides.
        Verb::Pack { release: true } => xtask::pack::pack_for_demo(Profile::Release, &[]),
        Verb::Pack { release: false } => xtask::pack::pack(Profile::Dev),
        Verb::Bench {
            quick,
            volumes,
            mock,
            no_build,
        } => xtask::bench::run(quick, &volumes, mock, no_build),
        Verb::Sweep => {
            xtask::test::sweep();
            Ok(())
        }
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
