//! What an agent keeps outside its state folder, found by its name alone: a folder of sockets
//! and of the runtime's state, and a cgroup of the same name.

use std::fs;
use std::path::{Path, PathBuf};

use super::cleanup::{kill, remove_cgroup, report, unmount_all};
use crate::host;
use crate::traces::RUN_DIR;

/// One agent's folder and cgroup.
#[derive(Debug, Clone)]
pub(super) struct Run {
    folder: PathBuf,
    tag: String,
}

impl Run {
    /// Gives those of this host's agents.
    pub(super) fn of_host() -> Vec<Self> {
        Self::below(Path::new(RUN_DIR))
    }

    /// Gives those of a world's agents: in the world's own folder, or signed by it.
    pub(super) fn of_world(root: &Path) -> Vec<Self> {
        let mut runs = Self::below(&root.join("run"));
        let signed = Self::of_host().into_iter();
        runs.extend(signed.filter(|run| run.state().is_some_and(|state| state.starts_with(root))));
        runs
    }

    fn below(folder: &Path) -> Vec<Self> {
        let folders = host::subfolders(folder).into_iter();
        let run = |folder: PathBuf| {
            let tag = folder.file_name()?.to_string_lossy().into_owned();
            Some(Self { folder, tag })
        };
        folders.filter_map(run).collect()
    }

    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// Where its agent keeps its state, if it says so.
    fn state(&self) -> Option<PathBuf> {
        fs::read_link(self.folder.join("state")).ok()
    }

    /// Whether its agent cannot come back: its state is gone. One that does not say where that
    /// is has ended half-way through its start, or is of an earlier version: nobody's if no
    /// agent and no container runs that could be its.
    pub(super) fn is_dead(&self) -> bool {
        match self.state() {
            Some(state) => !state.exists(),
            None => {
                let agents = host::processes().into_iter().any(|p| p.name == "sutler");
                !agents && self.processes().is_empty()
            }
        }
    }

    /// Its cgroup in every hierarchy; also where earlier versions had it.
    pub(super) fn cgroups(&self) -> Vec<PathBuf> {
        [
            format!("/sutler-{}", self.tag),
            format!("/sutler/{}", self.tag),
        ]
        .iter()
        .flat_map(|cgroup| host::cgroup_folders(cgroup))
        .collect()
    }

    fn processes(&self) -> Vec<i32> {
        let cgroups = self.cgroups();
        cgroups
            .iter()
            .flat_map(|c| host::cgroup_processes(c))
            .collect()
    }

    /// Takes it away, with whatever runs in it.
    pub(super) fn remove(&self) {
        kill(&self.processes());
        unmount_all(&self.folder);
        for cgroup in self.cgroups() {
            remove_cgroup(&cgroup);
        }
        report(fs::remove_dir_all(&self.folder));
        // Fails while another agent has a folder in it.
        let _ = fs::remove_dir(RUN_DIR);
    }
}
