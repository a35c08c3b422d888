//! Progress of a wait: one moving line on a terminal, one plain line per change elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sutler_api::task::PullProgressView;
use sutler_ids::Bytes;

use crate::io::Io;
use crate::show::human::printable;

/// How often the moving line is drawn: often enough to look alive, rarely enough to cost nothing.
const DRAW_EVERY: Duration = Duration::from_millis(120);

/// How far something is, as one line. Holds no age, so that it changes only with the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The line.
    pub text: String,
    /// Bytes done, where bytes are what is waited for.
    pub pull: Option<PullProgressView>,
}

impl Status {
    /// Makes one without bytes.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            pull: None,
        }
    }

    fn moving_text(&self) -> String {
        match self.pull {
            Some(PullProgressView {
                done,
                total: Bytes(0),
            }) => {
                format!("{} {done}", self.text)
            }
            Some(PullProgressView { done, total }) => {
                format!("{} {done} of {total}", self.text)
            }
            None => self.text.clone(),
        }
    }
}

/// Shows one wait. Dropping it removes the moving line.
#[derive(Debug, Default)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last: Option<String>,
}

impl Progress {
    /// Shows where it is now.
    pub fn say(&mut self, io: &mut Io, status: &Status) {
        if io.quiet {
            return;
        }
        if io.moving {
            let text = printable(&status.moving_text());
            self.bar.get_or_insert_with(new_bar).set_message(text);
        } else if self.last.as_ref() != Some(&status.text) {
            io.note(&printable(&status.text));
            self.last = Some(status.text.clone());
        }
    }

    /// Writes a line that stays.
    pub fn note(&mut self, io: &mut Io, text: &str) {
        self.clear();
        io.note(&printable(text));
    }

    /// Removes the moving line; the next [`Progress::say`] draws a new one.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
        .expect("the template is a constant of valid form");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(DRAW_EVERY);
    bar
}
