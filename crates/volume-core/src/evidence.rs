//! What an answer is worth: every answer to a call that changes something passes here.
//!
//! A plugin's OK is a claim. Where the kernel or the books can be asked they were, and what they
//! say counts: a publication that the kernel does not show is none (what a task writes there would
//! land on the host's own disk), a mount that it does show is not down, and a volume that is
//! another's, too small or out of reach is not the one that was asked for. Pure: what was asked
//! and seen comes in, a finding goes out, and `answer` acts on it.
//!
//! A stage is believed without a mount: CSI leaves open what staging does, and some drivers log in
//! to their back end and mount at the publish alone. Source: CSI spec, "NodeStageVolume".

use sutler_ids::{ErrorKind, Problem, SaidBy};

use crate::call::{Abilities, Rpc};
use crate::event::{Answer, Expanded, Failure, Made, Segments, Shown, Verdict};
use crate::record::{Created, VolumeRecord};

/// Whether a mount is at the place of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    Yes,
    No,
    /// The kernel has not said: it is looked at before its use.
    Perhaps,
}

/// What has really come of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// As a good answer without content says; whether a mount is there.
    Done(There),
    /// The volume exists, as it was asked for.
    Created(Created),
    Attached(crate::record::PublishContext),
    Expanded(Expanded),
    /// The plugin failed; of a call down, the kernel agrees with what it says.
    Failed(Failure),
    /// It says that the volume is published, and nothing is there.
    NotUp(Problem),
    /// It says that the mount is gone, and it is there.
    NotDown(Problem),
    /// It answered with a volume that is another's.
    Others(Problem),
    /// It has made something that is not what was asked for.
    Unfit(Created, Problem),
    /// It has grown the volume by less than was asked for.
    Short(Expanded, Problem),
}

impl Finding {
    /// What is wrong, if something is.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Done(_) | Self::Created(_) | Self::Attached(_) | Self::Expanded(_) => None,
            Self::Failed(failure) => Some(&failure.problem),
            Self::NotUp(problem)
            | Self::NotDown(problem)
            | Self::Others(problem)
            | Self::Unfit(_, problem)
            | Self::Short(_, problem) => Some(problem),
        }
    }
}

/// Weighs the end of a call against what the kernel and the books say.
pub(crate) fn weigh(
    rpc: Rpc,
    record: &VolumeRecord,
    abilities: Abilities,
    (result, shown): (Result<Answer, Failure>, Shown),
) -> Finding {
    let plugin = record.spec.plugin.as_str();
    let answer = match result {
        Ok(answer) => answer,
        // The kernel's word decides, whatever the plugin knows of the volume.
        Err(failure) if failure.verdict == Verdict::NotFound && is_down(rpc) => {
            return match still_there(rpc, plugin, shown) {
                Some(problem) => Finding::NotDown(problem),
                None => Finding::Failed(failure),
            };
        }
        Err(failure) => return Finding::Failed(failure),
    };
    match answer {
        Answer::Made(made) => weigh_made(record, made),
        Answer::Attached(context) => Finding::Attached(context),
        Answer::Expanded(expanded) => weigh_growth(rpc, record, expanded),
        Answer::Done if is_down(rpc) => match still_there(rpc, plugin, shown) {
            Some(problem) => Finding::NotDown(problem),
            None => Finding::Done(There::No),
        },
        Answer::Done => match shown {
            Shown::Nothing(path) if rpc == Rpc::Publish && !abilities.mounts_nothing => {
                Finding::NotUp(nothing_published(plugin, &path))
            }
            Shown::Mounted(_) => Finding::Done(There::Yes),
            Shown::NotKnown(_) => Finding::Done(There::Perhaps),
            Shown::Nothing(_) | Shown::NotAsked => Finding::Done(There::No),
        },
    }
}

const fn is_down(rpc: Rpc) -> bool {
    matches!(rpc, Rpc::Unpublish | Rpc::Unstage)
}

fn nothing_published(plugin: &str, path: &str) -> Problem {
    let what =
        format!("plugin {plugin} answered NodePublishVolume, but nothing is mounted at {path}");
    Problem::new(ErrorKind::Unavailable, what)
        .said_by(SaidBy::Kernel)
        .hint(format!(
            "sutler plugin logs {plugin}; if it mounts nothing by design, its definition needs \
             mounts_volumes = false"
        ))
}

/// Says what is still there after a call down, if it is.
fn still_there(rpc: Rpc, plugin: &str, shown: Shown) -> Option<Problem> {
    match shown {
        Shown::Mounted(path) => {
            let rpc = rpc.csi_name();
            let what = format!("plugin {plugin} answered {rpc}, yet {path} is still mounted");
            let problem = Problem::new(ErrorKind::Unavailable, what).said_by(SaidBy::Kernel);
            Some(problem.hint(format!("sutler plugin logs {plugin}, or: umount {path}")))
        }
        Shown::NotKnown(problem) => Some(problem),
        Shown::Nothing(_) | Shown::NotAsked => None,
    }
}

fn weigh_made(record: &VolumeRecord, made: Made) -> Finding {
    let (spec, id) = (&record.spec, &made.csi_volume_id);
    let says = |what: String| {
        Problem::new(ErrorKind::Conflict, what).said_by(SaidBy::Plugin(spec.plugin.to_string()))
    };
    if let Some(other) = &made.also {
        let plugin = &spec.plugin;
        let what = format!("plugin {plugin} answered with volume {id}, which is volume {other}");
        return Finding::Others(says(what));
    }
    let has = made.capacity.unwrap_or(spec.capacity);
    let why = if has < spec.capacity {
        let (has, asked) = (has.get(), spec.capacity.get());
        Some(format!("{has} bytes were made of {asked} asked for"))
    } else if !reaches(&made.topology, &made.here) {
        let (there, here) = (places(&made.topology), place(&made.here));
        Some(format!(
            "it was made in {there}, and this node is in {here}"
        ))
    } else {
        None
    };
    let created = Created {
        csi_volume_id: made.csi_volume_id.clone(),
        capacity: has,
        volume_context: made.volume_context,
        driver: made.driver,
    };
    match why {
        None => Finding::Created(created),
        Some(why) => {
            let name = &spec.name;
            let what = format!("volume {name} is not what was asked for: {why}");
            let raw = format!("the plugin has volume {id} for it");
            let hint = format!("sutler volume rm {name} --purge deletes {id} in the back end");
            Finding::Unfit(created, says(what).raw(raw).hint(hint))
        }
    }
}

/// Whether a volume with this topology can be reached from here: all that is said of one of its
/// places is true of ours. A node or a volume of which nothing is said is everywhere.
/// Source: CSI spec, "accessible_topology".
fn reaches(topology: &[Segments], here: &Segments) -> bool {
    let holds = |place: &Segments| {
        place
            .iter()
            .all(|(key, value)| here.get(key) == Some(value))
    };
    here.is_empty() || topology.is_empty() || topology.iter().any(holds)
}

fn places(topology: &[Segments]) -> String {
    topology.iter().map(place).collect::<Vec<_>>().join(" or ")
}

fn place(segments: &Segments) -> String {
    let pairs = segments.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}

fn weigh_growth(rpc: Rpc, record: &VolumeRecord, expanded: Expanded) -> Finding {
    let Rpc::ControllerExpand(asked) = rpc else {
        return Finding::Done(There::No);
    };
    match expanded.capacity.get() {
        // Not told, as in the answer to a creation.
        0 => Finding::Expanded(Expanded {
            capacity: asked,
            ..expanded
        }),
        has if has < asked.get() => {
            let plugin = &record.spec.plugin;
            let name = &record.spec.name;
            let what = format!(
                "plugin {plugin} has grown volume {name} to {has} bytes, {asked} were asked for",
                asked = asked.get()
            );
            let problem = Problem::new(ErrorKind::Conflict, what);
            let said_by = SaidBy::Plugin(plugin.to_string());
            Finding::Short(expanded, problem.said_by(said_by))
        }
        _ => Finding::Expanded(expanded),
    }
}

#[cfg(test)]
mod tests;
