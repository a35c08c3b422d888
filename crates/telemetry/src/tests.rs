//! Chains, secrets, and a child process that meets a failpoint.

use std::error::Error;
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;

#[derive(Debug)]
struct Fault(&'static str, Option<Box<Fault>>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1
            .as_deref()
            .map(|cause| cause as &(dyn Error + 'static))
    }
}

#[test]
fn a_chain_names_each_cause_once() {
    let cause = Fault("disk is gone", None);
    let error = Fault(
        "read x",
        Some(Box::new(Fault("open x: disk is gone", Some(cause.into())))),
    );
    assert_eq!(chain(&error), "read x: open x: disk is gone");
}

#[test]
fn a_secret_never_prints() {
    let secret = Secret::new("hunter2".to_owned());
    assert_eq!(
        format!("{secret} {secret:?} {:?}", Some(&secret)),
        "[secret] [secret] Some([secret])"
    );
    assert_eq!(secret.reveal(), "hunter2");
}

/// The body of the child process of the failpoint tests; not a test of its own.
#[test]
fn child_passes_three_places() {
    for name in ["a.before", "b.before", "b.before", "c.before"] {
        failpoint::hit(name);
    }
}

fn child(failpoint: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::child_passes_three_places"])
        .env("SUTLER_FAILPOINT", failpoint)
        .env("SUTLER_FAILPOINT_TRACE", &trace)
        .output()
        .unwrap()
        .status;
    (status.signal(), std::fs::read_to_string(trace).unwrap())
}

#[test]
fn an_armed_failpoint_kills_at_its_hit_and_nowhere_else() {
    assert_eq!(child("a.before"), (Some(9), "a.before\n".to_owned()));
    let twice = "a.before\nb.before\nb.before\n";
    assert_eq!(child("b.before:2"), (Some(9), twice.to_owned()));
    assert_eq!(child("z.before"), (None, format!("{twice}c.before\n")));
}
