//! What an agent takes away when it has ended and nothing of it runs: its cgroups and its folder
//! of sockets. What holds a container, or anything else that is in use, stays.

use std::fs;
use std::io::ErrorKind;

use sutler_host::remove::remove_tree;
use sutler_runtime::{is_at_rest, remove_cgroup_parent};
use tracing::debug;

use crate::layout::Layout;

/// Takes away what a start makes again. Blocks; call it when the shell has ended.
pub(crate) fn leave(layout: &Layout) {
    if !is_all_at_rest(layout) {
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

/// Whether no container runs. The folders of those that have ended stay, with their logs: they
/// hold nothing. What cannot be read may hold one.
fn is_all_at_rest(layout: &Layout) -> bool {
    let Ok(mut folders) = fs::read_dir(layout.containers()) else {
        return false;
    };
    let ended = folders.all(|folder| folder.is_ok_and(|folder| is_at_rest(&folder.path())));
    // What the runtime knows may have been left by a shim that was killed.
    let known = fs::read_dir(layout.runc_state());
    let known_none = match known {
        Ok(mut known) => known.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    ended && known_none
}
