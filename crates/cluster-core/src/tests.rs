//! Tables over the books: each event against a small world, and the laws over random ones.

mod agents;
mod plugins;
mod random;
mod removal;
mod tasks;
mod unknown;
mod volumes;
mod world;
