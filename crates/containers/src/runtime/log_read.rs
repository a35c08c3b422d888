//! log_read
