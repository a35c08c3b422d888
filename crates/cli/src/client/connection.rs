//! How to find the master and its key: the options common to all verbs.

use std::path::PathBuf;

use clap::Args;

/// Where the state of a node lives unless told otherwise.
pub const STATE_DIR: &str = "/var/lib/sutler";

/// How to find the master and its key.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Connection {
    /// Folder of this node's state; its `client.json` says where the master is
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SUTLER_STATE_DIR",
        hide_env_values = true,
        default_value = STATE_DIR
    )]
    pub state_dir: PathBuf,
    /// Address of the master, like https://10.0.0.1:5050, instead of `client.json`
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SUTLER_MASTER",
        hide_env_values = true
    )]
    pub master: Option<String>,
    /// File that holds the token for --master
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SUTLER_TOKEN_FILE",
        hide_env_values = true
    )]
    pub token_file: Option<PathBuf>,
    /// File that holds the authority's certificate (PEM) for --master
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SUTLER_CA_FILE",
        hide_env_values = true
    )]
    pub ca_file: Option<PathBuf>,
}
