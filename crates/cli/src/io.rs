//! Our stdout and stderr: data to the first, all else to the second.
//!
//! Owns the answer to a reader that went away: [`Failure::OutputClosed`], never a panic. Owns
//! whether colour and moving progress are wanted (`NO_COLOR`, `TERM`, terminals).

use std::io::{ErrorKind, IsTerminal, Write};

use crate::failure::{Failure, Report};

/// Where a command prints.
pub struct Io {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Whether stderr is a terminal that can move its cursor.
    pub moving: bool,
    /// Whether stderr may be coloured.
    pub colour: bool,
    /// Whether progress and advice stay unsaid: stderr is read by a program.
    pub(crate) quiet: bool,
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io")
            .field("moving", &self.moving)
            .finish_non_exhaustive()
    }
}

impl Io {
    /// Takes the process's own.
    pub fn of_process() -> Self {
        let smart = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let moving = std::io::stderr().is_terminal() && smart;
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
        Self {
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            moving,
            colour: moving && !no_colour,
            quiet: false,
        }
    }

    #[cfg(test)]
    /// Takes two writers; neither is a terminal.
    pub(crate) fn of_writers(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self {
            out,
            err,
            moving: false,
            colour: false,
            quiet: false,
        }
    }

    /// Writes data and flushes it.
    ///
    /// # Errors
    /// [`Failure::OutputClosed`] if the reader went away; a report for any other fault.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out
            .write_all(bytes)
            .and_then(|()| self.out.flush())
            .map_err(|error| match error.kind() {
                ErrorKind::BrokenPipe => Failure::OutputClosed,
                _ => Report::new(format!("cannot write to stdout: {error}")).into(),
            })
    }

    /// Writes text that ends its line as data.
    ///
    /// # Errors
    /// As [`Io::data`].
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.data(format!("{}\n", text.trim_end_matches('\n')).as_bytes())
    }

    /// Writes bytes to stderr. Nobody is left to tell when that fails.
    pub fn aside(&mut self, bytes: &[u8]) {
        let _ = self.err.write_all(bytes).and_then(|()| self.err.flush());
    }

    /// Writes a line to stderr, unless a program reads it.
    pub fn note(&mut self, text: &str) {
        if self.quiet {
            return;
        }
        self.aside(format!("{text}\n").as_bytes());
    }
}
