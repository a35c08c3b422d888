//! How things look: tables, fields, ages and sizes. Pure: values in, text out.

pub mod human;
pub mod table;
