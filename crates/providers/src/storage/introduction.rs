//! What a plugin that answers is to its volumes' machines, and one that does not answer any more.

use sutler_ids::{ErrorKind, Problem};
use sutler_volume_core::{Abilities, Call, Event, Shown};

use super::PluginUp;

pub(crate) fn plugin_gone(call: &Call) -> Event {
    let what = format!("plugin {} does not answer", call.spec.plugin);
    let problem = Problem::new(ErrorKind::Unavailable, what)
        .hint(format!("sutler plugin show {}", call.spec.plugin));
    let verdict = sutler_volume_core::Verdict::Uncertain;
    let failure = sutler_volume_core::Failure { verdict, problem };
    Event::Ended {
        call_id: call.call_id,
        result: Err(failure),
        shown: Shown::NotAsked,
    }
}

pub(crate) fn introduced(up: &PluginUp) -> Event {
    let node = up.facts.node.as_ref();
    Event::PluginUp {
        abilities: abilities(up),
        csi_node_id: node.map(|node| node.node_id.clone()).unwrap_or_default(),
    }
}

fn abilities(up: &PluginUp) -> Abilities {
    let facts = &up.facts;
    Abilities {
        attaches: facts.attaches(),
        stages: facts.stages(),
        expands_controller: facts.expands_controller(),
        expands_node: facts.expands_node(),
        expands_online: facts.may_grow_in_use(),
        single_node_modes: facts.knows_single_node_modes(),
        mounts_nothing: !up.mounts_volumes,
    }
}
