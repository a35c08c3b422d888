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
    /// What volumes cost when there are many: sizes, smallest first, instead of the figures
    #[arg(long, value_delimiter = ',', conflicts_with = "quick")]
    volumes: Vec<usize>,
    /// With `--volumes`: Kubernetes' mock driver in place of one whose calls cost nothing
    #[arg(long, requires = "volumes")]
    mock: bool,
    /// Be the driver whose calls cost nothing
    #[arg(long, conflicts_with_all = ["quick", "volumes"])]
    driver: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measured = match arguments.volumes.as_slice() {
        _ if arguments.driver => sutler_bench::serve(),
        [] => sutler_bench::measure(arguments.quick),
        sizes => sutler_bench::scale(sizes, arguments.mock),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
