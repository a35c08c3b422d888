//! The process that the agent's tests need beside themselves: what `sutler shim --dir DIR` is.

use std::path::Path;
use std::process::ExitCode;

use sutler_runtime::shim_main;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["--dir", dir] => shim_main(Path::new(dir)),
        _other => {
            eprintln!("usage: agent_shim --dir DIR");
            ExitCode::FAILURE
        }
    }
}
