//! Runtimes: a small one for a command, a threaded one for a process that stays.

use std::future::Future;
use std::num::NonZero;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit};
use sutler_cli::verbs::up::{LogArgs, LogFormat};
use sutler_cli::{ExitStatus, Failure, Json, Report};
use sutler_telemetry::logging::{self, Format};
use tokio::runtime::Builder;

use crate::say;

/// Most threads that run our tasks. They wait for disks, plugins and the network nearly all of
/// the time, so a large host needs no more.
const THREADS_MAX: usize = 8;

/// Runs a command to its end.
pub fn client(command: impl Future<Output = ExitStatus>) -> ExitCode {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command).into(),
        Err(error) => fail(&Report::of_error(&error), Json(false)),
    }
}

/// Runs a process that stays, until it ends or cannot go on.
pub fn daemon(
    log: &LogArgs,
    json: Json,
    process: impl Future<Output = Result<(), Failure>>,
) -> ExitCode {
    // What is private has a mode of its own; everything else is the same whoever starts us, also
    // what other programs make for us.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let format = match log.log_format {
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    };
    if let Err(error) = logging::init(format, &log.log_level) {
        return fail(&Report::of_error(&error).status(ExitStatus::USAGE), json);
    }
    raise_descriptors();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(THREADS_MAX);
    let runtime = match Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Report::of_error(&error), json),
    };
    match runtime.block_on(process) {
        Ok(()) | Err(Failure::OutputClosed) => ExitStatus::OK.into(),
        Err(Failure::Told(report)) => fail(&report, json),
    }
}

/// Takes all the descriptors that we may have: the usual 1024 is a limit for programs that use
/// `select`, and what we hold grows with agents, users, tasks and plugins.
fn raise_descriptors() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        let now = limit.current;
        tracing::warn!(%error, now, "the limit of open files cannot be raised");
    }
}

fn fail(report: &Report, json: Json) -> ExitCode {
    match json {
        Json(true) => say::failure(report),
        Json(false) => say::report(report),
    }
    report.status.into()
}
