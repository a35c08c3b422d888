//! The command line: nouns and verbs, tables, progress, hints.
//!
//! Owns the grammar of every `sutler` command and what each client verb prints and exits with.
//! It speaks to a master through the public HTTP API and nothing else. It never starts a
//! master, an agent or a container: those verbs are only parsed here, and the program wires
//! them ([`Invocation`]).

pub mod args;
pub mod client;
mod context;
mod dispatch;
mod failure;
mod foreign;
mod interrupts;
mod io;
mod progress;
mod show;
mod values;
pub mod verbs;
pub mod wait;

use std::ffi::OsString;

use clap::Parser;

pub use crate::failure::{ExitStatus, Failure, Report};
pub use crate::interrupts::Interrupts;
pub use crate::io::Io;
pub use crate::show::human;

use crate::args::{Cli, Verb};
use crate::client::connection::Connection;
use crate::verbs::agent::AgentArgs;
use crate::verbs::master::MasterArgs;
use crate::verbs::shim::ShimArgs;
use crate::verbs::up::UpArgs;

/// What the program is asked to be.
#[derive(Debug)]
pub enum Invocation {
    /// Master and agent in one process.
    Up(Box<UpArgs>, Connection, Json),
    Master(Box<MasterArgs>, Connection, Json),
    Agent(Box<AgentArgs>, Connection, Json),
    /// The process behind one container.
    Shim(ShimArgs),
    /// A call to a master; [`run`] carries it out.
    Client(Box<Cli>),
    /// Nothing is left to do: help was printed, or the command line is wrong.
    Exit(ExitStatus),
}

/// Whether `--json` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json(pub bool);

/// Reads the command line. Prints help to stdout and usage errors to stderr itself.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(mut error) => {
            foreign::advise(&mut error, &arguments);
            if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") {
                let text = usage_report(&error).render_json();
                Io::of_process().aside(text.as_bytes());
            } else {
                // A closed pipe leaves nobody to tell.
                let _ = error.print();
            }
            return Invocation::Exit(match error.use_stderr() {
                true => ExitStatus::USAGE,
                false => ExitStatus::OK,
            });
        }
    };
    let json = Json(cli.json);
    match cli.verb {
        Verb::Up(args) => Invocation::Up(args, cli.connection, json),
        Verb::Master(args) => Invocation::Master(args, cli.connection, json),
        Verb::Agent(args) => Invocation::Agent(args, cli.connection, json),
        Verb::Shim(args) => Invocation::Shim(args),
        verb => Invocation::Client(Box::new(Cli { verb, ..cli })),
    }
}

/// Reads what is wrong with a command line out of the parser's words for people.
fn usage_report(error: &clap::Error) -> Report {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines.next().unwrap_or("the command line is wrong");
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let report = Report::new(what).status(ExitStatus::USAGE);
    match lines.find_map(|line| line.strip_prefix("tip: ")) {
        Some(tip) => report.hint(tip),
        None => report.hint("sutler help shows the verbs, sutler VERB --help its options"),
    }
}

/// Carries out a client verb and prints what came of it.
pub async fn run(cli: Cli, io: Io, interrupts: Interrupts) -> ExitStatus {
    dispatch::run(cli, io, interrupts).await
}

#[cfg(test)]
mod tests;
