//! Plugins as text: the list, one of them, and one line of progress. Pure.

use jiff::Timestamp;
use sutler_api::plugin::{PluginInstanceView, PluginState, PluginView};

use crate::failure::Report;
use crate::show::human::{age, left, list, or_dash};
use crate::show::table::{fields, table};

/// Writes the list.
pub(crate) fn rows(plugins: &[PluginView]) -> String {
    let header = [
        "NAME", "DRIVER", "VERSION", "READY", "VOLUMES", "CLASSES", "IMAGE",
    ];
    let rows = plugins.iter().map(|plugin| {
        let facts = plugin
            .instances
            .iter()
            .find_map(|instance| instance.facts.as_ref());
        vec![
            plugin.name.to_string(),
            or_dash(facts.map(|facts| &facts.driver_name)),
            or_dash(facts.map(|facts| &facts.vendor_version)),
            readiness(plugin),
            plugin.volumes.to_string(),
            list(&plugin.classes),
            plugin.definition.image.clone(),
        ]
    });
    table(&header, rows)
}

fn readiness(plugin: &PluginView) -> String {
    let ready = plugin
        .instances
        .iter()
        .filter(|i| i.state == PluginState::Ready)
        .count();
    let text = format!("{ready}/{}", plugin.instances.len());
    if plugin.removing {
        return format!("{text}, being removed");
    }
    match plugin
        .instances
        .iter()
        .any(|instance| instance.problem.is_some())
    {
        true => format!("{text}, see show"),
        false => text,
    }
}

/// Writes one.
pub(crate) fn one(plugin: &PluginView, now: Timestamp) -> String {
    let mut out = fields([
        ("name", plugin.name.to_string()),
        ("image", plugin.definition.image.clone()),
        ("generation", plugin.generation.to_string()),
        ("classes", list(&plugin.classes)),
        ("volumes", plugin.volumes.to_string()),
        ("probe timeout", plugin.definition.probe_timeout.clone()),
        ("call timeout", plugin.definition.call_timeout.clone()),
        (
            "being removed",
            if plugin.removing { "yes" } else { "no" }.to_owned(),
        ),
    ]);
    for instance in &plugin.instances {
        out.push_str(&format!("\nnode {}\n", instance.agent));
        for line in on_node(instance, now).lines() {
            out.push_str(&format!("  {line}\n"));
        }
    }
    out
}

fn on_node(instance: &PluginInstanceView, now: Timestamp) -> String {
    let mut pairs = vec![
        (
            "state",
            format!(
                "{} since {}",
                name_of(instance.state),
                age(instance.since, now)
            ),
        ),
        ("restarts", instance.restarts.to_string()),
        ("digest", or_dash(instance.image_digest.as_ref())),
    ];
    if let Some(facts) = &instance.facts {
        let topology = facts
            .topology
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let limit = (facts.max_volumes > 0).then_some(facts.max_volumes);
        pairs.extend([
            (
                "driver",
                format!("{} {}", facts.driver_name, facts.vendor_version),
            ),
            ("capabilities", facts.capabilities.join("\n")),
            ("node id", facts.node_id.clone()),
            ("volume limit", or_dash(limit)),
            ("topology", list(topology)),
        ]);
    }
    let free = instance.free.iter();
    let free = free.map(|(class, free)| format!("{class}:{free}"));
    pairs.push(("free", list(free)));
    if let Some(problem) = &instance.problem {
        let text = Report::of_problem(problem).render(false);
        pairs.push(("problem", text.trim_end().to_owned()));
    }
    if let Some(at) = instance.retry_at {
        pairs.push(("next try in", left(at, now)));
    }
    if !instance.log_tail.is_empty() {
        pairs.push(("last log lines", instance.log_tail.join("\n")));
    }
    fields(pairs)
}

/// Writes how an added plugin is on one node.
pub(crate) fn instance_line(instance: &PluginInstanceView) -> String {
    match (instance.state, &instance.facts) {
        (PluginState::Ready, Some(facts)) => format!(
            "  ✓ {}: {} {}, {}",
            instance.agent,
            facts.driver_name,
            facts.vendor_version,
            list(&facts.capabilities)
        ),
        (PluginState::Ready, None) => format!("  ✓ {}", instance.agent),
        (state, _) => format!("  ✗ {}: {}", instance.agent, name_of(state)),
    }
}

/// Writes where a plugin is, as one line without ages.
pub(crate) fn line(plugin: &PluginView) -> String {
    let on = plugin.instances.iter().map(|instance| {
        let state = format!("{} on {}", name_of(instance.state), instance.agent);
        match &instance.problem {
            Some(problem) => format!("{state} ({})", problem.what),
            None => state,
        }
    });
    match plugin.instances.is_empty() {
        true => format!("plugin {}: no node is connected", plugin.name),
        false => format!(
            "plugin {}: {}",
            plugin.name,
            on.collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Names a state.
pub(crate) fn name_of(state: PluginState) -> &'static str {
    match state {
        PluginState::Waiting => "waiting",
        PluginState::Pulling => "pulling",
        PluginState::Starting => "starting",
        PluginState::Probing => "probing",
        PluginState::Ready => "ready",
        PluginState::NotReady => "not ready: says so itself",
        PluginState::Silent => "silent, left running",
        PluginState::Outdated => "runs as before the change, which cannot be made",
        PluginState::BackingOff => "failed, to be started again",
        PluginState::Stopping => "stopping",
        PluginState::Stopped => "stopped",
    }
}
