//! Holds no code: its dependencies name every feature that the workspace needs of a crate, so
//! that each build of a part uses the same builds of dependencies as that of the whole.
