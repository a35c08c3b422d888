//! `sutler up`: options of master and agent in one process. The program starts them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use sutler_ids::AgentName;

use crate::values::time::time;

const EXAMPLES: &str = "\
Examples:
  sutler up
  sutler up --state-dir /srv/sutler --trash-retention 7d
  sutler up --listen 0.0.0.0:5050       other nodes may join

It serves until SIGTERM or Ctrl-C. Containers keep running then, and the next `sutler up`
takes them over. With --json one line {\"ready\": …} is printed when the API answers.";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Options of every process that stays.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// How log lines on stderr look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
    /// Which log lines: a level, or a filter such as `info,sutler_agent=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "SUTLER_LOG",
        hide_env_values = true,
        default_value = "warn"
    )]
    pub log_level: String,
}

/// Options of a process that has a master in it.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on, always with TLS
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5050")]
    pub listen: SocketAddr,
    /// A name or address by which other nodes reach this master, for its certificate; may be
    /// repeated, and the first is what agents are told
    #[arg(long, value_name = "NAME")]
    pub advertise: Vec<String>,
    /// How long removed volumes stay in the trash
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    pub trash_retention: Duration,
    /// Ask for no token, still with TLS; refused unless the address is loopback. Every process of
    /// this host can then do everything, and so can every task: its container is on the
    /// host's network
    #[arg(long)]
    pub insecure_loopback: bool,
}

/// Options of `sutler up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// Of the master in it.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Name of this node; its host name when absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<AgentName>,
    /// Image of the plugin `local`: an OCI archive or a layout folder [default:
    /// sutler-local.oci.tar beside this program, then in /usr/share/sutler/images]
    #[arg(long, value_name = "PATH", conflicts_with = "no_local")]
    pub local_image: Option<PathBuf>,
    /// Do without the plugin `local`
    #[arg(long)]
    pub no_local: bool,
    /// Of logging.
    #[command(flatten)]
    pub log: LogArgs,
}
