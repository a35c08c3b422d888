//! The law of forks: a child that has not executed yet keeps nothing of a store that is closed.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "only a hook before exec holds a fork still")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use sutler_store::{Schema, Store};

const SCHEMA: Schema = Schema {
    kind: "test",
    version: 1,
};

fn pipe() -> (File, File) {
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (from.into(), to.into())
}

#[test]
fn a_closed_store_opens_again_while_a_forked_child_has_yet_to_execute() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("books.redb");
    let store = Store::open(&path, SCHEMA).unwrap();
    let (mut is_forked, forked) = pipe();
    let (go, mut may_go) = pipe();
    let mut command = Command::new("/bin/true");
    let hold = move || {
        (&forked).write_all(b"!")?;
        (&go).read_exact(&mut [0])
    };
    // SAFETY: the hook only reads and writes two pipes that it owns, with bare system calls: it
    // neither allocates nor takes a lock that another thread may have held at the fork.
    unsafe { command.pre_exec(hold) };
    // `spawn` returns once the child executes, so it waits in a thread of its own.
    let child = std::thread::spawn(move || command.status());
    is_forked.read_exact(&mut [0]).unwrap();
    drop(store);
    let again = Store::open(&path, SCHEMA);
    may_go.write_all(b"!").unwrap();
    assert!(child.join().unwrap().unwrap().success());
    again.unwrap();
}
