//! The host's cgroups: which kind they are, what they counted, and their removal.

use std::io;

/// Which cgroups the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 1 controllers only.
    V1,
    /// Version 1 controllers, and a version 2 tree without controllers beside them.
    Hybrid,
    /// Version 2 only.
    V2,
}

/// Removes an empty cgroup parent (as given in specs) from every hierarchy; absent is success.
///
/// # Errors
/// If a cgroup still holds processes or cannot be removed.
pub fn remove_cgroup_parent(parent: &str) -> io::Result<()> {
    let _ = parent;
    unimplemented!("front only")
}
