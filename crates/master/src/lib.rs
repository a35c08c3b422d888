//! The master's shell.
