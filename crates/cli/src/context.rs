//! What every client verb has at hand: connection, output, interrupts, and the clock.

use jiff::Timestamp;

use crate::client::Answer;
use crate::client::Client;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::io::Io;

/// One run of a client verb.
#[derive(Debug)]
pub struct Context {
    /// The master.
    pub client: Client,
    /// Where to print.
    pub io: Io,
    /// Ctrl-C.
    pub interrupts: Interrupts,
    /// Whether to print the API's JSON.
    pub json: bool,
    /// The clock.
    pub now: fn() -> Timestamp,
}

impl Context {
    /// Prints an answer: its JSON if asked, else the text that `human` makes of it.
    ///
    /// # Errors
    /// As [`Io::data`].
    pub fn show<T>(
        &mut self,
        answer: &Answer<T>,
        human: impl FnOnce(&T, Timestamp) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.io.line(&pretty(&answer.raw));
        }
        let text = human(&answer.value, (self.now)());
        self.io.data(text.as_bytes())
    }
}

/// Writes JSON for people and programs: keys sorted, two blanks deep.
pub fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("a JSON value has string keys only")
}
