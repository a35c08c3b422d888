//! The storage provider of one node: the shell around every volume's machine.
//!
//! Owns the volume records in the agent's journal and every CSI call about a volume. One
//! task runs [`shell`]; all others hold a [`StorageHandle`]. Its loop takes events, gathers
//! the records of all steps into one commit, and only then lets effects go.

mod audit;
mod calls;
mod host_state;
mod identities;
mod introduction;
mod look;
mod outbox;
mod says;
mod secrets;
mod shell;
mod shown;
mod stats;
mod strays;
#[cfg(test)]
mod tests;
mod wakes;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use sutler_api::agent::{AgentWhy, OperationReport, VolumeOperation, VolumeReport};
use sutler_api::definition::SecretRef;
use sutler_api::volume::{AccessType, VolumeSpec};
use sutler_csi::{PluginClient, PluginFacts};
use sutler_ids::Problem;
use sutler_ids::{AgentName, PluginName, TaskId, VolumeId};
use sutler_store::{CommitError, LoadError, Store, Table};
use sutler_volume_core::{CallId, Seen};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use look::LOOK_WITHIN;

/// Volume records, by volume id.
pub(crate) const VOLUMES: Table = Table("volumes");

/// What the provider needs of its host.
#[derive(Clone)]
pub struct StorageConfig {
    /// Where volumes appear: a folder whose mounts are shared, with one folder for each plugin,
    /// which alone of all is at the same path inside the plugin's container.
    pub volumes_dir: PathBuf,
    /// The node's name.
    pub agent_name: AgentName,
    /// Changes with each boot.
    pub boot_id: String,
    /// The agent's journal.
    pub store: Store,
    /// Longest wait for a look at a mount, [`LOOK_WITHIN`] outside tests.
    pub look_within: Duration,
}

/// Where a published volume is on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The plugin that has made what is there, and may change it.
    pub plugin: PluginName,
    /// A folder to bind into the container; for a block volume a device node.
    pub path: PathBuf,
    /// Which of the two.
    pub access: AccessType,
}

/// What the provider tells the agent.
#[derive(Debug)]
pub enum StorageEvent {
    /// An operation has ended; its outcome is durable.
    Operation(OperationReport),
    /// A volume's state changed.
    Volume(VolumeReport),
    /// A volume's state, told before.
    VolumeAgain(VolumeReport),
    /// All volumes were told that the master's books do not have.
    Compared,
    /// A volume that the master's books do not have.
    Unknown(Box<VolumeSpec>, Box<VolumeReport>),
    /// A task's wish to use a volume has come true or failed.
    Acquired {
        volume_id: VolumeId,
        task_id: TaskId,
        /// Where it is, or why not.
        result: Result<Published, Problem>,
    },
    /// A task no longer holds a volume.
    Released {
        volume_id: VolumeId,
        task_id: TaskId,
    },
    /// What is wrong here that is no volume's own: records that cannot be read, mounts of no
    /// volume.
    Problem(Option<Problem>),
    /// The journal failed; the provider has ended and must be recovered anew.
    Failed(CommitError),
}

/// A plugin that answers.
pub struct PluginUp {
    /// Its connection.
    pub client: PluginClient,
    /// What it said of itself.
    pub facts: PluginFacts,
    /// Calls in flight at once, per lane.
    pub lanes: NonZeroU32,
    /// Whether it wants the target path to exist.
    pub pre_create_target: bool,
    /// Whether what it publishes is a mount, so that one without is none.
    pub mounts_volumes: bool,
    /// Longest wait for the answer to a call that changes something.
    pub call_timeout: Duration,
    /// Given in calls that take secrets.
    pub secrets: BTreeMap<String, SecretRef>,
}

/// Says why the provider cannot take up its work.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The journal cannot be read.
    #[error("cannot read the volume records of the agent's journal")]
    Load(#[source] LoadError),
}

pub(crate) enum Input {
    Submit(VolumeOperation),
    Acquire {
        volume_id: VolumeId,
        task_id: TaskId,
        read_only: bool,
    },
    Release {
        volume_id: VolumeId,
        task_id: TaskId,
    },
    RetainHolders(Vec<(VolumeId, TaskId)>),
    Forget(VolumeId),
    Wanted(Vec<VolumeId>),
    PluginUp(PluginName, Box<PluginUp>),
    PluginDown(PluginName),
    TellAll,
    Why(VolumeId, oneshot::Sender<Option<AgentWhy>>),
    VolumesOf(PluginName, oneshot::Sender<usize>),
    Ended(calls::CallEnded),
    Listed(Box<audit::Audit>),
    Mounted(Vec<strays::Found>),
    Looked(VolumeId, CallId, Seen),
    /// Bytes used, if the plugin has told.
    Used(VolumeId, Option<u64>),
}

/// The way to the storage provider. All its verbs may be repeated.
#[derive(Clone)]
pub struct StorageHandle {
    // Unbounded, because its senders are few and level-triggered: one per master message,
    // task and plugin event, each of which the agent bounds itself.
    inputs: mpsc::UnboundedSender<Input>,
}

/// Takes up the work from the journal.
///
/// # Errors
/// [`RecoverError`]. A single damaged record is logged and left out, never fatal.
pub fn recover(
    config: StorageConfig,
    out: mpsc::UnboundedSender<StorageEvent>,
) -> Result<(StorageHandle, JoinHandle<()>), RecoverError> {
    let loaded = config.store.load(VOLUMES).map_err(RecoverError::Load)?;
    let (inputs, receiver) = mpsc::unbounded_channel();
    let shell = shell::Shell::new(config, loaded, inputs.downgrade(), out);
    let join = tokio::spawn(shell.run(receiver));
    Ok((StorageHandle { inputs }, join))
}

impl StorageHandle {
    fn send(&self, input: Input) {
        // The provider ends only after it has said `Failed`; what comes later is moot.
        let _ = self.inputs.send(input);
    }

    /// Wants an operation carried out. Its outcome comes as [`StorageEvent::Operation`],
    /// again for each repeat.
    pub fn submit(&self, operation: VolumeOperation) {
        self.send(Input::Submit(operation));
    }

    /// Wants a volume published for a task; ends in one [`StorageEvent::Acquired`].
    pub fn acquire(&self, volume_id: VolumeId, task_id: TaskId, read_only: bool) {
        self.send(Input::Acquire {
            volume_id,
            task_id,
            read_only,
        });
    }

    /// A task is done with a volume; ends in one [`StorageEvent::Released`].
    pub fn release(&self, volume_id: VolumeId, task_id: TaskId) {
        self.send(Input::Release { volume_id, task_id });
    }

    /// Lets every holder go that is not among these.
    pub fn retain_holders(&self, holders: Vec<(VolumeId, TaskId)>) {
        self.send(Input::RetainHolders(holders));
    }

    /// The master's books have these volumes here; one without a record is told as missing, and
    /// one that has a record and is not among them as unknown to the books.
    pub fn wanted(&self, volume_ids: Vec<VolumeId>) {
        self.send(Input::Wanted(volume_ids));
    }

    /// The master has recorded the volume's end.
    pub fn forget(&self, volume_id: VolumeId) {
        self.send(Input::Forget(volume_id));
    }

    /// A plugin answers.
    pub fn plugin_up(&self, plugin: PluginName, up: PluginUp) {
        self.send(Input::PluginUp(plugin, Box::new(up)));
    }

    /// A plugin does not answer any more.
    pub fn plugin_down(&self, plugin: PluginName) {
        self.send(Input::PluginDown(plugin));
    }

    /// Wants every state and every kept outcome told again.
    pub fn tell_all(&self) {
        self.send(Input::TellAll);
    }

    /// Tells a volume's story; `None` for one that is not ours.
    pub async fn why(&self, volume_id: VolumeId) -> Option<AgentWhy> {
        let (answer, told) = oneshot::channel();
        self.send(Input::Why(volume_id, answer));
        told.await.ok().flatten()
    }

    /// Counts a plugin's volumes that are, or may be, mounted here.
    pub async fn volumes_of(&self, plugin: PluginName) -> usize {
        let (answer, told) = oneshot::channel();
        self.send(Input::VolumesOf(plugin, answer));
        told.await.unwrap_or(0)
    }
}
