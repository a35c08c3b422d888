//! `sutler-bench`: measures what is built, for `cargo xtask bench`. Reads the command line only.

use std::process::ExitCode;

use clap::Parser;

/// Measure the figures of the specification; takes minutes
#[derive(Debug, Parser)]
#[command(about, version)]
struct Arguments {
    /// Two runs of each instead of seven
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match sutler_bench::measure(Arguments::parse().quick) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
