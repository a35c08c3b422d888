//! Output of containers, for `task logs` and `plugin logs`.

use clap::Args;
use serde_json::json;

use super::Outcome;
use crate::context::{Context, pretty};
use crate::failure::{ExitStatus, Failure, Report};

/// What to show of an output.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Stay until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
    /// Only its standard output
    #[arg(long, conflicts_with = "stderr")]
    pub stdout: bool,
    /// Only its standard error
    #[arg(long)]
    pub stderr: bool,
}

impl LogArgs {
    fn query(&self) -> String {
        let stream = match (self.stdout, self.stderr) {
            (true, _) => "stdout",
            (_, true) => "stderr",
            (false, false) => "both",
        };
        let tail = self
            .tail
            .map(|lines| format!("&tail={lines}"))
            .unwrap_or_default();
        format!("stream={stream}&follow={}{tail}", self.follow)
    }
}

/// Prints the output found at `path`, which may have a query, to stdout.
///
/// # Errors
/// The call's failure; usage, if it should be followed as one JSON document.
pub async fn print(context: &mut Context, path: &str, args: &LogArgs) -> Outcome {
    if context.json && args.follow {
        let report = Report::new("--json prints one document, which --follow never ends")
            .status(ExitStatus::USAGE)
            .hint("leave one of them out");
        return Err(report.into());
    }
    let joint = if path.contains('?') { '&' } else { '?' };
    let mut stream = context
        .client
        .stream(&format!("{path}{joint}{}", args.query()))
        .await?;
    if context.json {
        let mut all = Vec::new();
        while let Some(part) = stream.next().await {
            all.extend_from_slice(&part?);
        }
        let text = String::from_utf8_lossy(&all);
        context.io.line(&pretty(&json!({ "output": text })))?;
        return Ok(ExitStatus::OK);
    }
    while let Some(part) = stream.next().await {
        context.io.data(&part.map_err(Failure::from)?)?;
    }
    Ok(ExitStatus::OK)
}
