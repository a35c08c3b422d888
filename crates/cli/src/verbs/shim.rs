//! `sutler shim`: started by the agent for each container; its life is in the runtime's code.

use std::path::PathBuf;

use clap::Args;

/// Options of `sutler shim`.
#[derive(Debug, Args)]
pub struct ShimArgs {
    /// Folder of the container
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}
