//! The cluster's books, pure.
