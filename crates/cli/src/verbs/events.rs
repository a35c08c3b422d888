//! `sutler events`: the master's stream of changes, one line each.

use clap::Args;
use serde_json::Value;

use super::Outcome;
use crate::context::Context;
use crate::failure::{Failure, Report};
use crate::show::human::printable;
use crate::show::human::printable_json;

const EXAMPLES: &str = "\
Examples:
  sutler events
  sutler events --json | jq -c .

It prints changes from now on, until Ctrl-C. With --json each line is one JSON document.";

/// Most bytes of one line of the stream: far over any event, so that a broken master cannot
/// fill our memory.
const LINE_MAX: usize = 4 << 20;

/// Options of `sutler events`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EventsArgs {}

/// Prints events until the stream ends.
///
/// # Errors
/// The call's failure; a stream that the master ends is one.
pub async fn run(args: &EventsArgs, context: &mut Context) -> Outcome {
    let EventsArgs {} = args;
    let mut stream = context.client.stream("/v1/events").await?;
    let mut parser = SseParser::default();
    while let Some(part) = stream.next().await {
        for event in parser.feed(&part?)? {
            let line = if context.json {
                printable_json(&event.data)
            } else {
                human(&event)
            };
            context.io.line(&line)?;
        }
    }
    Err(Report::new("the master ended the stream of events")
        .hint("is it restarting? Run the command again")
        .into())
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    name: String,
    data: String,
}

/// Fields of an object that tell who changed and how, in the order in which they are shown.
const TELLING: [&str; 8] = [
    "name",
    "task_id",
    "operation_uuid",
    "kind",
    "volume",
    "state",
    "agent",
    "connected",
];

fn human(event: &Event) -> String {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&event.data) else {
        return printable(&format!("{} {}", event.name, event.data)).replace('\n', " ");
    };
    let field = |key: &&str| object.get(*key).filter(|value| !value.is_null());
    let shown = TELLING.iter().filter_map(|key| Some(plain(field(key)?)));
    let mut words: Vec<String> = std::iter::once(event.name.clone()).chain(shown).collect();
    if words.len() == 1 {
        words.push(event.data.clone());
    }
    if let Some(what) = object
        .get("problem")
        .and_then(|problem| problem.get("what"))
    {
        words.push(format!("({})", plain(what)));
    }
    printable(&words.join(" ")).replace('\n', " ")
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Cuts a byte stream into events (WHATWG HTML, server-sent events); comments and fields that
/// we do not use are skipped.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    name: String,
    data: Vec<String>,
}

impl SseParser {
    /// Takes bytes and gives the events that they complete.
    ///
    /// # Errors
    /// If a line is longer than [`LINE_MAX`].
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                events.extend(self.end_line());
            } else if self.line.len() == LINE_MAX {
                let text = format!("the master sent an event of more than {LINE_MAX} bytes");
                return Err(Report::new(text).into());
            } else {
                self.line.push(byte);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            return (!data.is_empty()).then(|| Event {
                name,
                data: data.join("\n"),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.name = value.to_owned(),
            "data" => self.data.push(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_the_bytes_are_cut() {
        let text =
            b": hello\r\nevent: volume\ndata: {\"state\":\"ready\",\r\ndata: \"name\":\"a\"}\n\n\n\
                     data: plain\n\n";
        for cut in 0..text.len() {
            let mut parser = SseParser::default();
            let mut events = parser.feed(&text[..cut]).unwrap();
            events.extend(parser.feed(&text[cut..]).unwrap());
            let lines: Vec<String> = events.iter().map(human).collect();
            assert_eq!(lines, ["volume a ready", " plain"], "cut at {cut}");
        }
    }
}
