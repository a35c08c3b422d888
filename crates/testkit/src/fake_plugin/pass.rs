//! One call's way through the fake: record it, watch the rules, meet its fault, do the work.
//!
//! Owns the state that the plugins of one back end share, and the order of the steps. The
//! work itself is in `world.rs` and `node_world.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sutler_csi::Rpc;
use tokio::sync::{oneshot, watch};
use tonic::{Code, Response, Status};

use super::config::FakeConfig;
use super::fault::{Fault, Faults};
use super::handle::Connections;
use super::record::{Outcome, RecordedCall};
use super::rules::{Args, End, InFlight, Overlap, Replays, is_node_call};
use super::world::World;

/// How long an earlier call may take to vanish before a later one counts as in flight beside
/// it. A caller that gives up a call and makes another sends both at once, and the server
/// learns of the first a moment after the second.
const VANISH: Duration = Duration::from_millis(200);

/// What the plugins of one back end share.
#[derive(Debug)]
pub(super) struct Backend {
    state: Mutex<State>,
    /// Rises with every call, so that tests can wait for one.
    pub(super) arrived: watch::Sender<u64>,
    /// Rises with every release of what is held.
    pub(super) released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) world: World,
    pub(super) calls: Vec<RecordedCall>,
    in_flight: InFlight,
    replays: Replays,
    /// Volumes on which the plugin still works though the caller may be gone.
    /// By volume, the node of the plugin that does.
    held: BTreeMap<String, String>,
}

impl State {
    /// The plugin of a node died: nothing there is in flight or held any more.
    pub(super) fn plugin_died(&mut self, node_id: &str) {
        self.in_flight.drop_all(node_id);
        self.held.retain(|_, holder| holder != node_id);
    }

    /// The plugin came back without its volumes: nothing is repeated any more.
    pub(super) fn forget_volumes(&mut self) {
        self.world.forget_volumes();
        self.replays.clear();
    }
}

impl Backend {
    pub(super) fn new(capacity_bytes: u64) -> Backend {
        let world = World::new(capacity_bytes);
        Backend {
            state: Mutex::new(State {
                world,
                ..State::default()
            }),
            arrived: watch::Sender::new(0),
            released: watch::Sender::new(0),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One start of one plugin. Its server's handlers hold it.
#[derive(Debug)]
pub(super) struct Plugin {
    pub(super) backend: Arc<Backend>,
    pub(super) config: FakeConfig,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) connections: Arc<Connections>,
    pub(super) probes: Mutex<u32>,
    /// Whether Probe says that it is not ready, whatever else.
    pub(super) unready: Arc<AtomicBool>,
    /// Work that is held; ends with the plugin.
    pub(super) tasks: Mutex<tokio::task::JoinSet<()>>,
}

type Work<Q, A> = fn(&mut World, &FakeConfig, &Q) -> Result<A, Status>;

impl Plugin {
    /// The way of a call.
    pub(super) async fn pass<Q, A>(
        self: &Arc<Self>,
        rpc: Rpc,
        args: Q,
        work: Work<Q, A>,
    ) -> Result<Response<A>, Status>
    where
        Q: Args + 'static,
        A: Send + 'static,
    {
        let (mut pass, overlaps) = Pass::begin(self, rpc, &args);
        pass.judge(overlaps).await;
        let result = match pass.admit(&args) {
            Ok(()) => pass.meet_fault(args, work).await,
            Err(status) => Err(status),
        };
        pass.end(&result);
        result.map(Response::new)
    }

    fn fault(&self, rpc: Rpc) -> Option<Fault> {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(rpc)
    }

    /// Dies in the middle of a call, so it never returns.
    async fn die<T>(&self) -> T {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
        self.connections.break_all(true).await
    }

    /// Whether the plugin has the capability that a call needs.
    fn supports(&self, rpc: Rpc) -> bool {
        let config = &self.config;
        match rpc {
            Rpc::Probe | Rpc::PluginInfo | Rpc::PluginCapabilities => true,
            Rpc::ControllerCapabilities | Rpc::CreateVolume | Rpc::DeleteVolume | Rpc::Validate => {
                config.controller
            }
            Rpc::Attach | Rpc::Detach => config.controller && config.attach,
            Rpc::ListVolumes => config.controller && config.list,
            Rpc::GetCapacity => config.controller && config.capacity,
            Rpc::ExpandController => config.controller && config.expand_controller,
            Rpc::NodeCapabilities | Rpc::NodeInfo | Rpc::Publish | Rpc::Unpublish => config.node,
            Rpc::Stage | Rpc::Unstage => config.node && config.stage,
            Rpc::VolumeStats => config.node && config.stats,
            Rpc::ExpandNode => config.node && config.expand_node,
        }
    }
}

/// A call on its way. Dropped before its end, it counts as given up by the caller.
struct Pass {
    plugin: Arc<Plugin>,
    rpc: Rpc,
    sequence: u64,
    /// One name for the volume, whether the call gave its name or its id.
    volume: Option<String>,
    object: Option<String>,
    ended: bool,
}

impl Pass {
    fn begin<Q: Args>(plugin: &Arc<Plugin>, rpc: Rpc, args: &Q) -> (Pass, Vec<Overlap>) {
        let mut state = plugin.backend.lock();
        let sequence = state.calls.len() as u64;
        let node_id = plugin.config.node_id.clone();
        state.calls.push(RecordedCall {
            sequence,
            rpc,
            node_id: node_id.clone(),
            volume: args.volume(),
            outcome: Outcome::Pending,
            bytes: args.encode_to_vec(),
        });
        let volume = args.volume().map(|volume| state.world.name_of(&volume));
        let overlaps = match &volume {
            Some(volume) => state.in_flight.enter(sequence, rpc, volume, &node_id),
            None => Vec::new(),
        };
        let at = if is_node_call(rpc) {
            format!(" on {node_id}")
        } else {
            String::new()
        };
        let object = args.object().map(|object| object + &at);
        drop(state);
        plugin.backend.arrived.send_modify(|count| *count += 1);
        let plugin = Arc::clone(plugin);
        (
            Pass {
                plugin,
                rpc,
                sequence,
                volume,
                object,
                ended: false,
            },
            overlaps,
        )
    }

    /// Decides whether an earlier call was really in flight, or given up just now.
    async fn judge(&self, overlaps: Vec<Overlap>) {
        for mut overlap in overlaps {
            let vanished = tokio::time::timeout(VANISH, overlap.end.wait_for(Option::is_some));
            let given_up = match vanished.await {
                Ok(Ok(end)) => *end == Some(End::Dropped),
                Ok(Err(_)) => true,
                Err(_) => false,
            };
            if !given_up {
                let volume = self.volume.as_deref().unwrap_or_default();
                let (rpc, earlier) = (self.rpc, overlap.rpc);
                self.violate(format!("{rpc} for {volume} while {earlier} was in flight"));
            }
        }
    }

    /// Whether the call may be made at all.
    fn admit<Q: Args>(&self, args: &Q) -> Result<(), Status> {
        let rpc = self.rpc;
        if !self.plugin.supports(rpc) {
            if !is_capability_call(rpc) {
                self.violate(format!("{rpc}, for which the plugin has no capability"));
            }
            return Err(Status::unimplemented(format!("the fake has no {rpc}")));
        }
        for fault in args.faults() {
            self.violate(format!("{rpc}: {fault}"));
        }
        let mut state = self.plugin.backend.lock();
        if let Some(object) = &self.object {
            let bytes = args.clone().without_secrets().encode_to_vec();
            if !state.replays.matches(rpc, object, &bytes) {
                state
                    .world
                    .violate(format!("{rpc} for {object} repeated with other arguments"));
            }
        }
        match &self.volume {
            Some(volume) if state.held.contains_key(volume) => Err(Status::aborted(
                "an earlier call for the volume is still at work",
            )),
            Some(_) | None => Ok(()),
        }
    }

    async fn meet_fault<Q, A>(&mut self, args: Q, work: Work<Q, A>) -> Result<A, Status>
    where
        Q: Args + 'static,
        A: Send + 'static,
    {
        let Some(fault) = self.plugin.fault(self.rpc) else {
            return self.work(&args, work);
        };
        match fault {
            Fault::Fail(code, text) => Err(Status::new(code, text)),
            Fault::DoThenFail(code, text) => {
                self.work(&args, work)?;
                Err(Status::new(code, text))
            }
            Fault::Delay(time) => {
                // The server drops this call when its caller gives up.
                tokio::time::sleep(time).await;
                self.work(&args, work)
            }
            Fault::Hang => std::future::pending().await,
            Fault::DoThenHang => {
                self.work(&args, work)?;
                std::future::pending().await
            }
            Fault::Hold => self.hold(args, work).await,
            Fault::DoThenHold => {
                let result = self.work(&args, work);
                wait_release(&self.plugin.backend).await;
                result
            }
            Fault::DropConnection => self.plugin.connections.break_all(false).await,
            Fault::DoThenDropConnection => {
                self.work(&args, work)?;
                self.plugin.connections.break_all(false).await
            }
            Fault::Crash => self.plugin.die().await,
            Fault::DoThenCrash => {
                self.work(&args, work)?;
                self.plugin.die().await
            }
        }
    }

    fn work<Q, A>(&self, args: &Q, work: Work<Q, A>) -> Result<A, Status> {
        work(
            &mut self.plugin.backend.lock().world,
            &self.plugin.config,
            args,
        )
    }

    /// Does the work after the release, in a task of its own: it goes on without the caller.
    async fn hold<Q, A>(&self, args: Q, work: Work<Q, A>) -> Result<A, Status>
    where
        Q: Args + 'static,
        A: Send + 'static,
    {
        let (backend, config) = (Arc::clone(&self.plugin.backend), self.plugin.config.clone());
        let volume = self.volume.clone();
        if let Some(volume) = &volume {
            backend
                .lock()
                .held
                .insert(volume.clone(), config.node_id.clone());
        }
        let (done, result) = oneshot::channel();
        let task = async move {
            wait_release(&backend).await;
            let mut state = backend.lock();
            if let Some(volume) = &volume {
                state.held.remove(volume);
            }
            // The caller may be gone; the work is done all the same.
            let _ = done.send(work(&mut state.world, &config, &args));
        };
        self.plugin
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(task);
        result
            .await
            .unwrap_or_else(|_| Err(Status::unavailable("the plugin died")))
    }

    fn end<A>(&mut self, result: &Result<A, Status>) {
        let outcome = match result {
            Ok(_) => Outcome::Answered,
            Err(status) => Outcome::Failed(status.code()),
        };
        self.close(outcome, End::Answered);
        self.settle(result.as_ref().err().map(Status::code));
    }

    fn close(&mut self, outcome: Outcome, end: End) {
        self.ended = true;
        let mut state = self.plugin.backend.lock();
        state.in_flight.leave(self.sequence, end);
        state.calls[self.sequence as usize].outcome = outcome;
    }

    /// After a definite end the next call of the kind is a first attempt again.
    fn settle(&self, code: Option<Code>) {
        let mut state = self.plugin.backend.lock();
        match (&self.object, code) {
            // What grew may grow again, to another size.
            (Some(object), None) if is_growth(self.rpc) => state.replays.forget(self.rpc, object),
            (Some(object), Some(code)) if is_definite(code) => {
                state.replays.forget(self.rpc, object);
            }
            (Some(_), _) => {}
            (None, None) => self.forget_undone(&mut state),
            (None, Some(_)) => {}
        }
    }

    /// What was unmade may be made again, in another way.
    fn forget_undone(&self, state: &mut State) {
        let call = &state.calls[self.sequence as usize];
        let on = format!(" on {}", self.plugin.config.node_id);
        let undone = match self.rpc {
            Rpc::DeleteVolume => self.volume.clone().map(|name| (Rpc::CreateVolume, name)),
            Rpc::Detach => {
                let args: sutler_csi::proto::ControllerUnpublishVolumeRequest = call.args();
                Some((
                    Rpc::Attach,
                    format!("{} on {}", args.volume_id, args.node_id),
                ))
            }
            Rpc::Unstage => call.volume.clone().map(|id| (Rpc::Stage, id + &on)),
            Rpc::Unpublish => {
                let args: sutler_csi::proto::NodeUnpublishVolumeRequest = call.args();
                let object = format!("{} at {}{on}", args.volume_id, args.target_path);
                Some((Rpc::Publish, object))
            }
            Rpc::Probe
            | Rpc::PluginInfo
            | Rpc::PluginCapabilities
            | Rpc::ControllerCapabilities
            | Rpc::CreateVolume
            | Rpc::Attach
            | Rpc::Validate
            | Rpc::ListVolumes
            | Rpc::GetCapacity
            | Rpc::ExpandController
            | Rpc::NodeCapabilities
            | Rpc::NodeInfo
            | Rpc::Stage
            | Rpc::Publish
            | Rpc::VolumeStats
            | Rpc::ExpandNode => None,
        };
        if let Some((rpc, object)) = undone {
            state.replays.forget(rpc, &object);
        }
    }

    fn violate(&self, text: String) {
        self.plugin.backend.lock().world.violate(text);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.ended {
            self.close(Outcome::Dropped, End::Dropped);
        }
    }
}

async fn wait_release(backend: &Backend) {
    let mut released = backend.released.subscribe();
    released.borrow_and_update();
    // The sender lives as long as the back end, which the caller holds.
    let _ = released.changed().await;
}

fn is_growth(rpc: Rpc) -> bool {
    matches!(rpc, Rpc::ExpandController | Rpc::ExpandNode)
}

/// The calls by which a half that is not there is found out.
fn is_capability_call(rpc: Rpc) -> bool {
    matches!(
        rpc,
        Rpc::ControllerCapabilities | Rpc::NodeCapabilities | Rpc::NodeInfo
    )
}

/// The codes after which nothing was done. "Exhausted" is among them: the caller may ask for
/// another place.
fn is_definite(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    )
}
