//! The client against the fake plugin: every call, and every way a call goes wrong.

mod bench;
mod calls;
mod faults;
