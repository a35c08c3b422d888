//! What an agent takes away when it has ended and nothing of it runs: its cgroups and its folder
//! of sockets. What holds a container, or anything else that is in use, stays.

use std::fs;

use sutler_host::remove::remove_tree;
use sutler_runtime::remove_cgroup_parent;
use tracing::debug;

use crate::layout::Layout;

/// Takes away what a start makes again. Blocks; call it when the shell has ended.
pub(crate) fn leave(layout: &Layout) {
    // A container's folder is there before its cgroup and goes after it. What cannot be read may
    // hold one.
    let containers = fs::read_dir(layout.containers());
    if containers.map_or(true, |mut found| found.next().is_some()) {
        return;
    }
    // Nothing here is worth a word to the operator: what stays is used again by the next start.
    if let Err(error) = remove_cgroup_parent(&layout.cgroup()) {
        debug!(cgroup = layout.cgroup(), %error, "cgroup stays");
    }
    if let Err(error) = remove_tree(layout.run()) {
        debug!(%error, "sockets stay");
    }
    // Fails while another agent of this host has a folder in it.
    if let Some(shared) = layout.run().parent() {
        let _ = fs::remove_dir(shared);
    }
}
