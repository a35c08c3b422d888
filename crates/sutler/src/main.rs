//! The sutler program: reads the command line and becomes what it says.
//!
//! Owns the wiring of master, agent and shim into processes. What a command means is in
//! `sutler-cli`, what a master or agent does is in their crates; nothing is decided here.

mod agent;
mod checks;
mod host;
mod local;
mod master;
mod notify;
mod run;
mod say;
mod stop;
mod up;

use std::process::ExitCode;

use sutler_cli::{Interrupts, Invocation, Io};

fn main() -> ExitCode {
    match sutler_cli::parse(std::env::args_os()) {
        Invocation::Shim(args) => sutler_runtime::shim_main(&args.dir),
        Invocation::Exit(status) => status.into(),
        Invocation::Client(cli) => run::client(sutler_cli::run(
            *cli,
            Io::of_process(),
            Interrupts::from_signals(),
        )),
        Invocation::Up(args, connection, json) => {
            run::daemon(&args.log.clone(), json, up::serve(*args, connection, json))
        }
        Invocation::Master(args, connection, json) => run::daemon(
            &args.log.clone(),
            json,
            master::serve(*args, connection, json),
        ),
        Invocation::Agent(args, connection, json) => run::daemon(
            &args.log.clone(),
            json,
            agent::serve(*args, connection, json),
        ),
    }
}
