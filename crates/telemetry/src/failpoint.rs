//! Failpoints: named places in the program where a crash test ends the process.
//!
//! A name is `<owner>.<what>.<step>.before|after`, for example
//! `agent.volume.call.node_publish.after`. Unarmed, a hit costs one load of a static.
//!
//! | variable | meaning |
//! |---|---|
//! | `SUTLER_FAILPOINT=NAME` or `NAME:N` | SIGKILL to self at the (N-th) hit of NAME |
//! | `SUTLER_FAILPOINT_ACTION=stop` | SIGSTOP instead, so that a test can kill somebody else |
//! | `SUTLER_FAILPOINT_TRACE=FILE` | append each hit's name to FILE, one a line |

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Armed {
    fatal: Option<Fatal>,
    trace: Option<File>,
}

struct Fatal {
    name: String,
    at_hit: u64,
    hits: AtomicU64,
    stops_only: bool,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Passes the place `name`: does nothing unless a crash test has armed this process.
///
/// # Panics
/// When armed with a malformed count or an unwritable trace file: a crash test that tests
/// nothing must not pass.
pub fn hit(name: &str) {
    let Some(armed) = ARMED.get_or_init(from_environment) else {
        return;
    };
    if let Some(mut trace) = armed.trace.as_ref() {
        trace
            .write_all(format!("{name}\n").as_bytes())
            .expect("failpoint trace can be written");
    }
    let Some(fatal) = armed.fatal.as_ref().filter(|fatal| fatal.name == name) else {
        return;
    };
    // The strongest, for nobody waits here: the count decides which hit is the last.
    if fatal.hits.fetch_add(1, Ordering::SeqCst) + 1 == fatal.at_hit {
        if fatal.stops_only {
            stop_self();
        } else {
            kill_self();
        }
    }
}

fn from_environment() -> Option<Armed> {
    let fatal = std::env::var("SUTLER_FAILPOINT")
        .ok()
        .filter(|text| !text.is_empty());
    let trace = std::env::var_os("SUTLER_FAILPOINT_TRACE").filter(|path| !path.is_empty());
    if fatal.is_none() && trace.is_none() {
        return None;
    }
    Some(Armed {
        fatal: fatal.map(|text| parse(&text)),
        trace: trace.map(|path| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .expect("failpoint trace opens")
        }),
    })
}

fn parse(text: &str) -> Fatal {
    let (name, at_hit) = match text.rsplit_once(':') {
        Some((name, count)) => (
            name,
            count.parse().expect("SUTLER_FAILPOINT is NAME or NAME:N"),
        ),
        None => (text, 1),
    };
    Fatal {
        name: name.to_owned(),
        at_hit,
        hits: AtomicU64::new(0),
        stops_only: stops_only(),
    }
}

fn stops_only() -> bool {
    match std::env::var("SUTLER_FAILPOINT_ACTION").as_deref() {
        Ok("stop") => true,
        Ok("kill") | Err(_) => false,
        Ok(other) => panic!("SUTLER_FAILPOINT_ACTION is kill or stop, not {other:?}"),
    }
}

/// Holds the whole process until somebody sends SIGCONT.
fn stop_self() {
    // Our own process always exists and takes SIGSTOP, so the error cannot happen.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
}

fn kill_self() -> ! {
    // Our own process always exists and takes SIGKILL, so the error cannot happen.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}
