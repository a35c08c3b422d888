//! One conversation with a plugin: is it there, is it ready, what is it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sutler_api::plugin::PluginFactsView;
use sutler_csi::call::GetCapacity;
use sutler_csi::{Code, CsiError, PluginClient, PluginFacts, interrogate};
use sutler_ids::Bytes;
use sutler_ids::ClassName;
use sutler_node_core::plugin::ProbeOutcome;

use crate::event::Talk;

/// The classes of a plugin, with the parameters of each.
pub(crate) type Classes = Vec<(ClassName, BTreeMap<String, String>)>;

/// Asks a plugin, each question for so long. `known` is what it said in this run before, and
/// spares the questions.
pub(crate) async fn probe(
    socket: PathBuf,
    known: Option<Talk>,
    within: Duration,
) -> (ProbeOutcome, Option<Talk>) {
    // Whatever is there, the client says what it is and follows no link.
    if socket.symlink_metadata().is_err() {
        return (ProbeOutcome::NoSocket, known);
    }
    let client = match &known {
        Some(talk) => talk.client.clone(),
        None => match PluginClient::connect(socket) {
            Ok(client) => client,
            Err(error) => {
                let raw = error.to_string();
                return (ProbeOutcome::NoAnswer { raw }, None);
            }
        },
    };
    let said = client.probe(within).await;
    let heard = client.answers();
    match (said, known) {
        (Ok(true), None) => first(client, within).await,
        (Ok(true), Some(talk)) => answered(Talk { heard, ..talk }),
        (Ok(false), known) => {
            let known = known.map(|talk| Talk { heard, ..talk });
            (ProbeOutcome::NotReady, known)
        }
        (Err(error), None) => (failed(&error), None),
        (Err(error), Some(talk)) => {
            let outcome = match heard > talk.heard {
                true => ProbeOutcome::Busy {
                    raw: format!("{}: {}", error.code, error.message),
                },
                false => failed(&error),
            };
            (outcome, Some(Talk { heard, ..talk }))
        }
    }
}

/// Asks all that a plugin says of itself.
async fn first(client: PluginClient, within: Duration) -> (ProbeOutcome, Option<Talk>) {
    match interrogate(&client, within).await {
        Ok(facts) => answered(Talk {
            heard: client.answers(),
            client,
            facts: Arc::new(facts),
        }),
        Err(error) => (failed(&error), None),
    }
}

fn answered(talk: Talk) -> (ProbeOutcome, Option<Talk>) {
    (
        ProbeOutcome::Answered(Box::new(view(&talk.facts))),
        Some(talk),
    )
}

/// Asks how much room is left for each class, with its parameters, as it would be given to
/// `CreateVolume`: a plugin with several pools tells them apart by these alone. Left out are
/// the classes of which the plugin does not say.
pub(crate) async fn capacities(
    talk: Talk,
    classes: Classes,
    within: Duration,
) -> BTreeMap<ClassName, Bytes> {
    let mut free = BTreeMap::new();
    if !talk.facts.gets_capacity() {
        return free;
    }
    let mut told: BTreeMap<BTreeMap<String, String>, Option<Bytes>> = BTreeMap::new();
    for (class, parameters) in classes {
        let bytes = match told.get(&parameters) {
            Some(bytes) => *bytes,
            None => {
                let bytes = capacity(&talk, parameters.clone(), within).await;
                told.insert(parameters, bytes);
                bytes
            }
        };
        free.extend(bytes.map(|bytes| (class, bytes)));
    }
    free
}

async fn capacity(
    talk: &Talk,
    parameters: BTreeMap<String, String>,
    within: Duration,
) -> Option<Bytes> {
    let place = talk
        .facts
        .node
        .as_ref()
        .filter(|_| talk.facts.has_topology());
    let args = GetCapacity {
        parameters,
        topology: place.map(|node| node.topology.clone()),
        ..GetCapacity::default()
    };
    match talk.client.get_capacity(&args, within).await {
        Ok(capacity) => Some(Bytes(capacity.available_bytes)),
        Err(error) => {
            tracing::debug!(plugin = talk.facts.name, %error, "capacity is not told");
            None
        }
    }
}

fn failed(error: &CsiError) -> ProbeOutcome {
    let raw = format!("{}: {}", error.code, error.message);
    match error.code {
        Code::Transport | Code::DeadlineExceeded | Code::Cancelled => {
            ProbeOutcome::NoAnswer { raw }
        }
        Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated
        | Code::BadAnswer
        | Code::NotSent => ProbeOutcome::Refused {
            rpc: error.rpc.wire_name().to_owned(),
            raw,
        },
    }
}

/// Puts facts into the words of the API.
fn view(facts: &PluginFacts) -> PluginFactsView {
    let mut capabilities: Vec<String> = names(&facts.plugin_caps)
        .chain(names(&facts.controller_caps))
        .chain(names(&facts.node_caps))
        .collect();
    capabilities.sort();
    capabilities.dedup();
    let node = facts.node.as_ref();
    PluginFactsView {
        driver_name: facts.name.clone(),
        vendor_version: facts.vendor_version.clone(),
        capabilities,
        node_id: node.map(|n| n.node_id.clone()).unwrap_or_default(),
        max_volumes: node
            .and_then(|n| n.max_volumes)
            .map_or(0, |most| i64::try_from(most).unwrap_or(i64::MAX)),
        topology: node.map(|n| n.topology.0.clone()).unwrap_or_default(),
    }
}

/// Spells capabilities as CSI does.
fn names<'a, T: serde::Serialize + 'a>(
    caps: impl IntoIterator<Item = &'a T> + 'a,
) -> impl Iterator<Item = String> + 'a {
    caps.into_iter()
        .filter_map(|cap| match serde_json::to_value(cap) {
            Ok(serde_json::Value::String(name)) => Some(name),
            Ok(_) | Err(_) => None,
        })
}
