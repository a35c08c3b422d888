//! Task and plugin lifecycles, pure.
