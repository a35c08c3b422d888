//! What a plugin lists, held against the books: one question for all of its volumes, each time
//! that it has come up. A volume that is not in the list is asked for by itself; the others are
//! not.

use std::collections::HashSet;
use std::sync::Arc;

use sutler_csi::{CsiError, LaneKind};
use sutler_ids::{PluginName, VolumeId};
use sutler_volume_core::Event;

use super::Input;
use super::calls::{LIST_PAGE_ENTRIES, Plugin, READ_DEADLINE};
use super::shell::Shell;

/// A list, and what the books had before it was begun.
pub(crate) struct Audit {
    plugin: Arc<Plugin>,
    name: PluginName,
    booked: Vec<(VolumeId, String)>,
    listed: Result<HashSet<String>, CsiError>,
}

impl Shell {
    /// Asks a plugin for its list, if it has one.
    pub(crate) fn audit(&mut self, name: &PluginName) {
        self.audits_due.remove(name);
        let (Some(plugin), Some(inputs)) = (self.plugins.get(name), self.inputs.upgrade()) else {
            return;
        };
        if !plugin.up.facts.lists_volumes() {
            return;
        }
        let booked = self.volumes.iter().filter_map(|(volume_id, volume)| {
            let record = volume.record();
            let ours = record.spec.plugin == *name;
            let created = record.created().filter(|_| ours)?;
            Some((*volume_id, created.csi_volume_id.clone()))
        });
        let booked: Vec<(VolumeId, String)> = booked.collect();
        if booked.is_empty() {
            return;
        }
        let (plugin, name) = (Arc::clone(plugin), name.clone());
        self.calls.spawn(async move {
            let listed = list(&plugin).await;
            let audit = Audit {
                plugin,
                name,
                booked,
                listed,
            };
            let _ = inputs.send(Input::Listed(Box::new(audit)));
        });
    }

    /// Lists again what could not be listed.
    pub(crate) fn audit_again(&mut self) {
        for name in self.audits_due.clone() {
            self.audit(&name);
        }
    }

    pub(crate) fn audited(&mut self, audit: Audit) {
        // Another run of the plugin has its own list.
        let now = self.plugins.get(&audit.name);
        if now.is_none_or(|now| !Arc::ptr_eq(now, &audit.plugin)) {
            return;
        }
        let listed = match audit.listed {
            Ok(listed) => listed,
            Err(error) => {
                let cause = sutler_telemetry::chain(&error);
                tracing::warn!(plugin = %audit.name, %cause, "its volumes could not be listed");
                self.audits_due.insert(audit.name);
                return;
            }
        };
        for (volume_id, csi_id) in audit.booked {
            let listed = listed.contains(&csi_id);
            self.send(volume_id, Event::Listed { listed });
        }
    }
}

async fn list(plugin: &Plugin) -> Result<HashSet<String>, CsiError> {
    // A lane that is closed belongs to a plugin that is gone, and so does the call's error.
    let _permit = plugin.lanes.enter(LaneKind::Read, &plugin.name).await.ok();
    let client = &plugin.up.client;
    let listed = client.list_volumes(LIST_PAGE_ENTRIES, READ_DEADLINE);
    let ids = listed
        .await?
        .into_iter()
        .map(|entry| entry.volume.volume_id);
    Ok(ids.collect())
}

#[cfg(test)]
mod tests {
    use sutler_api::agent::{Outcome, VolumeAct};
    use sutler_csi::Rpc;
    use sutler_testkit::fake_plugin::{FakeConfig, Fault, When};

    use super::super::tests::{Bench, operation, task, volume_id};

    #[tokio::test]
    async fn at_a_start_the_plugin_is_asked_for_its_list_and_not_for_each_volume() {
        let bench = Bench::created(FakeConfig::default()).await;
        assert_eq!(bench.plugin.count(Rpc::ListVolumes), 0, "none was there");
        let bench = bench.restart().await;
        bench.plugin.wait_calls(Rpc::ListVolumes, 1).await;
        // Answered after whatever the list led to was begun.
        bench.handle.volumes_of("fake".parse().unwrap()).await;
        assert_eq!(bench.plugin.count(Rpc::Validate), 0);
    }

    #[tokio::test]
    async fn without_a_list_or_with_one_that_failed_it_is_asked_before_a_volume_is_used() {
        let fake = FakeConfig {
            list: false,
            ..FakeConfig::default()
        };
        for (fake, lists) in [(fake, 0), (FakeConfig::default(), 1)] {
            let bench = Bench::created(fake).await;
            let away = Fault::Fail(tonic::Code::Unavailable, "away".to_owned());
            bench.plugin.set_fault(Rpc::ListVolumes, When::Always, away);
            let mut bench = bench.restart().await;
            bench.plugin.wait_calls(Rpc::ListVolumes, lists).await;
            assert_eq!(bench.plugin.count(Rpc::Validate), 0, "nobody wants it");
            bench.handle.acquire(volume_id(), task("a"), false);
            bench.acquired("a").await.unwrap();
            assert_eq!(bench.plugin.count(Rpc::Validate), 1);
            bench.handle.release(volume_id(), task("a"));
            bench.handle.submit(operation(2, VolumeAct::Delete));
            assert_eq!(bench.outcome(2).await, Outcome::Finished);
        }
    }
}
