//! What the tests of the client share: a fake plugin, a client of it, ordinary arguments.

use std::time::Duration;

use sutler_csi::call::{Attach, CreateVolume, Publish, Stage};
use sutler_csi::{
    AccessMode, AccessType, Capability, CapacityRange, Context, PluginClient, Secrets,
    VolumeDescription,
};
use sutler_testkit::fake_plugin::{FakeConfig, FakePlugin};
use tempfile::TempDir;

/// Far longer than any call that is answered takes.
pub const LONG: Duration = Duration::from_secs(20);

/// For calls that are never answered.
pub const SHORT: Duration = Duration::from_millis(100);

pub struct Bench {
    pub plugin: FakePlugin,
    pub client: PluginClient,
    _dir: TempDir,
}

pub fn bench(config: FakeConfig) -> Bench {
    let dir = TempDir::new().expect("a temporary directory");
    let plugin = FakePlugin::start(dir.path(), config);
    let client = PluginClient::connect(plugin.socket()).expect("a short path");
    Bench {
        plugin,
        client,
        _dir: dir,
    }
}

pub fn capability() -> Capability {
    Capability {
        access_type: AccessType::mount(),
        access_mode: AccessMode::SingleNodeWriter,
    }
}

pub fn create(name: &str) -> CreateVolume {
    CreateVolume {
        name: name.to_owned(),
        capacity: CapacityRange {
            required_bytes: 1 << 20,
            limit_bytes: None,
        },
        capabilities: vec![capability()],
        parameters: [("kind".to_owned(), "fast".to_owned())].into(),
        mutable_parameters: Default::default(),
        source: None,
        requisite: Vec::new(),
        preferred: Vec::new(),
        secrets: secrets(),
    }
}

pub fn secrets() -> Secrets {
    [("password".to_owned(), "hunter2".to_owned())]
        .into_iter()
        .collect()
}

pub fn attach(volume: &VolumeDescription) -> Attach {
    Attach {
        volume_id: volume.volume_id.clone(),
        node_id: "node-a".to_owned(),
        capability: capability(),
        read_only: false,
        volume_context: volume.context.clone(),
        secrets: secrets(),
    }
}

pub fn stage(volume: &VolumeDescription, publish_context: &Context) -> Stage {
    Stage {
        volume_id: volume.volume_id.clone(),
        staging_path: "/staging/v".into(),
        capability: capability(),
        publish_context: publish_context.clone(),
        volume_context: volume.context.clone(),
        secrets: secrets(),
    }
}

pub fn publish(volume: &VolumeDescription, publish_context: &Context) -> Publish {
    Publish {
        volume_id: volume.volume_id.clone(),
        staging_path: Some("/staging/v".into()),
        target_path: "/target/v".into(),
        capability: capability(),
        read_only: true,
        publish_context: publish_context.clone(),
        volume_context: volume.context.clone(),
        secrets: secrets(),
    }
}
