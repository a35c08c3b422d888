//! Mounts below the volumes folder that no record expects. A call that was given up may still come
//! to its end in the plugin, also after its inverse was answered with OK; and books may be older
//! than the host. What is a volume's is taken down by its own machine; what is nobody's is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sutler_host::blocking::blocking;
use sutler_host::mounts::{MountTable, resolve};
use sutler_ids::{ErrorKind, Problem, SaidBy, VolumeId};
use sutler_volume_core::{Denied, Event, Mount, Phase, Shown, VolumeRecord};

use super::host_state::{VolumePaths, mount_of};
use super::shell::Shell;
use super::{Input, StorageEvent};

/// Most mounts of nobody that are told by name.
const NAMED_MAX: usize = 5;

/// A mount at a volume's place.
#[derive(Debug)]
pub(crate) struct Found {
    /// The folder of a plugin, by its name.
    plugin: String,
    volume_id: VolumeId,
    mount: Mount,
    path: PathBuf,
}

impl Found {
    /// Whether this volume may have made it.
    fn is_of(&self, record: &VolumeRecord) -> bool {
        let over = matches!(record.phase, Phase::Gone | Phase::Failed(_));
        record.spec.plugin.as_str() == self.plugin && !over
    }
}

impl Shell {
    /// Reads what is mounted; the answer is an input.
    pub(crate) fn sweep(&mut self) {
        let Some(inputs) = self.inputs.upgrade() else {
            return;
        };
        let folder = self.config.volumes_dir.clone();
        self.calls.spawn(async move {
            match blocking(move || found_below(&folder)).await {
                Ok(Ok(found)) => {
                    let _ = inputs.send(Input::Mounted(found));
                }
                Ok(Err(error)) => {
                    let cause = sutler_telemetry::chain(&error);
                    tracing::warn!(%cause, "what is mounted cannot be read");
                }
                Err(no_result) => tracing::warn!(%no_result, "mounts were not looked at"),
            }
        });
    }

    pub(crate) fn mounted(&mut self, found: Vec<Found>) {
        let mut nobodys = BTreeSet::new();
        for found in found {
            let volume = self.volumes.get(&found.volume_id);
            let ours = volume.filter(|volume| found.is_of(volume.record()));
            let Some(volume) = ours else {
                nobodys.insert(found.path);
                continue;
            };
            // Most are those that the records have; only of the others is the kernel asked again.
            if !volume.is_stray(found.mount) {
                continue;
            }
            let record = volume.record();
            // Seen a moment ago, and perhaps taken down since then.
            let paths = VolumePaths::new(
                &self.config.volumes_dir,
                &record.spec.plugin,
                found.volume_id,
            );
            if matches!(paths.shown_mounted(found.mount), Shown::Mounted(_)) {
                let (volume, path) = (&record.spec.name, found.path.display());
                tracing::warn!(%volume, %path, "a mount that nobody asked for is taken down");
                let mount = found.mount;
                self.send(found.volume_id, Event::Stray { mount });
            }
        }
        self.tell_nobodys(nobodys);
    }

    /// A volume's record cannot be read; the volume is left out, and what it has made stays.
    pub(crate) fn damaged(&mut self, key: &str, what: String) {
        tracing::error!(record = key, cause = %what, "a volume record is left out");
        self.damaged.insert(key.to_owned(), what);
    }

    /// Gives where a volume is mounted whose record cannot be read, as last seen.
    pub(crate) fn nobodys_mount(&self, volume_id: VolumeId) -> Option<Denied> {
        let key = volume_id.to_string();
        let is_of = |path: &&PathBuf| path.iter().any(|part| part == key.as_str());
        let path = self.nobodys.iter().find(is_of)?;
        Some(Denied::Mounted(path.display().to_string()))
    }

    /// Lets a record go that cannot be read: the master has recorded the volume's end.
    pub(crate) fn forget_damaged(&mut self, volume_id: VolumeId) {
        if self.damaged.remove(&volume_id.to_string()).is_some() {
            self.forgotten.push(volume_id);
            self.tell_problem();
        }
    }

    fn tell_nobodys(&mut self, nobodys: BTreeSet<PathBuf>) {
        if self.nobodys == nobodys {
            return;
        }
        for path in nobodys.difference(&self.nobodys) {
            tracing::error!(path = %path.display(), "a mount of no volume");
        }
        self.nobodys = nobodys;
        self.tell_problem();
    }

    /// Tells what is wrong here that is no volume's own.
    pub(crate) fn tell_problem(&self) {
        let nobodys = (!self.nobodys.is_empty()).then(|| nobodys_problem(&self.nobodys));
        let damaged = (!self.damaged.is_empty()).then(|| damaged_problem(&self.damaged));
        let problem = match (damaged, nobodys) {
            (Some(damaged), Some(nobodys)) => Some(Problem {
                what: format!("{}; {}", damaged.what, nobodys.what),
                ..damaged
            }),
            (damaged, nobodys) => damaged.or(nobodys),
        };
        let _ = self.out.send(StorageEvent::Problem(problem));
    }
}

fn damaged_problem(records: &BTreeMap<String, String>) -> Problem {
    let what = format!(
        "{} damaged records of volumes in the agent's journal",
        records.len()
    );
    let raw = records
        .iter()
        .map(|(key, what)| format!("volumes/{key}: {what}"));
    let raw: Vec<String> = raw.collect();
    Problem::new(ErrorKind::Internal, what)
        .said_by(SaidBy::Sutler)
        .raw(raw.join("\n"))
        .hint(
            "check the disk under the state directory; the volumes are told as missing, and end \
             with: sutler volume rm NAME --forget",
        )
}

fn nobodys_problem(paths: &BTreeSet<PathBuf>) -> Problem {
    let named = paths
        .iter()
        .take(NAMED_MAX)
        .map(|path| path.display().to_string());
    let mut named: Vec<String> = named.collect();
    if let Some(more) = paths.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    let what = format!(
        "mounted, and of no volume that this node's books have: {}",
        named.join(", ")
    );
    Problem::new(ErrorKind::Conflict, what)
        .said_by(SaidBy::Kernel)
        .hint("when nobody needs it: umount PATH")
}

/// Gives the mounts at places of volumes.
fn found_below(folder: &Path) -> std::io::Result<Vec<Found>> {
    // The kernel prints paths without links.
    let folder = match resolve(folder) {
        Ok(folder) => folder,
        // Nothing was ever mounted there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let table = MountTable::read()?;
    let found = table.under(&folder).filter_map(|mount| {
        let below = mount.target.strip_prefix(&folder).ok()?;
        let parts: Vec<&str> = below
            .iter()
            .map(|part| part.to_str())
            .collect::<Option<_>>()?;
        let [plugin, volume, place] = parts.as_slice() else {
            return None;
        };
        Some(Found {
            plugin: (*plugin).to_owned(),
            volume_id: volume.parse().ok()?,
            mount: mount_of(place)?,
            path: mount.target.clone(),
        })
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use sutler_csi::Rpc;
    use sutler_testkit::fake_plugin::FakeConfig;

    use super::super::tests::{Bench, Tmpfs, operation, volume_id};
    use super::*;

    impl Bench {
        async fn problem(&mut self) -> Option<Problem> {
            self.until(|event| match event {
                StorageEvent::Problem(problem) => Some(problem),
                _ => None,
            })
            .await
        }
    }

    #[tokio::test]
    async fn a_mount_that_comes_after_all_is_taken_down_by_its_plugin() {
        let mut bench = Bench::created(FakeConfig::default()).await;
        let target = bench.target();
        std::fs::create_dir_all(&target).unwrap();
        let late = Tmpfs::over(target.clone());
        bench.plugin_up().await;
        // The fake unmounts nothing, so the mount is told until it is gone.
        let what = bench.problem_of_unpublish().await;
        assert!(what.contains(&target.display().to_string()), "{what}");
        drop(late);
        let delete = sutler_api::agent::VolumeAct::Delete;
        bench.handle.submit(operation(2, delete));
        let outcome = bench.outcome(2).await;
        assert_eq!(outcome, sutler_api::agent::Outcome::Finished);
        assert!(bench.plugin.count(Rpc::Unpublish) > 0);
        assert_eq!(bench.plugin.violations(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_mount_of_no_volume_is_told_until_it_is_gone() {
        let mut bench = Bench::created(FakeConfig::default()).await;
        let other = bench.target().display().to_string();
        let other = other.replace(
            &volume_id().to_string(),
            "99999999-9999-4999-8999-999999999999",
        );
        std::fs::create_dir_all(&other).unwrap();
        let foreign = Tmpfs::over(other.clone().into());
        bench.plugin_up().await;
        let problem = bench.problem().await.expect("it is told");
        assert!(problem.what.contains(&other), "{problem}");
        drop(foreign);
        bench.plugin_up().await;
        assert_eq!(bench.problem().await, None);
        assert_eq!(
            bench.plugin.count(Rpc::Unpublish),
            0,
            "it is nobody's to end"
        );
    }
}
