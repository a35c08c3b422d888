//! Wire words, no logic.
