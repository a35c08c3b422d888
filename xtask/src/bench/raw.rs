//! The same CSI calls that a volume needs, made directly on the plugin's socket: what sutler's own
//! work is measured against.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sutler_csi::call::{CreateVolume, DeleteVolume, Publish, Stage, Unpublish, Unstage};
use sutler_csi::{
    AccessMode, AccessType, Capability, CapacityRange, Context, PluginClient, Secrets, interrogate,
};

/// Longest time for one call.
const WITHIN: Duration = Duration::from_secs(60);

/// A plugin, called without sutler.
pub(super) struct Raw {
    runtime: tokio::runtime::Runtime,
    client: PluginClient,
    folder: PathBuf,
}

/// Calls for one volume.
struct Volume {
    id: String,
    context: Context,
}

impl Raw {
    /// Connects. `folder` is one that the plugin sees at the same path.
    pub(super) fn connect(socket: &Path, folder: PathBuf) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(async { PluginClient::connect(socket) })?;
        // The first call opens the connection: not part of any measurement.
        runtime
            .block_on(interrogate(&client, WITHIN))
            .context("ask the plugin what it can")?;
        fs::create_dir_all(&folder)?;
        Ok(Self {
            runtime,
            client,
            folder,
        })
    }

    /// Creates, stages and publishes one volume, gives the time of the calls, and undoes it all.
    pub(super) fn round(&self, name: &str, bytes: u64) -> Result<Duration> {
        self.runtime.block_on(async {
            let started = Instant::now();
            let volume = self.create(name, bytes).await?;
            let created = started.elapsed();
            let (staging, target) = (self.folder.join("staging"), self.folder.join("target"));
            fs::create_dir_all(&staging)?;
            let continued = Instant::now();
            self.stage_and_publish(&volume, &staging, &target).await?;
            let taken = created + continued.elapsed();
            self.undo(&volume, &staging, &target).await?;
            Ok(taken)
        })
    }

    async fn create(&self, name: &str, bytes: u64) -> Result<Volume> {
        let call = CreateVolume {
            name: name.to_owned(),
            capacity: CapacityRange {
                required_bytes: bytes,
                limit_bytes: None,
            },
            capabilities: vec![capability()],
            parameters: BTreeMap::new(),
            mutable_parameters: BTreeMap::new(),
            source: None,
            requisite: Vec::new(),
            preferred: Vec::new(),
            secrets: Secrets::none(),
        };
        let made = self.client.create_volume(&call, WITHIN).await?;
        Ok(Volume {
            id: made.volume_id,
            context: made.context,
        })
    }

    async fn stage_and_publish(
        &self,
        volume: &Volume,
        staging: &Path,
        target: &Path,
    ) -> Result<()> {
        let stage = Stage {
            volume_id: volume.id.clone(),
            staging_path: staging.to_owned(),
            capability: capability(),
            publish_context: Context::default(),
            volume_context: volume.context.clone(),
            secrets: Secrets::none(),
        };
        self.client.stage(&stage, WITHIN).await?;
        let publish = Publish {
            volume_id: volume.id.clone(),
            staging_path: Some(staging.to_owned()),
            target_path: target.to_owned(),
            capability: capability(),
            read_only: false,
            publish_context: Context::default(),
            volume_context: volume.context.clone(),
            secrets: Secrets::none(),
        };
        Ok(self.client.publish(&publish, WITHIN).await?)
    }

    async fn undo(&self, volume: &Volume, staging: &Path, target: &Path) -> Result<()> {
        let volume_id = volume.id.clone();
        let unpublish = Unpublish {
            volume_id,
            target_path: target.to_owned(),
        };
        self.client.unpublish(&unpublish, WITHIN).await?;
        let volume_id = volume.id.clone();
        let unstage = Unstage {
            volume_id,
            staging_path: staging.to_owned(),
        };
        self.client.unstage(&unstage, WITHIN).await?;
        let delete = DeleteVolume {
            volume_id: volume.id.clone(),
            secrets: Secrets::none(),
        };
        Ok(self.client.delete_volume(&delete, WITHIN).await?)
    }
}

fn capability() -> Capability {
    let mount = AccessType::Mount {
        fs_type: String::new(),
        flags: Vec::new(),
        group: String::new(),
    };
    Capability {
        access_type: mount,
        access_mode: AccessMode::SingleNodeWriter,
    }
}
