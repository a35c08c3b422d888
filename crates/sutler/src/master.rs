//! `sutler master`: a master in a process of its own.

use std::path::PathBuf;

use serde_json::json;
use sutler_cli::client::connection::Connection;
use sutler_cli::client::{Client, Target};
use sutler_cli::verbs::master::MasterArgs;
use sutler_cli::verbs::up::ServeArgs;
use sutler_cli::{ExitStatus, Failure, Json, Report};
use sutler_master::{Master, MasterConfig, MasterEnd, MasterHandle, StartError};
use sutler_store::OpenError;

use crate::stop::Stop;
use crate::{host, notify, say};

/// Said at each start without a token.
const INSECURE: &str = "warning: --insecure-loopback: every process of this host, and every \
                        task, can call the API without a token and so do everything";

/// Serves until asked to end.
///
/// # Errors
/// What keeps the master from starting, or from going on.
pub async fn serve(args: MasterArgs, connection: Connection, json: Json) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let state_dir = host::absolute(&connection.state_dir)?;
    let mut master = tokio::select! {
        master = start(&args.serve, state_dir.clone()) => master?,
        // Whatever was begun is taken up again by the next start.
        () = stop.asked() => return Ok(()),
    };
    let address = own_client(&state_dir)?.address().to_owned();
    say::line(&format!("  ✓ master  {address}"));
    say::line(&format!(
        "  next: copy {} to a node and run there: sutler agent --join {}",
        state_dir.join(host::JOIN_FILE).display(),
        host::JOIN_FILE
    ));
    if json.0 {
        say::document(&json!({ "ready": true, "address": address, "state_dir": state_dir }));
    }
    notify::ready();
    tokio::select! {
        end = master.ended() => ended(end),
        () = stop.asked() => ended(master.shutdown().await),
    }
}

/// Starts a master.
///
/// # Errors
/// What keeps it from starting.
pub async fn start(args: &ServeArgs, state_dir: PathBuf) -> Result<MasterHandle, Failure> {
    let mut config = MasterConfig::new(state_dir, args.listen);
    config.trash_retention = args.trash_retention;
    config.insecure_loopback = args.insecure_loopback;
    config.names = args.advertise.clone();
    let master = Master::start(config)
        .await
        .map_err(|error| failed(&error))?;
    if args.insecure_loopback {
        say::line(INSECURE);
    }
    Ok(master)
}

/// Tells what keeps a master from starting or going on, and what to do where the text of the
/// error does not say it.
fn failed(error: &StartError) -> Failure {
    let report = Report::of_error(error);
    match error {
        StartError::InsecureListen { .. } => report
            .status(ExitStatus::USAGE)
            .hint("leave --insecure-loopback out, or listen on 127.0.0.1"),
        StartError::StateDir { .. } | StartError::WriteFile { .. } => {
            report.hint("run it as root, or choose another folder with --state-dir DIR")
        }
        StartError::Listen { .. } => {
            report.hint("choose another address with --listen IP:PORT; in use? see: ss -ltnp")
        }
        StartError::OpenBooks {
            source: OpenError::Locked { .. },
        } => report.hint(
            "another sutler runs with this state directory: stop it, or choose another with \
             --state-dir DIR",
        ),
        StartError::OpenBooks { .. }
        | StartError::LoadBooks { .. }
        | StartError::DamagedBooks { .. }
        | StartError::ReadBooks { .. }
        | StartError::RecoverBooks { .. }
        | StartError::CommitBooks { .. }
        | StartError::ReadFile { .. }
        | StartError::BadToken { .. }
        | StartError::Certificate { .. }
        | StartError::PartEnded { .. } => report,
    }
    .into()
}

/// Makes the client that this process uses for its own master, as every command does.
///
/// # Errors
/// If the master's own files are of no use.
pub(crate) fn own_client(state_dir: &std::path::Path) -> Result<Client, Failure> {
    Ok(Client::new(&Target::of_state_dir(state_dir)?)?)
}

/// Reads how a master ended.
///
/// # Errors
/// If it could not go on.
pub fn ended(end: MasterEnd) -> Result<(), Failure> {
    match end {
        MasterEnd::ShutDown => Ok(()),
        MasterEnd::Failed(error) => Err(failed(&error)),
    }
}
