//! Laws of a volume's life: tables, crashes at every step, random histories.

mod crash;
mod random;
mod table;
mod world;
