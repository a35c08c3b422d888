//! `sutler version`: this program's, and the master's if one answers.

use serde_json::{Value, json};

use super::Outcome;
use crate::client::Answer;
use crate::client::connection::Connection;
use crate::context::connect;
use crate::context::pretty;
use crate::failure::{ExitStatus, Failure};
use crate::io::Io;

/// Prints both versions. Without the master's, ours is on stdout all the same, and why there is
/// no other is the failure: a script that waits for a cluster is not told of one too early.
///
/// # Errors
/// If no master answers, or stdout cannot be written.
pub async fn run(connection: &Connection, json: bool, io: &mut Io) -> Outcome {
    let ours = env!("CARGO_PKG_VERSION");
    let master = ask(connection).await;
    if json {
        let master = master.as_ref().ok().map(|(_, answer)| answer);
        io.line(&pretty(&json!({ "version": ours, "master": master })))?;
    } else {
        io.line(&format!("sutler {ours}"))?;
    }
    let (address, answer) = master?;
    if !json {
        let version = answer
            .get("version")
            .and_then(Value::as_str)
            .unwrap_or("unknown");
        io.line(&format!("master {version} at {address}"))?;
    }
    Ok(ExitStatus::OK)
}

async fn ask(connection: &Connection) -> Result<(String, Value), Failure> {
    let client = connect(connection)?;
    let answer: Answer<Value> = client.get("/v1/version").await?;
    Ok((client.address().to_owned(), answer.raw))
}
