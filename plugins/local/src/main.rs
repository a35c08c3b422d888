//! The sutler-local program: arguments in, exit status out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use sutler_local::host::{DRIVER_NAME, Host};
use sutler_local::locks::Locks;
use sutler_local::pool::Pool;
use sutler_local::server::{serve, socket_path};
use sutler_telemetry::logging;
use tokio::signal::unix::{SignalKind, signal};

/// Calls are answered on threads of their own; these only move bytes.
const NETWORK_THREADS: usize = 2;

/// A CSI driver for a node's own disk.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    /// The socket to listen on, as unix:///PATH
    #[arg(long, env = "CSI_ENDPOINT")]
    endpoint: String,
    /// The orchestrator's name for this node
    #[arg(long, value_parser = node_id)]
    node_id: String,
    /// Where the volumes are kept
    #[arg(long)]
    state_dir: PathBuf,
    /// Bytes for volumes [default: the file system minus a twentieth, at most 10 GiB]
    #[arg(long)]
    capacity_bytes: Option<u64>,
    /// The name under which the plugin is known
    #[arg(long, default_value = DRIVER_NAME)]
    driver_name: String,
    /// error, warn, info, debug or a filter
    #[arg(long, default_value = "info")]
    log_level: String,
}

/// CSI allows 256 bytes, and 128 in a topology segment, where it appears too.
const NODE_ID_BYTES_MAX: usize = 128;

fn node_id(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("a node id is not empty".to_owned()),
        1..=NODE_ID_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("a node id has at most {NODE_ID_BYTES_MAX} bytes")),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = logging::init(logging::Format::Human, &args.log_level) {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(cause = sutler_telemetry::chain(&*error), "cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let socket = socket_path(&args.endpoint)?;
    let pool = Pool::open(&args.state_dir, args.capacity_bytes)?;
    let host = Arc::new(Host {
        pool,
        locks: Locks::default(),
        node_id: args.node_id,
        driver_name: args.driver_name,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let stop = async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("stopping: calls in flight are finished, volumes stay as they are");
        };
        Ok(serve(host, &socket, stop).await?)
    })
}
