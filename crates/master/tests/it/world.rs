//! One master with its own folder, a client for its API, and a node that obeys the test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, StatusCode};
use serde_json::{Value, json};
use sutler_api::agent::{Desired, Register, Registered, ToAgent, VolumeOperation};
use sutler_ids::AgentId;
use sutler_master::{Master, MasterConfig, MasterEnd, MasterHandle};
use uuid::Uuid;

/// Longest that a test waits for something that must come.
pub const SOON: Duration = Duration::from_secs(20);

pub const GIB: u64 = 1 << 30;

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: MasterConfig,
    pub master: Option<MasterHandle>,
    pub http: Client,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut MasterConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = MasterConfig::new(dir.path(), "127.0.0.1:0".parse().unwrap());
        change(&mut config);
        let master = Master::start(config.clone()).await.unwrap();
        // As agents and the command line speak.
        let http = trusting(&config.state_dir).http1_only().build().unwrap();
        Self {
            dir,
            config,
            master: Some(master),
            http,
        }
    }

    pub async fn stop(&mut self) {
        let ended = self.master.take().unwrap().shutdown().await;
        assert!(matches!(ended, MasterEnd::ShutDown), "{ended:?}");
    }

    /// Ends the master and starts another on the same folder.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.master = Some(Master::start(self.config.clone()).await.unwrap());
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.master.as_ref().unwrap().address())
    }

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.config.state_dir.join(name))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub fn operator(&self) -> String {
        self.file("operator.token")
    }

    pub fn agent_token(&self) -> String {
        self.file("agent.token")
    }

    /// Calls the public API as the operator.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let mut request = self
            .http
            .request(method, self.url(path))
            .bearer_auth(self.operator());
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Value {
        let response = self.call(Method::GET, path, None).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "GET {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        answer(self.call(Method::POST, path, Some(body)).await).await
    }

    pub async fn delete(&self, path: &str) -> (StatusCode, Value) {
        answer(self.call(Method::DELETE, path, None).await).await
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let text = self
            .call(Method::GET, "/metrics", None)
            .await
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|r| r.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Adds a plugin `local` and a node `a` on which it is ready.
    pub async fn with_local(&self) -> Node {
        let (status, _) = self
            .post("/v1/plugins", json!({ "definition": { "image": "local" } }))
            .await;
        assert_eq!(status, StatusCode::CREATED);
        let mut node = Node::join(self, "a").await;
        node.listen(self).await;
        node.plugin_ready(self).await;
        node
    }
}

/// Begins a client that trusts the authority of a state folder, as `client.json` names it.
pub fn trusting(state_dir: &Path) -> ClientBuilder {
    let client = std::fs::read(state_dir.join("client.json")).unwrap();
    let client: Value = serde_json::from_slice(&client).unwrap();
    let ca = state_dir.join(client["ca_pem_file"].as_str().unwrap());
    client_with([Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap()])
}

/// Begins a client that trusts these authorities and no others.
pub fn client_with(authorities: impl IntoIterator<Item = Certificate>) -> ClientBuilder {
    // A second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().tls_certs_only(authorities)
}

pub async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

/// A node whose agent is the test.
pub struct Node {
    pub register: Register,
    pub id: AgentId,
    pub desired: Desired,
    lines: Option<BoxStream<'static, Result<bytes::Bytes, reqwest::Error>>>,
    buffer: Vec<u8>,
}

impl Node {
    pub async fn join(world: &World, name: &str) -> Self {
        let register = Register {
            agent_id: None,
            name: name.parse().unwrap(),
            incarnation: Uuid::new_v4(),
            boot_id: "boot".to_owned(),
            version: "0.1.0".to_owned(),
            cpus: 4.0,
            memory: sutler_ids::Bytes(8 * GIB),
        };
        let (status, body) = agent_post(world, "register", &register).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let registered: Registered = serde_json::from_value(body).unwrap();
        let (id, desired) = (registered.agent_id, Desired::default());
        Self {
            register,
            id,
            desired,
            lines: None,
            buffer: Vec::new(),
        }
    }

    pub async fn open(&self, world: &World) -> Response {
        let path = format!(
            "/agent/v1/events?agent_id={}&incarnation={}",
            self.id, self.register.incarnation
        );
        let request = world
            .http
            .get(world.url(&path))
            .bearer_auth(world.agent_token());
        request.send().await.unwrap()
    }

    /// Opens the stream and reads its first line.
    pub async fn listen(&mut self, world: &World) {
        let response = self.open(world).await;
        assert_eq!(response.status(), StatusCode::OK);
        self.lines = Some(response.bytes_stream().boxed());
        self.buffer.clear();
        match self.next().await {
            ToAgent::Desired(desired) => self.desired = desired,
            other => panic!("the first line is {other:?}"),
        }
        self.update(world, json!({ "type": "plugins_told" })).await;
    }

    pub fn hang_up(&mut self) {
        self.lines = None;
    }

    /// Reads the next message but heartbeats.
    pub async fn next(&mut self) -> ToAgent {
        loop {
            let message = tokio::time::timeout(SOON, self.line())
                .await
                .expect("a message");
            match message.expect("the stream goes on") {
                ToAgent::Heartbeat => {}
                message => return message,
            }
        }
    }

    pub async fn operation(&mut self) -> VolumeOperation {
        match self.next().await {
            ToAgent::Operation(operation) => operation,
            other => panic!("{other:?}"),
        }
    }

    /// Reads until the stream ends.
    pub async fn until_cut_off(&mut self) {
        let end = async { while self.line().await.is_some() {} };
        tokio::time::timeout(SOON, end)
            .await
            .expect("the stream ends");
    }

    pub async fn line(&mut self) -> Option<ToAgent> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let piece = self.lines.as_mut().unwrap().next().await?.ok()?;
            self.buffer.extend_from_slice(&piece);
        }
    }

    pub async fn try_update(&self, world: &World, update: Value) -> (StatusCode, Value) {
        let updates = json!({
            "agent_id": self.id, "incarnation": self.register.incarnation, "updates": [update],
        });
        agent_post(world, "updates", &updates).await
    }

    pub async fn update(&self, world: &World, update: Value) {
        let (status, body) = self.try_update(world, update).await;
        assert_eq!((status, &body), (StatusCode::OK, &json!({})));
    }

    pub async fn plugin_ready(&self, world: &World) {
        let generation = world.get("/v1/plugins/local").await["generation"].clone();
        let instance = json!({
            "agent": "a", "state": "ready", "since": "2026-01-01T00:00:00Z", "restarts": 0,
            "log_tail": [], "free": { "local": 10 * GIB },
        });
        let update = json!({
            "type": "plugin", "name": "local", "generation": generation, "instance": instance,
        });
        self.update(world, update).await;
    }

    pub async fn ended(&self, world: &World, operation: &VolumeOperation) {
        self.update(world, finished(operation)).await;
    }

    pub async fn task(&self, world: &World, id: &str, state: &str, code: Option<i32>) {
        let exit = code.map(|code| json!({ "code": code, "signal": null, "oom_killed": false }));
        let update = json!({ "type": "task", "task_id": id, "state": state, "exit": exit });
        self.update(world, update).await;
    }
}

pub fn finished(operation: &VolumeOperation) -> Value {
    json!({
        "type": "operation", "operation_uuid": operation.operation_uuid,
        "volume_id": operation.volume_id, "outcome": "finished", "at": "2026-01-01T00:00:00Z",
    })
}

pub async fn agent_post(
    world: &World,
    path: &str,
    body: &impl serde::Serialize,
) -> (StatusCode, Value) {
    let request = world.http.post(world.url(&format!("/agent/v1/{path}")));
    let request = request.bearer_auth(world.agent_token()).json(body);
    answer(request.send().await.unwrap()).await
}

/// A small tmpfs, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a tmpfs: run it as root"
        );
        let dir = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", dir.path(), "tmpfs", flags, Some(c"size=8m")).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all space.
    pub fn fill(&self) -> PathBuf {
        let free = rustix::fs::statvfs(self.path()).unwrap();
        let bytes = usize::try_from(free.f_bavail * free.f_frsize).unwrap();
        let filler = self.path().join("filler");
        std::fs::write(&filler, vec![1; bytes]).unwrap();
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        rustix::mount::unmount(self.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
