//! The process behind `sutler shim --dir DIR`: one per container.

use std::path::Path;
use std::process::ExitCode;

/// Runs the container of a folder that [`Containers::start`](super::Containers::start) prepared,
/// until it has ended. Standard input is the start lock, standard output the status pipe.
pub fn shim_main(dir: &Path) -> ExitCode {
    let _ = dir;
    unimplemented!("front only")
}
