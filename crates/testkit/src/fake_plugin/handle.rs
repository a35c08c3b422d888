//! Start, kill and restart of a fake plugin, and the questions a test asks it.
//!
//! Owns the socket, the server's task and its connections. A kill breaks every connection
//! and leaves the socket's file behind, as the kernel does when a process dies.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sutler_csi::Rpc;
use sutler_csi::proto::controller_server::ControllerServer;
use sutler_csi::proto::identity_server::IdentityServer;
use sutler_csi::proto::node_server::NodeServer;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnixListenerStream;

use super::config::FakeConfig;
use super::fault::{Fault, Faults, When};
use super::pass::{Backend, Plugin, State};
use super::record::RecordedCall;
use super::server::Services;
use super::world::FakeVolume;

/// The name of the socket within the plugin's directory.
const SOCKET: &str = "csi.sock";

/// The connections of one start, so that they can be broken.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Vec<StdStream>>,
    server: Mutex<Option<AbortHandle>>,
}

impl Connections {
    fn add(&self, stream: &UnixStream) -> io::Result<()> {
        let twin = StdStream::from(stream.as_fd().try_clone_to_owned()?);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(twin);
        Ok(())
    }

    fn shut(&self, listener_too: bool) {
        if listener_too
            && let Some(server) = self
                .server
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        {
            server.abort();
        }
        for stream in self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            // One that the caller has closed already needs no shutting.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Breaks the caller's own connection, among all others, so it never returns.
    pub(super) async fn break_all<T>(&self, listener_too: bool) -> T {
        self.shut(listener_too);
        std::future::pending().await
    }
}

/// A fake plugin. Dropping it kills it.
#[derive(Debug)]
pub struct FakePlugin {
    socket: PathBuf,
    backend: Arc<Backend>,
    config: FakeConfig,
    faults: Arc<Mutex<Faults>>,
    unready: Arc<AtomicBool>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    plugin: Arc<Plugin>,
    server: JoinHandle<()>,
}

impl FakePlugin {
    /// Starts a plugin with a back end of its own; its socket is `csi.sock` in `dir`.
    ///
    /// # Panics
    ///
    /// The socket cannot be made.
    pub fn start(dir: &Path, config: FakeConfig) -> FakePlugin {
        let backend = Arc::new(Backend::new(config.capacity_bytes));
        FakePlugin::start_on(dir, config, backend)
    }

    /// Starts the plugin of another node on the same back end.
    ///
    /// # Panics
    ///
    /// The socket cannot be made, or the node has a plugin already.
    pub fn join(&self, dir: &Path, config: FakeConfig) -> FakePlugin {
        let known = self.state(|state| state.world.nodes.contains_key(&config.node_id));
        assert!(!known, "node {:?} has a plugin already", config.node_id);
        FakePlugin::start_on(dir, config, Arc::clone(&self.backend))
    }

    fn start_on(dir: &Path, config: FakeConfig, backend: Arc<Backend>) -> FakePlugin {
        backend
            .lock()
            .world
            .nodes
            .insert(config.node_id.clone(), config.clone());
        let socket = dir.join(SOCKET);
        let faults = Arc::default();
        let mut plugin = FakePlugin {
            socket,
            backend,
            config,
            faults,
            unready: Arc::default(),
            running: None,
        };
        plugin.listen();
        plugin
    }

    fn listen(&mut self) {
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("remove {}: {error}", self.socket.display())
            }
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&self.socket).expect("the directory is the test's own");
        let connections = Arc::new(Connections::default());
        let plugin = Arc::new(Plugin {
            backend: Arc::clone(&self.backend),
            config: self.config.clone(),
            faults: Arc::clone(&self.faults),
            connections: Arc::clone(&connections),
            probes: Mutex::new(0),
            unready: Arc::clone(&self.unready),
            tasks: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&plugin)));
        *connections
            .server
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(server.abort_handle());
        self.running = Some(Running { plugin, server });
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it is like.
    pub fn config(&self) -> &FakeConfig {
        &self.config
    }

    /// Every call to this plugin so far, in order.
    pub fn calls(&self) -> Vec<RecordedCall> {
        let mine = |call: &&RecordedCall| call.node_id == self.config.node_id;
        self.state(|state| state.calls.iter().filter(mine).cloned().collect())
    }

    /// How often this plugin was called in one way.
    pub fn count(&self, rpc: Rpc) -> usize {
        self.calls().iter().filter(|call| call.rpc == rpc).count()
    }

    /// Waits until this plugin has been called in one way so often.
    pub async fn wait_calls(&self, rpc: Rpc, count: usize) {
        let mut arrived = self.backend.arrived.subscribe();
        while self.count(rpc) < count {
            arrived.changed().await.expect("the back end is held here");
        }
    }

    /// What callers did against the rules, on any plugin of the back end.
    pub fn violations(&self) -> Vec<String> {
        self.state(|state| state.world.violations.clone())
    }

    /// The volumes of the back end, by id.
    pub fn volumes(&self) -> Vec<FakeVolume> {
        self.state(|state| state.world.snapshot())
    }

    /// Lets a call of this plugin go wrong. Survives restarts until it is used.
    pub fn set_fault(&self, rpc: Rpc, when: When, fault: Fault) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set(rpc, when, fault);
    }

    /// Lets Probe say from now on that the plugin is ready, or that it is not.
    pub fn set_ready(&self, ready: bool) {
        self.unready.store(!ready, Ordering::Relaxed);
    }

    /// Takes back all faults that are still set.
    pub fn clear_faults(&self) {
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Lets go on what `Hold` and `DoThenHold` hold back.
    pub fn release(&self) {
        self.backend.released.send_modify(|count| *count += 1);
    }

    /// Kills the plugin: connections break, calls are lost, the socket's file stays.
    pub async fn kill(&mut self) {
        if let Some(running) = self.stop() {
            // The only other end of this task is being aborted, just now.
            let _ = running.server.await;
        }
    }

    /// Starts it again, after killing it if need be. Without `keep_state` it has lost all
    /// volumes, as a plugin that keeps them in memory.
    ///
    /// # Panics
    ///
    /// The socket cannot be made.
    pub async fn restart(&mut self, keep_state: bool) {
        self.kill().await;
        if !keep_state {
            self.state(State::forget_volumes);
        }
        self.listen();
    }

    fn stop(&mut self) -> Option<Running> {
        let running = self.running.take()?;
        running
            .plugin
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
        running.plugin.connections.shut(true);
        self.state(|state| state.plugin_died(&self.config.node_id));
        Some(running)
    }

    fn state<T>(&self, ask: impl FnOnce(&mut State) -> T) -> T {
        ask(&mut self.backend.lock())
    }
}

impl Drop for FakePlugin {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: UnixListener, plugin: Arc<Plugin>) {
    let connections = Arc::clone(&plugin.connections);
    let (controller, node) = (plugin.config.controller, plugin.config.node);
    let incoming = UnixListenerStream::new(listener).map(move |stream| {
        let stream = stream?;
        connections.add(&stream)?;
        Ok::<_, io::Error>(stream)
    });
    let services = Services(plugin);
    let has_node = node.then(|| NodeServer::new(services.clone()));
    tonic::transport::Server::builder()
        .add_service(IdentityServer::new(services.clone()))
        .add_optional_service(controller.then(|| ControllerServer::new(services)))
        .add_optional_service(has_node)
        .serve_with_incoming(incoming)
        .await
        .expect("a listener that is bound keeps listening");
}
