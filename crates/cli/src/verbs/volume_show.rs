//! Volumes as text: the list, one of them, and its story. Pure.

use jiff::Timestamp;
use sutler_api::volume::{AccessType, VolumeHolder, VolumeState, VolumeView, WhyMark, WhyView};
use sutler_ids::Bytes;

use crate::failure::Report;
use crate::show::human::{age, clock, left, list, moment, or_dash, printable};
use crate::show::table::{fields, table};

/// From this share of its size on, a volume is marked as nearly full, in percent.
const NEARLY_FULL: u64 = 85;

/// Writes the list.
pub(crate) fn rows(volumes: &[VolumeView], now: Timestamp) -> String {
    let header = ["NAME", "SIZE", "USED", "CLASS", "STATE", "ON", "BY", "AGE"];
    let rows = volumes.iter().map(|volume| {
        vec![
            volume.name.to_string(),
            volume.capacity.to_string(),
            used(volume.used, volume.capacity),
            volume.class.to_string(),
            state(volume, now),
            volume.agent.to_string(),
            list(volume.holders.iter().map(holder)),
            age(volume.created_at, now),
        ]
    });
    table(&header, rows)
}

/// Writes one.
pub(crate) fn one(volume: &VolumeView, now: Timestamp) -> String {
    let problem = volume
        .problem
        .as_ref()
        .map(|problem| Report::of_problem(problem).render(false));
    let used_bytes = volume
        .used
        .map(|bytes| format!("{bytes} ({})", percent(bytes, volume)));
    fields([
        ("name", volume.name.to_string()),
        (
            "state",
            format!(
                "{} since {}",
                name_of(volume.state),
                moment(volume.state_since, now)
            ),
        ),
        ("size", volume.capacity.to_string()),
        ("used", or_dash(used_bytes)),
        ("class", volume.class.to_string()),
        ("plugin", volume.plugin.to_string()),
        ("node", volume.agent.to_string()),
        ("access", access(volume.access).to_owned()),
        ("used by", list(volume.holders.iter().map(holder))),
        (
            "trash until",
            or_dash(
                volume
                    .trash_until
                    .map(|at| format!("{at} ({})", left(at, now))),
            ),
        ),
        ("created", moment(volume.created_at, now)),
        ("volume id", volume.volume_id.to_string()),
        ("csi volume id", or_dash(volume.csi_volume_id.as_ref())),
        (
            "problem",
            problem.map_or_else(|| "-".to_owned(), |text| text.trim_end().to_owned()),
        ),
    ])
}

/// Longest text of a step that others are lined up with: leaves room for time and duration in
/// the width of a common terminal.
const STEP_WIDTH_MAX: usize = 56;

/// Writes the story: a summary, the steps, the cause, what is next.
pub(crate) fn why(why: &WhyView) -> String {
    let mut out = format!("{}\n", printable(&why.summary));
    // A failure's raw text is as long as the plugin likes and sets no width for the others.
    let widths = why.steps.iter().map(|step| step.text.chars().count());
    let width = widths.filter(|width| *width <= STEP_WIDTH_MAX).max();
    let width = width.unwrap_or(0);
    for step in &why.steps {
        let mark = match step.mark {
            WhyMark::Done => '✓',
            WhyMark::Pending => '…',
            WhyMark::Failed => '✗',
        };
        let at = step.at.map(clock).unwrap_or_default();
        let took = step
            .took_ms
            .map(|ms| format!("{ms} ms"))
            .unwrap_or_default();
        let text = printable(&step.text).replace('\n', " ");
        let line = format!("  {mark} {text:width$}  {at:8}  {took}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if let Some(cause) = &why.cause {
        out.push_str(&format!("cause: {}\n", printable(cause)));
    }
    if let Some(raw) = &why.raw {
        out.push_str(&format!(
            "  {}\n",
            printable(raw.trim_end()).replace('\n', "\n  ")
        ));
    }
    out.push_str(&format!("next:  {}\n", printable(&why.next)));
    out
}

/// Names a state.
pub(crate) fn name_of(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Creating => "creating",
        VolumeState::Ready => "ready",
        VolumeState::Preparing => "preparing",
        VolumeState::InUse => "in use",
        VolumeState::Releasing => "releasing",
        VolumeState::Growing => "growing",
        VolumeState::Uncertain => "uncertain",
        VolumeState::Missing => "missing",
        VolumeState::Trashed => "trashed",
        VolumeState::Deleting => "deleting",
        VolumeState::Failed => "failed",
        VolumeState::Unknown => "unknown",
    }
}

/// Writes a state for the list: with its age where it should pass, with a pointer where
/// something is wrong.
fn state(volume: &VolumeView, now: Timestamp) -> String {
    let name = name_of(volume.state);
    let text = match volume.state {
        VolumeState::Ready | VolumeState::InUse | VolumeState::Failed | VolumeState::Unknown => {
            name.to_owned()
        }
        VolumeState::Trashed => match volume.trash_until {
            Some(end) => format!("{name} ({} left)", left(end, now)),
            None => name.to_owned(),
        },
        VolumeState::Creating
        | VolumeState::Preparing
        | VolumeState::Releasing
        | VolumeState::Growing
        | VolumeState::Uncertain
        | VolumeState::Missing
        | VolumeState::Deleting => format!("{name} ({})", age(volume.state_since, now)),
    };
    match volume.problem {
        Some(_) => format!("{text}, see why"),
        None => text,
    }
}

fn access(access: AccessType) -> &'static str {
    match access {
        AccessType::Mount => "file system",
        AccessType::Block => "block device",
    }
}

fn holder(holder: &VolumeHolder) -> String {
    let suffix = if holder.read_only { ":ro" } else { "" };
    format!("{}{suffix}", holder.task_id)
}

fn used(used: Option<Bytes>, capacity: Bytes) -> String {
    let Some(share) = used.and_then(|used| share(used, capacity)) else {
        return "-".to_owned();
    };
    let mark = if share >= NEARLY_FULL { "!" } else { "" };
    format!("{share}%{mark}")
}

fn percent(used: Bytes, volume: &VolumeView) -> String {
    or_dash(share(used, volume.capacity).map(|share| format!("{share}%")))
}

fn share(used: Bytes, capacity: Bytes) -> Option<u64> {
    let share = (u128::from(used.0) * 100).checked_div(u128::from(capacity.0))?;
    Some(u64::try_from(share).unwrap_or(u64::MAX))
}
