//! The programs this plugin starts, and starting them.
//!
//! Owns the list, the search for what is missing and the text of a failure. They are found
//! through PATH, take no input, and nothing of their output is believed but the exit status.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Every program that must be found through PATH; the image has to carry them.
pub const REQUIRED_TOOLS: [&str; 5] =
    ["mkfs.ext4", "mkfs.xfs", "e2fsck", "resize2fs", "xfs_growfs"];

/// Most of a tool's complaint that goes into an error.
const COMPLAINT_BYTES_MAX: usize = 600;

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("cannot start {tool}")]
    Start {
        /// The program.
        tool: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("{tool} failed ({status}): {complaint}")]
    Failed {
        /// The program.
        tool: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        complaint: String,
    },
}

/// The required tools that PATH does not lead to.
pub fn missing() -> Vec<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found = |tool: &&str| folders.iter().any(|folder| is_program(&folder.join(tool)));
    REQUIRED_TOOLS
        .into_iter()
        .filter(|tool| !found(tool))
        .collect()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a tool to its end; exit statuses up to `status_max` count as success.
///
/// # Errors
/// Not started, ended by a signal, or a higher status: with the end of what it printed.
pub fn run<I, A>(tool: &'static str, args: I, status_max: i32) -> Result<(), ToolError>
where
    I: IntoIterator<Item = A>,
    A: AsRef<OsStr>,
{
    let output = Command::new(tool)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ToolError::Start { tool, source })?;
    if output.status.code().is_some_and(|code| code <= status_max) {
        return Ok(());
    }
    let printed = [output.stdout, output.stderr].concat();
    let complaint = complaint(&String::from_utf8_lossy(&printed));
    Err(ToolError::Failed {
        tool,
        status: output.status,
        complaint,
    })
}

/// The end of the output on one line.
fn complaint(printed: &str) -> String {
    let line = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    let start = line.ceil_char_boundary(line.len().saturating_sub(COMPLAINT_BYTES_MAX));
    match line.is_empty() {
        true => "it printed nothing".to_owned(),
        false => line[start..].to_owned(),
    }
}
