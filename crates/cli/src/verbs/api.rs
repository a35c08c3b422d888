//! `sutler api`: the HTTP API by hand, with address and token found as by every verb.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::context::Context;
use crate::failure::{ExitStatus, Failure, Report};

const EXAMPLES: &str = "\
Examples:
  sutler api GET /v1/volumes
  sutler api GET /openapi.json
  sutler api POST /v1/volumes --data '{\"name\":\"data\",\"size\":1073741824}'
  sutler api POST /v1/plugins --data @plugin.json";

/// The methods that the API knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Method {
    /// Read.
    Get,
    /// Ask for a change.
    Post,
    /// Remove.
    Delete,
}

/// Options of `sutler api`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ApiArgs {
    /// The method
    #[arg(value_enum, ignore_case = true)]
    pub method: Method,
    /// The path, beginning with /
    #[arg(value_parser = path)]
    pub path: String,
    /// The body, JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON|@FILE")]
    pub data: Option<String>,
}

fn path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && !text.contains([' ', '#']) && !text.chars().any(char::is_control)
    {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is not a path of the API, like /v1/volumes"
        )),
    }
}

/// Calls and prints the answer as it comes.
///
/// # Errors
/// The call's failure.
pub async fn run(args: ApiArgs, context: &mut Context) -> Outcome {
    let method = match args.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Delete => reqwest::Method::DELETE,
    };
    let body = args.data.map(body).transpose()?;
    let mut stream = context.client.raw(method, &args.path, body).await?;
    let mut last = None;
    while let Some(part) = stream.next().await {
        let part = part?;
        last = part.last().copied().or(last);
        context.io.data(&part)?;
    }
    if last.is_some_and(|byte| byte != b'\n') {
        context.io.data(b"\n")?;
    }
    Ok(ExitStatus::OK)
}

fn body(data: String) -> Result<String, Failure> {
    let Some(file) = data.strip_prefix('@') else {
        return Ok(data);
    };
    let path = PathBuf::from(file);
    std::fs::read_to_string(&path).map_err(|error| {
        Report::new(format!("cannot read body file {}: {error}", path.display()))
            .status(ExitStatus::USAGE)
            .into()
    })
}
