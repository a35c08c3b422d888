//! `sutler master`: options of a master alone. The program starts it.

use clap::Args;

use super::up::{LogArgs, ServeArgs};

const EXAMPLES: &str = "\
Examples:
  sutler master --listen 0.0.0.0:5050
  sutler master --state-dir /srv/master

It writes `join.json` into its state folder: copy it to a node, and run there
`sutler agent --join join.json`. It holds a key: keep it as you keep a password.";

/// Options of `sutler master`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MasterArgs {
    /// Of serving.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Of logging.
    #[command(flatten)]
    pub log: LogArgs,
}
