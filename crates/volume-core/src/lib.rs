//! The volume lifecycle, pure.
