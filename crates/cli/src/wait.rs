//! Waiting for something to settle: progress, interrupts, time limit, a master that is away.
//!
//! The master is asked again and again, each time holding its answer back until something
//! changed; nothing here depends on catching a change as it happens. Leaving a wait never
//! undoes what is waited for.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{CallError, Client};
use crate::context::Context;
use crate::failure::{ExitStatus, Failure, Report};
use crate::progress::{Progress, Status};
use crate::values::time::time;

/// How long the master may hold one answer back: short enough that progress looks alive.
pub const HOLD: Duration = Duration::from_secs(2);

/// An answer without news that came sooner was not held back: by an older master, by one that
/// is ending, or by something between us. The pause before the next question begins with it.
pub const ASK_EVERY_MIN: Duration = Duration::from_millis(100);

/// Longest such pause: what is waited for is seen at most this late.
pub(crate) const ASK_EVERY_MAX: Duration = Duration::from_secs(1);

/// How long a master may be away during a wait: longer than its restart takes.
pub(crate) const AWAY_MAX: Duration = Duration::from_secs(30);

/// Time between two tries to reach a master that is away.
pub const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Whether and how long to wait.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Return as soon as the request is recorded
    #[arg(long)]
    pub no_wait: bool,
    /// Stop waiting after this time; what was asked for goes on (exit status 3)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    pub timeout: Duration,
}

/// One wait, in words.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// What is waited for, for example `volume data to be ready`.
    pub what: String,
    /// The command that shows how it is.
    pub look_again: String,
    /// How long at most.
    pub timeout: Duration,
}

impl Waiting {
    fn still_going(&self, why: &str) -> Failure {
        Report::new(format!(
            "stopped waiting for {}{why}; it goes on without us",
            self.what
        ))
        .status(ExitStatus::STILL_GOING)
        .hint(format!("look again: {}", self.look_again))
        .into()
    }
}

/// What one answer means for a wait.
#[derive(Debug)]
pub enum Judged {
    /// Not yet; this is how far it is.
    Going(Status),
    Settled,
}

/// Asks until an answer is judged settled, and gives that answer.
///
/// # Errors
/// The call's failure; [`ExitStatus::STILL_GOING`] after the time limit or an interrupt.
pub async fn until<T>(
    context: &mut Context,
    waiting: &Waiting,
    ask: impl AsyncFn(&Client) -> Result<T, CallError>,
    judge: impl Fn(&T) -> Judged,
) -> Result<T, Failure> {
    let deadline = Instant::now() + waiting.timeout;
    let mut progress = Progress::default();
    let mut away = Away::default();
    let mut pace = Pace::default();
    let mut last = None;
    let client = context.client.clone();
    loop {
        let asked_at = Instant::now();
        // Dropping the question is safe: it changes nothing at the master.
        let answer = tokio::select! {
            answer = ask(&client) => answer,
            () = context.interrupts.next() => {
                return Err(waiting.still_going(""));
            }
            () = sleep_until(deadline) => {
                let why = format!(" after {:?}", waiting.timeout);
                return Err(waiting.still_going(&why));
            }
        };
        let pause = match answer {
            Ok(answer) => {
                away = Away::default();
                let status = match judge(&answer) {
                    Judged::Settled => return Ok(answer),
                    Judged::Going(status) => status,
                };
                progress.say(&mut context.io, &status);
                // Bytes of an image are no news: there are some at every question.
                let text = Some(status.text);
                let news = text != last;
                last = text;
                pace.after(news, asked_at.elapsed())
            }
            Err(error) => {
                progress.say(&mut context.io, &away.passing(error)?);
                RETRY_EVERY
            }
        };
        tokio::select! {
            () = rest(pause) => {}
            () = context.interrupts.next() => {
                return Err(waiting.still_going(""));
            }
        }
    }
}

/// When to ask again after an answer.
///
/// A master that holds its answers back is asked again at once: whatever it answers is either
/// news or the end of its patience. One that answers at once without news is asked ever less.
#[derive(Debug, Default)]
pub struct Pace {
    /// Answers in a row that were neither held back nor news.
    idle: u32,
}

impl Pace {
    /// Takes an answer that took `took`, and gives the pause before the next question.
    pub fn after(&mut self, news: bool, took: Duration) -> Duration {
        if news || took >= ASK_EVERY_MIN {
            self.idle = 0;
            return Duration::ZERO;
        }
        let factor = 1_u32.checked_shl(self.idle).unwrap_or(u32::MAX);
        self.idle = self.idle.saturating_add(1);
        let pause = ASK_EVERY_MIN.saturating_mul(factor).min(ASK_EVERY_MAX);
        pause.saturating_sub(took)
    }
}

/// Sleeps between two questions; not at all for zero, which a timer would round up.
pub async fn rest(pause: Duration) {
    #[cfg(test)]
    tests::RESTS.with_borrow_mut(|rests| rests.push(pause));
    if !pause.is_zero() {
        sleep(pause).await;
    }
}

/// How long the master has been away in one wait.
#[derive(Debug, Default)]
pub struct Away {
    since: Option<Instant>,
}

impl Away {
    /// Takes an error: gives what to show if it may pass, else gives it back.
    ///
    /// # Errors
    /// The error itself, if it cannot pass or the master was away for [`AWAY_MAX`].
    pub(crate) fn passing(&mut self, error: CallError) -> Result<Status, CallError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !error.is_passing() || since.elapsed() >= AWAY_MAX {
            return Err(error);
        }
        Ok(Status::new(format!("{error}; trying again")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The pauses made in this thread, and so in this test.
        pub(crate) static RESTS: RefCell<Vec<Duration>> = const { RefCell::new(Vec::new()) };
    }

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn no_pause_follows_news_or_an_answer_that_was_held_back() {
        let mut pace = Pace::default();
        assert_eq!(pace.after(true, AT_ONCE), Duration::ZERO);
        assert_eq!(pace.after(true, AT_ONCE), Duration::ZERO);
        assert_eq!(pace.after(false, HOLD), Duration::ZERO);
    }

    #[test]
    fn pauses_grow_to_a_bound_while_a_master_answers_at_once_without_news() {
        let mut pace = Pace::default();
        let pauses: Vec<u128> = (0..6)
            .map(|_| pace.after(false, AT_ONCE).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        for _ in 0..100 {
            let _ = pace.after(false, AT_ONCE);
        }
        assert_eq!(pace.after(false, AT_ONCE), ASK_EVERY_MAX);
        pace.after(true, AT_ONCE);
        let took = Duration::from_millis(30);
        assert_eq!(pace.after(false, took), ASK_EVERY_MIN - took);
    }
}
