//! What a process that stays tells its operator: start-up lines and failures on stderr, one
//! machine-readable line on stdout. A closed terminal never ends the process.

use std::io::{IsTerminal, Write};

use sutler_cli::Report;
use sutler_cli::human::printable;

/// Writes one line to stderr.
pub fn line(text: &str) {
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

/// Writes one JSON document as a line to stdout.
pub fn document(value: &serde_json::Value) {
    let mut out = std::io::stdout();
    // Who asked for the line and closed the pipe does not want it any more.
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

/// Writes a failure to stderr as one JSON object.
pub fn failure(report: &Report) {
    let _ = std::io::stderr().write_all(report.render_json().as_bytes());
}

/// Writes a failure to stderr.
pub fn report(report: &Report) {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    let colour = std::io::stderr().is_terminal() && !no_colour;
    let _ = std::io::stderr().write_all(report.render(colour).as_bytes());
}
