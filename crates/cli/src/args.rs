//! The grammar of the command line: every noun and verb, and the options common to all.
//!
//! Each verb's own options stand in its file under `verbs/`. Nothing is read or called here.

use clap::{Parser, Subcommand};

use crate::client::connection::Connection;
use crate::verbs;

const EXAMPLES: &str = "\
Examples:
  sutler up                                      a cluster of this one node
  sutler run -v hello:1G:/data busybox -- sh -c 'date >> /data/log; cat /data/log'
  sutler volume ls
  sutler plugin add nfs.toml --set server=10.0.0.5

Exit status:
  0  done
  1  failed
  2  the command or the request itself is wrong
  3  still going: the wait timed out or was left with Ctrl-C
  4  refused: somebody uses the object, or its state or its name stands in the way
  `sutler run` exits as its container does; see `sutler run --help`";

/// Volumes from any CSI storage plugin on plain Linux machines.
#[derive(Debug, Parser)]
#[command(name = "sutler", version, about, after_help = EXAMPLES, max_term_width = 100)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// Where the master is.
    #[command(flatten)]
    pub connection: Connection,
    /// Print one JSON document, as the API gives it, instead of text; failures too, on stderr
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Every verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start a cluster of this one node: master and agent in one process
    Up(Box<verbs::up::UpArgs>),
    /// Start a master alone
    Master(Box<verbs::master::MasterArgs>),
    /// Start an agent alone and join a master
    Agent(Box<verbs::agent::AgentArgs>),
    /// Look after one container (started by the agent, not by people)
    #[command(hide = true)]
    Shim(verbs::shim::ShimArgs),
    /// Run a container, with volumes, and show its output
    Run(Box<verbs::run::RunArgs>),
    /// Tasks: containers that were run
    #[command(subcommand)]
    Task(verbs::task::TaskVerb),
    /// Volumes
    #[command(subcommand, visible_alias = "vol")]
    Volume(verbs::volume::VolumeVerb),
    /// Classes: what volumes are made from
    #[command(subcommand)]
    Class(verbs::class::ClassVerb),
    /// Storage plugins
    #[command(subcommand)]
    Plugin(verbs::plugin::PluginVerb),
    /// Nodes
    #[command(subcommand)]
    Node(verbs::node::NodeVerb),
    /// Operations: accepted requests for change
    #[command(subcommand)]
    Operation(verbs::operation::OperationVerb),
    /// Follow what changes in the cluster
    Events(verbs::events::EventsArgs),
    /// Call the HTTP API and print its answer
    Api(verbs::api::ApiArgs),
    /// Print a completion script for a shell
    Completion(verbs::completion::CompletionArgs),
    /// Print the versions of this program and of the master; fails if no master answers
    ///
    /// This program's own version is printed either way. For that alone, without asking a
    /// master: sutler --version
    Version,
}
