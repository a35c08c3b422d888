//! Logs, error chains, redaction and failpoints.
