//! Values of options: their grammar, each with precise errors. Pure.

pub mod image;
pub mod key_value;
pub mod limits;
pub mod time;
pub mod volume_arg;
