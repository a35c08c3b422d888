//! The calibrator of volumes: the plugin's own calls, made straight on its socket.
//!
//! It is the same plugin process that the cluster uses, asked for volumes of the same size and
//! kind. They lie below the agent's volumes folder, where the plugin's mounts go both ways, and
//! are gone after each round; the cluster never hears of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sutler_csi::call::{CreateVolume, DeleteVolume, Publish, Stage, Unpublish, Unstage};
use sutler_csi::{
    AccessMode, AccessType, Capability, CapacityRange, PluginClient, Secrets, VolumeDescription,
};
use sutler_ids::Bytes;
use tokio::runtime::Runtime;

/// Longest time of one call.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A plugin, without the platform.
pub(super) struct RawPlugin {
    runtime: Runtime,
    client: PluginClient,
    folder: PathBuf,
}

/// What the calls that make a volume usable took.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawTimes {
    /// CreateVolume.
    pub create: Duration,
    /// NodeStageVolume and NodePublishVolume together.
    pub publish: Duration,
}

impl RawTimes {
    /// All of them.
    pub(super) fn sum(&self) -> Duration {
        self.create + self.publish
    }
}

impl RawPlugin {
    /// Prepares to call a plugin; its volumes are published below a folder of the agent's.
    pub(super) fn connect(socket: &Path, volumes_dir: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(async { PluginClient::connect(socket) })?;
        let folder = volumes_dir.join("raw");
        fs::create_dir_all(folder.join("staging")).with_context(|| folder.display().to_string())?;
        Ok(Self {
            runtime,
            client,
            folder,
        })
    }

    /// Makes one volume, stages and publishes it, and undoes all of that untimed.
    pub(super) fn round(&self, name: &str, size: Bytes) -> Result<RawTimes> {
        self.runtime.block_on(async {
            let request = create(name, size);
            let began = Instant::now();
            let volume = self.client.create_volume(&request, ANSWER_WITHIN).await?;
            let create = began.elapsed();
            let (stage, publish) = (self.stage(&volume), self.publish(&volume));
            let began = Instant::now();
            self.client.stage(&stage, ANSWER_WITHIN).await?;
            self.client.publish(&publish, ANSWER_WITHIN).await?;
            let publish = began.elapsed();
            self.undo(volume.volume_id).await?;
            Ok(RawTimes { create, publish })
        })
    }

    fn stage(&self, volume: &VolumeDescription) -> Stage {
        Stage {
            volume_id: volume.volume_id.clone(),
            staging_path: self.folder.join("staging"),
            capability: capability(),
            publish_context: Default::default(),
            volume_context: volume.context.clone(),
            secrets: Secrets::default(),
        }
    }

    fn publish(&self, volume: &VolumeDescription) -> Publish {
        Publish {
            volume_id: volume.volume_id.clone(),
            staging_path: Some(self.folder.join("staging")),
            target_path: self.folder.join("target"),
            capability: capability(),
            read_only: false,
            publish_context: Default::default(),
            volume_context: volume.context.clone(),
            secrets: Secrets::default(),
        }
    }

    async fn undo(&self, volume_id: String) -> Result<()> {
        let unpublish = Unpublish {
            volume_id: volume_id.clone(),
            target_path: self.folder.join("target"),
        };
        self.client.unpublish(&unpublish, ANSWER_WITHIN).await?;
        let unstage = Unstage {
            volume_id: volume_id.clone(),
            staging_path: self.folder.join("staging"),
        };
        self.client.unstage(&unstage, ANSWER_WITHIN).await?;
        let secrets = Secrets::default();
        let delete = DeleteVolume { volume_id, secrets };
        self.client.delete_volume(&delete, ANSWER_WITHIN).await?;
        Ok(())
    }
}

fn create(name: &str, size: Bytes) -> CreateVolume {
    CreateVolume {
        name: name.to_owned(),
        capacity: CapacityRange {
            required_bytes: size.get(),
            limit_bytes: None,
        },
        capabilities: vec![capability()],
        parameters: BTreeMap::new(),
        mutable_parameters: BTreeMap::new(),
        source: None,
        requisite: Vec::new(),
        preferred: Vec::new(),
        secrets: Secrets::default(),
    }
}

fn capability() -> Capability {
    Capability {
        access_type: AccessType::mount(),
        access_mode: AccessMode::SingleNodeWriter,
    }
}
