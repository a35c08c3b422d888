//! The words that every part shares and no wire owns: identifiers, sizes, clocks, and how a
//! failure is told. Pure, and the one crate of ours that every core may use.

mod id;
mod now;
mod problem;
mod size;

pub use id::*;
pub use now::{Boottime, Now};
pub use problem::{ErrorKind, Problem, SaidBy};
pub use size::{Bytes, SizeError};
