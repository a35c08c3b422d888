//! log_write
