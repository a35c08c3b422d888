//! `sutler version`: this program's, and the master's if one answers.

use serde_json::{Value, json};

use super::{Outcome, connect};
use crate::args::Connection;
use crate::client::Answer;
use crate::context::pretty;
use crate::failure::{ExitStatus, Failure, Report};
use crate::io::Io;

/// Prints both versions. A master that does not answer is said on stderr, and is no failure.
///
/// # Errors
/// If stdout cannot be written.
pub async fn run(connection: &Connection, json: bool, io: &mut Io) -> Outcome {
    let ours = env!("CARGO_PKG_VERSION");
    let master = ask(connection).await;
    if json {
        let master = master.ok().map(|(_, answer)| answer);
        io.line(&pretty(&json!({ "version": ours, "master": master })))?;
        return Ok(ExitStatus::OK);
    }
    io.line(&format!("sutler {ours}"))?;
    match master {
        Ok((address, answer)) => {
            let version = answer
                .get("version")
                .and_then(Value::as_str)
                .unwrap_or("unknown");
            io.line(&format!("master {version} at {address}"))?;
        }
        Err(Failure::Told(report)) => io.note(&format!("no master: {}", first_words(&report))),
        Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
    }
    Ok(ExitStatus::OK)
}

async fn ask(connection: &Connection) -> Result<(String, Value), Failure> {
    let client = connect(connection)?;
    let answer: Answer<Value> = client.get("/v1/version").await?;
    Ok((client.address().to_owned(), answer.raw))
}

fn first_words(report: &Report) -> &str {
    &report.what
}
