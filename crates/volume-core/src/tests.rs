//! Laws of a volume's life: tables, crashes at every step, random histories.

mod crash;
mod lies;
mod random;
mod table;
pub(crate) mod world;
