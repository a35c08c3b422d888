//! Where log lines go and how they look: one subscriber for the whole process, on stderr.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format {
                text: other.to_owned(),
            }),
        }
    }
}

/// Says why logging could not be set up.
#[derive(Debug)]
pub enum LoggingError {
    /// Not a format.
    Format {
        /// What was given.
        text: String,
    },
    /// Not a level or filter.
    Level {
        /// What was given.
        text: String,
    },
    /// Set up before in this process.
    Twice,
}

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { text } => write!(f, "log format {text:?} is not human or json"),
            Self::Level { text } => write!(
                f,
                "log level {text:?} is not error, warn, info, debug, trace or a filter such as \
                 info,sutler_agent=debug"
            ),
            Self::Twice => f.write_str("logging is already set up in this process"),
        }
    }
}

impl std::error::Error for LoggingError {}

/// Sends the log of this process to stderr.
///
/// `level` is a level or a filter (`info,sutler_agent=debug`).
///
/// # Errors
/// [`LoggingError`] for a bad level, or when called a second time.
pub fn init(format: Format, level: &str) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LoggingError::Level {
        text: level.to_owned(),
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime);
    let done = match format {
        Format::Human => lines.with_ansi(colour()).finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    done.map_err(|_| LoggingError::Twice)
}

fn colour() -> bool {
    use std::io::IsTerminal;
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal()
}
