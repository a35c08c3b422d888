//! The agent's shell.
