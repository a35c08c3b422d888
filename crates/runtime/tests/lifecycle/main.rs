//! Containers from start to removal, with the real runc, as root: what the runtime module
//! promises, seen from outside. Every test makes its own world and leaves nothing behind.

mod ends;
mod limits;
mod logs;
mod mounts;
mod recovery;
mod starts;
mod world;
