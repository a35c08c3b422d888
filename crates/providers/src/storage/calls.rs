//! From a call of a volume's machine to the wire and back. Thin: one call, one end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sutler_api::volume::AccessType;
use sutler_csi::{
    AccessMode, Capability, CapacityRange, CsiError, LaneKind, Lanes, Secrets, Topology,
    call as args,
};
use sutler_ids::VolumeId;
use sutler_ids::{Bytes, ErrorKind, Problem};
use sutler_volume_core::{Answer, Call, CallId, Expanded, Failure, Made, Rpc, Shown, Verdict};

use super::host_state::VolumePaths;
use super::says::{folder_failure, in_the_way, problem, under_a_mount, verdict};
use super::{PluginUp, secrets};

/// Longest wait for the answer to a question that changes nothing: it holds a lane that calls
/// which do are waiting for.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Entries per page asked of ListVolumes: few enough for one message, many enough that a
/// thousand volumes take a handful of pages.
pub(crate) const LIST_PAGE_ENTRIES: u32 = 256;

/// A call has ended.
pub(crate) struct CallEnded {
    pub(crate) volume_id: VolumeId,
    pub(crate) call_id: CallId,
    /// What the plugin says.
    pub(crate) result: Result<Answer, Failure>,
    /// What the kernel says.
    pub(crate) shown: Shown,
}

/// A plugin with its waiting line.
pub(crate) struct Plugin {
    pub(crate) up: PluginUp,
    pub(crate) lanes: Lanes,
    pub(crate) name: String,
}

/// Everything that one call is made from.
pub(crate) struct Job {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) call: Call,
    pub(crate) paths: VolumePaths,
    /// Ids of the plugin's volumes that the books have; for finding ones they don't. Gathered
    /// for a question about a volume that was not made, and empty for every other call.
    pub(crate) booked: BTreeSet<String>,
}

impl Job {
    /// Makes the call.
    pub(crate) async fn run(self) -> CallEnded {
        let label = self.call.rpc.label();
        let volume_id = self.call.spec.volume_id;
        let (result, shown) = match self.enter().await {
            Ok(_permit) => {
                sutler_telemetry::failpoint::hit(&format!("agent.volume.call.{label}.before"));
                let result = self.make().await;
                let shown = self.shown_after(&result).await;
                self.tidy_folders(&result, &shown);
                sutler_telemetry::failpoint::hit(&format!("agent.volume.call.{label}.after"));
                (result, shown)
            }
            Err(failure) => (Err(failure), Shown::NotAsked),
        };
        log_end(&self, &result);
        CallEnded {
            volume_id,
            call_id: self.call.call_id,
            result,
            shown,
        }
    }

    async fn enter(&self) -> Result<sutler_csi::LanePermit, Failure> {
        let lane = match self.call.rpc {
            Rpc::Create | Rpc::Delete | Rpc::ControllerExpand(_) => LaneKind::Controller,
            Rpc::Verify => LaneKind::Read,
            Rpc::Attach => LaneKind::Attach,
            Rpc::Detach => LaneKind::Detach,
            Rpc::Stage | Rpc::Publish | Rpc::NodeExpand(_) => LaneKind::NodeUp,
            Rpc::Unstage | Rpc::Unpublish => LaneKind::NodeDown,
        };
        let volume = self.call.spec.volume_id.to_string();
        self.plugin
            .lanes
            .enter(lane, &volume)
            .await
            .map_err(|error| Failure {
                verdict: Verdict::NotNow,
                problem: Problem::new(ErrorKind::Unavailable, error.to_string()),
            })
    }

    async fn make(&self) -> Result<Answer, Failure> {
        let secrets = self.secrets().await?;
        match self.call.rpc {
            Rpc::Create => self.create(secrets).await,
            Rpc::Delete => self.delete(secrets).await,
            Rpc::Attach => self.attach(secrets).await,
            Rpc::Detach => self.detach(secrets).await,
            Rpc::Stage => self.stage(secrets).await,
            Rpc::Unstage => self.unstage().await,
            Rpc::Publish => self.publish(secrets).await,
            Rpc::Unpublish => self.unpublish().await,
            Rpc::ControllerExpand(to) => self.controller_expand(to, secrets).await,
            Rpc::NodeExpand(to) => self.node_expand(to, secrets).await,
            Rpc::Verify => self.verify(secrets).await,
        }
    }

    /// What the call takes of secrets. Coming down goes on without those that cannot be read.
    async fn secrets(&self) -> Result<Secrets, Failure> {
        if matches!(self.call.rpc, Rpc::Unpublish | Rpc::Unstage) {
            return Ok(Secrets::default());
        }
        match secrets::read(&self.plugin.up.secrets).await {
            Ok(secrets) => Ok(secrets),
            Err(problem) if self.call.rpc.is_down() => {
                tracing::warn!(rpc = self.call.rpc.csi_name(), %problem, "called without secrets");
                Ok(Secrets::default())
            }
            Err(problem) => Err(Failure {
                verdict: Verdict::NotNow,
                problem,
            }),
        }
    }

    async fn create(&self, secrets: Secrets) -> Result<Answer, Failure> {
        let facts = &self.plugin.up.facts;
        if !facts.creates_volumes() {
            let what = format!("plugin {} cannot create volumes", self.plugin.name);
            let problem = Problem::new(ErrorKind::Invalid, what);
            return Err(Failure {
                verdict: Verdict::Refused,
                problem,
            });
        }
        let request = self.create_request(secrets);
        let client = &self.plugin.up.client;
        let made = client
            .create_volume(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Made(Made {
            csi_volume_id: made.volume_id,
            driver: facts.name.clone(),
            capacity: made.capacity_bytes.filter(|n| *n > 0).map(Bytes),
            volume_context: made.context.reveal().clone(),
            topology: made.topology.into_iter().map(|place| place.0).collect(),
            here: self.here().unwrap_or_default().0,
            // Only the books know.
            also: None,
        }))
    }

    fn create_request(&self, secrets: Secrets) -> args::CreateVolume {
        let spec = &self.call.spec;
        // The volume must be reachable from this node, which owns it.
        let requisite: Vec<_> = self.here().into_iter().collect();
        args::CreateVolume {
            name: spec.volume_id.csi_name(),
            capacity: CapacityRange {
                required_bytes: spec.capacity.get(),
                limit_bytes: None,
            },
            capabilities: vec![self.capability()],
            parameters: spec.parameters.clone(),
            mutable_parameters: Default::default(),
            source: None,
            preferred: requisite.clone(),
            requisite,
            secrets,
        }
    }

    /// Where this node is, in the words of a driver that has such words.
    fn here(&self) -> Option<Topology> {
        let facts = &self.plugin.up.facts;
        let node = facts.node.as_ref().filter(|_| facts.has_topology());
        node.map(|node| node.topology.clone())
    }

    async fn delete(&self, secrets: Secrets) -> Result<Answer, Failure> {
        // The machine deletes what is down alone. If the kernel knows better, it is asked before
        // the bytes are gone.
        if let Some(mounted) = self.paths.still_mounted() {
            return Err(under_a_mount(&self.call, &mounted));
        }
        let request = args::DeleteVolume {
            volume_id: self.csi_id(),
            secrets,
        };
        let client = &self.plugin.up.client;
        client
            .delete_volume(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn attach(&self, secrets: Secrets) -> Result<Answer, Failure> {
        let request = args::Attach {
            volume_id: self.csi_id(),
            node_id: self.call.csi_node_id.clone(),
            capability: self.capability(),
            read_only: false,
            volume_context: self.volume_context(),
            secrets,
        };
        let client = &self.plugin.up.client;
        let context = client
            .attach(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Attached(context.reveal().clone()))
    }

    async fn detach(&self, secrets: Secrets) -> Result<Answer, Failure> {
        let request = args::Detach {
            volume_id: self.csi_id(),
            node_id: self.call.csi_node_id.clone(),
            secrets,
        };
        let client = &self.plugin.up.client;
        client
            .detach(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn stage(&self, secrets: Secrets) -> Result<Answer, Failure> {
        self.paths
            .ensure_staging()
            .map_err(|error| folder_failure(&error, &self.plugin.name))?;
        let request = args::Stage {
            volume_id: self.csi_id(),
            staging_path: self.paths.staging(),
            capability: self.capability(),
            publish_context: self.call.publish_context.clone().into(),
            volume_context: self.volume_context(),
            secrets,
        };
        let client = &self.plugin.up.client;
        client
            .stage(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn unstage(&self) -> Result<Answer, Failure> {
        let request = args::Unstage {
            volume_id: self.csi_id(),
            staging_path: self.paths.staging(),
        };
        let client = &self.plugin.up.client;
        client
            .unstage(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn publish(&self, secrets: Secrets) -> Result<Answer, Failure> {
        let made = if self.plugin.up.pre_create_target {
            self.paths.ensure_target()
        } else {
            self.paths.ensure_target_parent()
        };
        made.map_err(|error| folder_failure(&error, &self.plugin.name))?;
        // What lies there was written to the host's own disk, and a mount would hide it for good.
        if !self.call.abilities.mounts_nothing && self.paths.target_holds_files() {
            return Err(in_the_way(&self.call, &self.paths.target()));
        }
        let request = args::Publish {
            volume_id: self.csi_id(),
            staging_path: self.call.abilities.stages.then(|| self.paths.staging()),
            target_path: self.paths.target(),
            capability: self.capability(),
            read_only: false,
            publish_context: self.call.publish_context.clone().into(),
            volume_context: self.volume_context(),
            secrets,
        };
        let client = &self.plugin.up.client;
        client
            .publish(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn unpublish(&self) -> Result<Answer, Failure> {
        let request = args::Unpublish {
            volume_id: self.csi_id(),
            target_path: self.paths.target(),
        };
        let client = &self.plugin.up.client;
        client
            .unpublish(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn controller_expand(&self, to: Bytes, secrets: Secrets) -> Result<Answer, Failure> {
        let request = args::ExpandController {
            volume_id: self.csi_id(),
            capacity: CapacityRange {
                required_bytes: to.get(),
                limit_bytes: None,
            },
            capability: Some(self.capability()),
            secrets,
        };
        let client = &self.plugin.up.client;
        let grown = client
            .controller_expand(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Expanded(Expanded {
            capacity: Bytes(grown.capacity_bytes),
            node_expansion_required: grown.node_expansion_required,
        }))
    }

    async fn node_expand(&self, to: Bytes, secrets: Secrets) -> Result<Answer, Failure> {
        let request = args::ExpandNode {
            volume_id: self.csi_id(),
            volume_path: self.paths.target(),
            staging_path: self.call.abilities.stages.then(|| self.paths.staging()),
            capacity: Some(CapacityRange {
                required_bytes: to.get(),
                limit_bytes: None,
            }),
            capability: Some(self.capability()),
            secrets,
        };
        let client = &self.plugin.up.client;
        client
            .node_expand(&request, self.deadline())
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    async fn verify(&self, secrets: Secrets) -> Result<Answer, Failure> {
        if self.call.created.is_none() {
            return self.look_for_unknown().await;
        }
        let request = args::Validate {
            volume_id: self.csi_id(),
            volume_context: self.volume_context(),
            capabilities: vec![self.capability()],
            parameters: self.call.spec.parameters.clone(),
            secrets,
        };
        let client = &self.plugin.up.client;
        client
            .validate_volume_capabilities(&request, READ_DEADLINE)
            .await
            .map_err(self.says())?;
        Ok(Answer::Done)
    }

    /// Looks whether a creation of unknown outcome left something that no record names.
    async fn look_for_unknown(&self) -> Result<Answer, Failure> {
        if !self.plugin.up.facts.lists_volumes() {
            let what = format!("plugin {} cannot list its volumes", self.plugin.name);
            let problem = Problem::new(ErrorKind::Unavailable, what);
            return Err(Failure {
                verdict: Verdict::Refused,
                problem,
            });
        }
        let client = &self.plugin.up.client;
        let listed = client
            .list_volumes(LIST_PAGE_ENTRIES, READ_DEADLINE)
            .await
            .map_err(|error| Failure {
                verdict: Verdict::Uncertain,
                ..self.says()(error)
            })?;
        let unknown = listed
            .into_iter()
            .map(|entry| entry.volume.volume_id)
            .find(|id| !self.booked.contains(id));
        match unknown {
            None => Ok(Answer::Done),
            Some(id) => {
                let what = format!(
                    "plugin {} lists volume {id}, which our books do not have",
                    self.plugin.name
                );
                let problem = Problem::new(ErrorKind::Conflict, what);
                Err(Failure {
                    verdict: Verdict::Uncertain,
                    problem,
                })
            }
        }
    }

    /// Longest wait for one answer. A back end that needs longer answers the repeat of the same
    /// call; until then the volume is uncertain, which is the truth.
    fn deadline(&self) -> Duration {
        self.plugin.up.call_timeout
    }

    fn capability(&self) -> Capability {
        let spec = &self.call.spec;
        let access_mode = if self.call.abilities.single_node_modes {
            AccessMode::SingleNodeSingleWriter
        } else {
            AccessMode::SingleNodeWriter
        };
        let access_type = match spec.access {
            AccessType::Block => sutler_csi::AccessType::Block,
            AccessType::Mount => sutler_csi::AccessType::Mount {
                fs_type: spec.fs_type.clone().unwrap_or_default(),
                flags: spec.mount_flags.clone(),
                group: String::new(),
            },
        };
        Capability {
            access_type,
            access_mode,
        }
    }

    fn csi_id(&self) -> String {
        self.call
            .created
            .as_ref()
            .map(|created| created.csi_volume_id.clone())
            .expect("only Create and the list are asked before the volume exists")
    }

    fn volume_context(&self) -> sutler_csi::Context {
        let created = self.call.created.as_ref();
        created
            .map(|created| created.volume_context.clone())
            .unwrap_or_default()
            .into()
    }

    fn says(&self) -> impl Fn(CsiError) -> Failure + '_ {
        move |error| Failure {
            verdict: verdict(&error),
            problem: problem(&error, &self.plugin.name, &self.call),
        }
    }
}

fn log_end(job: &Job, result: &Result<Answer, Failure>) {
    let (volume_id, rpc, plugin) = (
        job.call.spec.volume_id,
        job.call.rpc.csi_name(),
        job.plugin.name.as_str(),
    );
    match result {
        Ok(_) => tracing::info!(%volume_id, rpc, plugin, "call done"),
        Err(failure) => tracing::warn!(
            %volume_id, rpc, plugin, verdict = ?failure.verdict, cause = %failure.problem,
            "call failed"
        ),
    }
}
