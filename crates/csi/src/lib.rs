//! Speaking CSI.
