//! What every client verb has at hand: connection, output, interrupts, and the clock.

use jiff::Timestamp;

use crate::client::connection::Connection;
use crate::client::{Answer, Client, Target};
use crate::failure::{Failure, Look};
use crate::interrupts::Interrupts;
use crate::io::Io;
use crate::show::human::printable_json;

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
    /// How failures are looked at.
    pub(crate) fn look(&self) -> Look {
        let colour = self.io.colour;
        if self.json {
            Look::Json
        } else {
            Look::Text { colour }
        }
    }

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
pub(crate) fn pretty(value: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a JSON value has string keys only");
    printable_json(&text)
}

/// Finds the master and prepares the connection.
pub fn connect(connection: &Connection) -> Result<Client, Failure> {
    Ok(Client::new(&Target::find(connection)?)?)
}
