//! The two processes that the runtime tests need beside themselves: a shim, and an agent that can
//! be killed.
//!
//! `shim shim --dir DIR` is what `sutler shim --dir DIR` is; `shim start CONFIG_FILE` starts one
//! container, says so, and then waits to be killed.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use sutler_runtime::{ContainerSpec, Containers, ContainersConfig, Runc, shim_main};

/// What `start` is told, as JSON.
#[derive(serde::Deserialize)]
struct StartConfig {
    containers_dir: std::path::PathBuf,
    runtime: Runc,
    spec: ContainerSpec,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    match words.as_slice() {
        ["shim", "--dir", dir] => shim_main(Path::new(dir)),
        ["start", config] => start(Path::new(config)),
        _other => {
            eprintln!("usage: shim shim --dir DIR | shim start CONFIG_FILE");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Path) -> ExitCode {
    let text = std::fs::read(config).expect("the configuration is readable");
    let config: StartConfig = serde_json::from_slice(&text).expect("the configuration is JSON");
    let me = std::env::current_exe().expect("our own path is known");
    let containers = Containers::new(ContainersConfig {
        containers_dir: config.containers_dir,
        shim_command: vec![me.into(), "shim".into()],
        runtime: config.runtime,
    });
    let runtime = tokio::runtime::Runtime::new().expect("tokio starts");
    let started = runtime
        .block_on(containers.start(&config.spec))
        .expect("the container starts");
    println!("{}", started.pid);
    runtime.block_on(std::future::pending::<()>());
    ExitCode::SUCCESS
}
