//! From the verb that was asked for to the file that carries it out.

use clap::CommandFactory;
use jiff::Timestamp;

use crate::args::{Cli, Verb};
use crate::context::{Context, connect};
use crate::failure::{ExitStatus, Failure, Look, Report};
use crate::interrupts::Interrupts;
use crate::io::Io;
use crate::verbs::{
    Outcome, api, class, completion, events, node, operation, plugin, run as run_verb, task,
    version, volume,
};

/// Carries out a client verb and prints what came of it.
pub async fn run(cli: Cli, mut io: Io, interrupts: Interrupts) -> ExitStatus {
    let json = cli.json;
    io.quiet = json;
    let (outcome, mut io) = match cli.verb {
        Verb::Completion(args) => (completion::run(&args, Cli::command(), &mut io), io),
        Verb::Version => (version::run(&cli.connection, json, &mut io).await, io),
        verb => match connect(&cli.connection) {
            Err(failure) => (Err(failure), io),
            Ok(client) => {
                let now = Timestamp::now;
                let mut context = Context {
                    client,
                    io,
                    interrupts,
                    json,
                    now,
                };
                let outcome = with_master(verb, &mut context).await;
                (outcome, context.io)
            }
        },
    };
    finish(outcome, json, &mut io)
}

async fn with_master(verb: Verb, context: &mut Context) -> Outcome {
    match verb {
        Verb::Run(args) => run_verb::run(*args, context).await,
        Verb::Task(verb) => task::run(verb, context).await,
        Verb::Volume(verb) => volume::run(verb, context).await,
        Verb::Class(verb) => class::run(verb, context).await,
        Verb::Plugin(verb) => plugin::run(verb, context).await,
        Verb::Node(verb) => node::run(verb, context).await,
        Verb::Operation(verb) => operation::run(verb, context).await,
        Verb::Events(args) => events::run(&args, context).await,
        Verb::Api(args) => api::run(args, context).await,
        Verb::Up(_)
        | Verb::Master(_)
        | Verb::Agent(_)
        | Verb::Shim(_)
        | Verb::Completion(_)
        | Verb::Version => Err(Report::new("this verb needs no master").into()),
    }
}

fn finish(outcome: Outcome, json: bool, io: &mut Io) -> ExitStatus {
    match outcome {
        Ok(status) => status,
        Err(Failure::OutputClosed) => ExitStatus::OK,
        Err(Failure::Told(report)) => {
            let colour = io.colour;
            let look = if json {
                Look::Json
            } else {
                Look::Text { colour }
            };
            let text = report.rendered(look);
            io.aside(text.as_bytes());
            report.status
        }
    }
}
