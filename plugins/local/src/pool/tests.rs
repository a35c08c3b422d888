//! Laws of the pool.
