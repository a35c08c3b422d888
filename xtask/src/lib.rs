//! What is done to the repository: set-up, packing, checks, tests, demo, measurements.
//! Each verb of `cargo xtask` is a module; none of it is part of the product.

pub mod bench;
pub mod command;
pub mod demo;
pub mod deny;
pub mod gate;
pub mod pack;
pub mod places;
pub mod setup;
pub mod steps;
pub mod test;
pub mod tidy;
