//! The ten invariants as judgements over what was seen. Pure: no world, no clock.

use std::collections::BTreeMap;

use super::{BookVolume, Expectations, Observed, Violation};

/// States of a volume that exists in the back end.
const EXISTING: [&str; 3] = ["ready", "in_use", "trashed"];

/// States that a volume at rest may be in.
const SETTLED: [&str; 5] = ["ready", "in_use", "trashed", "failed", "missing"];

/// States that a task at rest may be in.
const TASK_SETTLED: [&str; 4] = ["running", "finished", "failed", "killed"];

/// States from which a task never moves again.
const TASK_ENDED: [&str; 3] = ["finished", "failed", "killed"];

/// Gives every broken invariant of one sight.
pub fn check(observed: &Observed, expectations: &Expectations) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(finished_exists(observed, expectations));
    violations.extend(nothing_unknown(observed, expectations));
    violations.extend(one_per_operation(observed));
    violations.extend(one_node(observed));
    violations.extend(nothing_gone_is_published(observed));
    violations.extend(everything_ends(observed));
    violations.extend(holders_are_tasks(observed));
    violations.extend(no_secrets(observed));
    violations.extend(data_reads_back(observed));
    violations
}

/// Gives what went backwards between two sights.
pub(super) fn check_since(before: &Observed, now: &Observed) -> Vec<Violation> {
    let tasks: BTreeMap<_, _> = now.tasks.iter().map(|t| (&t.task_id, &t.state)).collect();
    let ended = before
        .tasks
        .iter()
        .filter(|task| TASK_ENDED.contains(&task.state.as_str()));
    let mut violations: Vec<Violation> = ended
        .filter_map(|task| Some((task, *tasks.get(&task.task_id)?)))
        .filter(|(task, state)| task.state != **state)
        .map(|(task, state)| {
            broken(
                8,
                format!("task {} went from {} to {state}", task.task_id, task.state),
            )
        })
        .collect();
    let volumes: BTreeMap<_, _> = now.volumes.iter().map(|v| (&v.volume_id, v)).collect();
    for volume in &before.volumes {
        let Some(later) = volumes.get(&volume.volume_id) else {
            continue;
        };
        let changed = volume.csi_volume_id.is_some() && later.csi_volume_id != volume.csi_volume_id;
        let undone = EXISTING.contains(&volume.state.as_str()) && later.state == "creating";
        if changed || undone || (volume.state == "missing" && later.state == "creating") {
            violations.push(broken(8, format!("volume {volume:?} became {later:?}")));
        }
    }
    violations
}

fn broken(invariant: u8, text: String) -> Violation {
    Violation { invariant, text }
}

fn exists(volume: &BookVolume) -> bool {
    EXISTING.contains(&volume.state.as_str())
}

fn finished_exists(observed: &Observed, expectations: &Expectations) -> Vec<Violation> {
    let told = |v: &&BookVolume| exists(v) && !expectations.forgetful.contains(&v.plugin);
    let mut violations = Vec::new();
    for volume in observed.volumes.iter().filter(told) {
        let Some(listed) = observed.listed.get(&volume.plugin) else {
            violations.push(broken(1, format!("plugin {} was not asked", volume.plugin)));
            continue;
        };
        let id = volume.csi_volume_id.as_deref();
        if !listed
            .iter()
            .any(|listed| Some(listed.csi_volume_id.as_str()) == id)
        {
            let text = format!(
                "{} is {}, the plugin lists no {id:?}",
                volume.name, volume.state
            );
            violations.push(broken(1, text));
        }
    }
    violations
}

fn nothing_unknown(observed: &Observed, expectations: &Expectations) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (plugin, listed) in &observed.listed {
        let foreign = expectations.foreign.get(plugin);
        for listed in listed {
            let id = &listed.csi_volume_id;
            let ours = observed.volumes.iter().any(|volume| {
                volume.plugin == *plugin
                    && volume.csi_volume_id.as_ref() == Some(id)
                    && volume.state != "failed"
            });
            if !ours && !foreign.is_some_and(|foreign| foreign.contains(id)) {
                violations.push(broken(2, format!("{plugin} has {id}, the books do not")));
            }
        }
    }
    violations
}

fn one_per_operation(observed: &Observed) -> Vec<Violation> {
    let mut keys: BTreeMap<String, usize> = BTreeMap::new();
    for volume in observed.volumes.iter().filter(|volume| exists(volume)) {
        let id = volume.csi_volume_id.clone().unwrap_or_default();
        *keys.entry(format!("{} in the books", id)).or_default() += 1;
    }
    for (plugin, listed) in &observed.listed {
        for name in listed.iter().filter_map(|listed| listed.name.as_ref()) {
            *keys
                .entry(format!("{plugin}'s volume for {name}"))
                .or_default() += 1;
        }
    }
    let twice = keys.into_iter().filter(|(_, count)| *count > 1);
    twice
        .map(|(key, count)| broken(3, format!("{key}: {count} times")))
        .collect()
}

fn one_node(observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    for volume in &observed.volumes {
        let nodes: Vec<&String> = observed
            .mounts
            .iter()
            .filter(|(_, points)| points.iter().any(|point| point.contains(&volume.volume_id)))
            .map(|(node, _)| node)
            .collect();
        if nodes.len() > 1 {
            violations.push(broken(
                4,
                format!("{} is mounted on {nodes:?}", volume.name),
            ));
        }
    }
    violations
}

fn nothing_gone_is_published(observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in observed
        .loop_files
        .iter()
        .filter(|file| file.ends_with(" (deleted)"))
    {
        violations.push(broken(5, format!("a loop device holds {file}")));
    }
    let published = |point: &&String| point.contains("/agent/volumes/");
    for point in observed.mounts.values().flatten().filter(published) {
        let known = observed
            .volumes
            .iter()
            .any(|volume| point.contains(&volume.volume_id));
        if !known {
            violations.push(broken(
                5,
                format!("{point} is mounted for no volume of the books"),
            ));
        }
    }
    let pinned = |point: &&String| point.contains("/agent/rootfs/") && point.contains("/volumes/");
    for point in observed.mounts.values().flatten().filter(pinned) {
        violations.push(broken(5, format!("{point} is pinned, and no task starts")));
    }
    violations
}

fn everything_ends(observed: &Observed) -> Vec<Violation> {
    let volumes = observed
        .volumes
        .iter()
        .filter(|volume| !SETTLED.contains(&volume.state.as_str()))
        .map(|volume| broken(6, format!("volume {} stays {}", volume.name, volume.state)));
    let tasks = observed
        .tasks
        .iter()
        .filter(|task| !TASK_SETTLED.contains(&task.state.as_str()))
        .map(|task| broken(6, format!("task {} stays {}", task.task_id, task.state)));
    volumes.chain(tasks).collect()
}

fn holders_are_tasks(observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    let running = |task: &str| {
        observed
            .tasks
            .iter()
            .any(|known| known.task_id == task && known.state == "running")
    };
    for volume in &observed.volumes {
        for holder in volume.holders.iter().filter(|holder| !running(holder)) {
            let text = format!("{} is held by {holder}, which does not run", volume.name);
            violations.push(broken(7, text));
        }
        let mounted = observed
            .mounts
            .values()
            .flatten()
            .any(|p| p.contains(&volume.volume_id));
        if volume.holders.is_empty() && mounted {
            violations.push(broken(7, format!("{} is mounted for nobody", volume.name)));
        }
    }
    for task in observed.tasks.iter().filter(|task| task.state == "running") {
        let holds = |id: &&String| {
            observed
                .volumes
                .iter()
                .any(|volume| volume.volume_id == **id && volume.holders.contains(&task.task_id))
        };
        for id in task.volumes.iter().filter(|id| !holds(id)) {
            violations.push(broken(
                7,
                format!("task {} runs without its {id}", task.task_id),
            ));
        }
    }
    violations
}

fn no_secrets(observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (place, text) in &observed.texts {
        for (what, _) in observed
            .secrets
            .iter()
            .filter(|(_, secret)| text.contains(*secret))
        {
            violations.push(broken(9, format!("{place} holds the {what}")));
        }
    }
    violations
}

fn data_reads_back(observed: &Observed) -> Vec<Violation> {
    let wrong = observed
        .read_back
        .iter()
        .filter(|(_, written, read)| written != read);
    wrong
        .map(|(place, written, read)| {
            broken(10, format!("{place}: wrote {written:?}, read {read:?}"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
