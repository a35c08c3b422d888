//! What a volume is for, and the one call that brings it nearer. No state of its own.

use sutler_api::agent::VolumeAct;
use sutler_ids::Now;

use crate::call::{Abilities, Rpc};
use crate::record::{InFlight, Known, Phase, Settled, VolumeRecord};

/// Where a volume should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Goal {
    /// Deletion was asked for.
    Absent,
    /// Nobody uses it.
    Created,
    /// Somebody does.
    Published,
}

pub(crate) fn goal(record: &VolumeRecord) -> Goal {
    if record.deleting() {
        Goal::Absent
    } else if record.holders.is_empty() || record.coming_down {
        Goal::Created
    } else {
        Goal::Published
    }
}

/// Gives the call that a settled volume needs next, if any.
pub(crate) fn next_rpc(record: &VolumeRecord, abilities: Abilities) -> Option<Rpc> {
    let Phase::Settled(settled) = &record.phase else {
        return None;
    };
    match goal(record) {
        Goal::Absent => down(settled).or(match settled {
            Settled::Created(_) => Some(Rpc::Delete),
            Settled::Absent
            | Settled::NodeReady(..)
            | Settled::VolReady(..)
            | Settled::Published(..) => None,
        }),
        Goal::Created => match settled {
            Settled::Absent => wants_creation(record).then_some(Rpc::Create),
            Settled::Created(_) => expand(record, settled, abilities),
            Settled::NodeReady(..) | Settled::VolReady(..) | Settled::Published(..) => {
                down(settled)
            }
        },
        Goal::Published => match settled {
            Settled::Absent => wants_creation(record).then_some(Rpc::Create),
            Settled::Published(..) => expand(record, settled, abilities),
            Settled::Created(_) | Settled::NodeReady(..) | Settled::VolReady(..) => {
                (record.known == Known::Yes).then(|| up(settled, abilities))
            }
        },
    }
}

/// Tells whether the volume is to be made and was not yet.
pub(crate) fn wants_creation(record: &VolumeRecord) -> bool {
    matches!(
        record.pending.as_ref().map(|p| &p.act),
        Some(VolumeAct::Create(_))
    )
}

fn up(settled: &Settled, abilities: Abilities) -> Rpc {
    match settled {
        Settled::Absent | Settled::Created(_) if abilities.attaches => Rpc::Attach,
        Settled::Absent | Settled::Created(_) | Settled::NodeReady(..) if abilities.stages => {
            Rpc::Stage
        }
        Settled::Absent
        | Settled::Created(_)
        | Settled::NodeReady(..)
        | Settled::VolReady(..)
        | Settled::Published(..) => Rpc::Publish,
    }
}

/// Gives the call that takes a settled volume one rung down.
pub(crate) fn down(settled: &Settled) -> Option<Rpc> {
    match settled {
        Settled::Published(..) => Some(Rpc::Unpublish),
        Settled::VolReady(..) => Some(Rpc::Unstage),
        Settled::NodeReady(..) => Some(Rpc::Detach),
        Settled::Absent | Settled::Created(_) => None,
    }
}

fn expand(record: &VolumeRecord, settled: &Settled, abilities: Abilities) -> Option<Rpc> {
    let created = settled.created()?;
    if let Some(VolumeAct::Grow { capacity }) = record.pending.as_ref().map(|p| &p.act)
        && *capacity > created.capacity
        && abilities.expands_controller
    {
        return Some(Rpc::ControllerExpand(*capacity));
    }
    let due = record.node_expand_due?;
    (abilities.expands_node && settled.on_host()).then_some(Rpc::NodeExpand(due))
}

/// Says why a volume cannot be grown as it is now.
pub(crate) fn growth_refused(
    settled: &Settled,
    abilities: Abilities,
    plugin: &str,
) -> Option<String> {
    if !abilities.expands_controller {
        return Some(format!("plugin {plugin} cannot grow volumes"));
    }
    if settled.on_host() && !abilities.expands_online {
        return Some(format!(
            "plugin {plugin} grows a volume only while nobody uses it; stop its holders first"
        ));
    }
    None
}

/// Gives what to do instead of a call whose outcome is not known and that is no longer
/// wanted. `None` when only the same call can tell.
pub(crate) fn give_up(flight: &InFlight, goal: Goal, now: Now) -> Option<Phase> {
    match flight.rpc {
        Rpc::Attach | Rpc::Stage | Rpc::Publish if goal < Goal::Published => inverse(flight, now),
        Rpc::NodeExpand(_) if goal < Goal::Published => Some(Phase::Settled(flight.from.clone())),
        Rpc::ControllerExpand(_) if goal == Goal::Absent => {
            Some(Phase::Settled(flight.from.clone()))
        }
        Rpc::Attach
        | Rpc::Stage
        | Rpc::Publish
        | Rpc::NodeExpand(_)
        | Rpc::ControllerExpand(_)
        | Rpc::Create
        | Rpc::Delete
        | Rpc::Detach
        | Rpc::Unstage
        | Rpc::Unpublish
        | Rpc::Verify => None,
    }
}

/// Gives the way back of a call up whose outcome is not known: its inverse, from as far up as it
/// may have come. Being that far up is an assumption that serves the inverse call alone, so it is
/// never settled on. `None` for every other call.
pub(crate) fn inverse(flight: &InFlight, now: Now) -> Option<Phase> {
    let created = flight.from.created()?.clone();
    let context = flight.from.context();
    let (rpc, from) = match flight.rpc {
        Rpc::Attach => (Rpc::Detach, Settled::NodeReady(created, context)),
        Rpc::Stage => (Rpc::Unstage, Settled::VolReady(created, context)),
        Rpc::Publish => (Rpc::Unpublish, Settled::Published(created, context)),
        Rpc::Create
        | Rpc::Delete
        | Rpc::Detach
        | Rpc::Unstage
        | Rpc::Unpublish
        | Rpc::ControllerExpand(_)
        | Rpc::NodeExpand(_)
        | Rpc::Verify => return None,
    };
    Some(Phase::InFlight(InFlight {
        rpc,
        from,
        since: now.wall,
    }))
}

/// Gives where a good answer without content leads.
pub(crate) fn settle_down(rpc: Rpc, from: &Settled, abilities: Abilities) -> Option<Settled> {
    let created = from.created()?.clone();
    let context = from.context();
    match rpc {
        Rpc::Stage => Some(Settled::VolReady(created, context)),
        Rpc::Publish => Some(Settled::Published(created, context)),
        Rpc::Unpublish if abilities.stages => Some(Settled::VolReady(created, context)),
        Rpc::Unpublish | Rpc::Unstage if abilities.attaches => {
            Some(Settled::NodeReady(created, context))
        }
        Rpc::Unpublish | Rpc::Unstage | Rpc::Detach => Some(Settled::Created(created)),
        Rpc::Create
        | Rpc::Delete
        | Rpc::Attach
        | Rpc::ControllerExpand(_)
        | Rpc::NodeExpand(_)
        | Rpc::Verify => None,
    }
}

/// Gives where a volume is after its host has booted: no mount survives, attachments do.
/// A plugin that does not attach has none, and could not answer the detach.
pub(crate) fn after_boot(phase: &Phase, attaches: bool) -> Phase {
    let fall = |settled: &Settled| match settled {
        Settled::VolReady(created, context) | Settled::Published(created, context) if attaches => {
            Settled::NodeReady(created.clone(), context.clone())
        }
        Settled::VolReady(created, _) | Settled::Published(created, _) => {
            Settled::Created(created.clone())
        }
        Settled::Absent | Settled::Created(_) | Settled::NodeReady(..) => settled.clone(),
    };
    match phase {
        Phase::Settled(settled) => Phase::Settled(fall(settled)),
        Phase::InFlight(flight) => match flight.rpc {
            Rpc::Stage | Rpc::Publish | Rpc::Unstage | Rpc::Unpublish | Rpc::NodeExpand(_) => {
                Phase::Settled(fall(&flight.from))
            }
            Rpc::Create
            | Rpc::Delete
            | Rpc::Attach
            | Rpc::Detach
            | Rpc::ControllerExpand(_)
            | Rpc::Verify => {
                let mut flight = flight.clone();
                flight.from = fall(&flight.from);
                Phase::InFlight(flight)
            }
        },
        Phase::Failed(_) | Phase::Gone => phase.clone(),
    }
}
