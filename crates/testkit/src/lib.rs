//! Test worlds and the oracle.
