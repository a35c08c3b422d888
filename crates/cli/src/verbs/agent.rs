//! `sutler agent`: options of an agent alone. The program starts it.

use std::path::PathBuf;

use clap::Args;
use sutler_ids::AgentName;

use super::up::LogArgs;

const EXAMPLES: &str = "\
Examples:
  sutler agent --join join.json
  sutler agent --join join.json --master https://10.0.0.1:5050 --name db-1

`join.json` is in the master's state folder. It names the master; --master overrides that
for a node that reaches it by another address.";

/// Options of `sutler agent`; the address is the global `--master`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    /// File made by the master: its address, its authority's certificate and the agents' key
    #[arg(long, value_name = "FILE")]
    pub join: PathBuf,
    /// Name of this node; its host name when absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<AgentName>,
    /// Of logging.
    #[command(flatten)]
    pub log: LogArgs,
}
