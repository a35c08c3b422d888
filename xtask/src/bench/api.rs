//! The public HTTP API as a program would call it: one kept connection, no command line between.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// How long one call may be held open by the master.
const HOLD_MS: u64 = 10_000;

/// Longest time for anything that is measured here.
const WITHIN: Duration = Duration::from_secs(60);

/// A connection with a token.
pub(super) struct Api {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    address: String,
    token: String,
}

impl Api {
    /// Reads `client.json` as the command line does.
    pub(super) fn of(state_dir: &Path) -> Result<Self> {
        // Fails only when it has been done before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let told = std::fs::read_to_string(state_dir.join("client.json"))?;
        let told: Value = serde_json::from_str(&told)?;
        let text = |key: &str| {
            told[key]
                .as_str()
                .with_context(|| format!("client.json: {key}"))
        };
        let token = std::fs::read_to_string(state_dir.join(text("token_file")?))?;
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            client: reqwest::Client::builder().timeout(WITHIN).build()?,
            address: text("address")?.to_owned(),
            token: token.trim().to_owned(),
        })
    }

    /// Calls and gives the JSON of a successful answer.
    pub(super) fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let method = reqwest::Method::from_bytes(method.as_bytes())?;
        let url = format!("{}{path}", self.address);
        let mut request = self.client.request(method, &url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.with_context(|| url.clone())?;
            let status = answer.status();
            let text = answer.text().await?;
            ensure!(status.is_success(), "{url}: {status}: {text}");
            Ok(if text.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(&text)?
            })
        })
    }

    /// Starts a task and gives its id.
    pub(super) fn run(
        &self,
        image: &str,
        command: &[&str],
        volume: Option<Value>,
    ) -> Result<String> {
        let volumes: Vec<Value> = volume.into_iter().collect();
        let request = json!({ "image": image, "command": command, "volumes": volumes });
        let task = self.call("POST", "/v1/tasks", Some(request))?;
        Ok(task["task_id"]
            .as_str()
            .context("a task has an id")?
            .to_owned())
    }

    /// Waits until a task is in one of the states, and gives its view.
    pub(super) fn wait_task(&self, task: &str, states: &[&str]) -> Result<Value> {
        let ended = ["finished", "failed", "killed"];
        let deadline = Instant::now() + WITHIN;
        let mut seen = "accepted".to_owned();
        loop {
            let path = format!("/v1/tasks/{task}?wait_ms={HOLD_MS}&seen_state={seen}");
            let view = self.call("GET", &path, None)?;
            let state = view["state"].as_str().unwrap_or_default();
            if states.contains(&state) {
                return Ok(view);
            }
            ensure!(!ended.contains(&state), "the task ended: {view}");
            ensure!(
                Instant::now() < deadline,
                "the task does not move on: {view}"
            );
            state.clone_into(&mut seen);
        }
    }

    /// Removes a volume for good and waits until it is gone.
    pub(super) fn purge(&self, volume: &str) -> Result<()> {
        let accepted = self.call("DELETE", &format!("/v1/volumes/{volume}?purge=true"), None)?;
        let uuid = accepted["operation_uuid"]
            .as_str()
            .context("an operation")?;
        self.wait_operation(uuid)
    }

    /// Waits until an operation has ended; one that is forgotten has ended long ago.
    pub(super) fn wait_operation(&self, uuid: &str) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let path = format!("/v1/operations/{uuid}?wait_ms={HOLD_MS}");
            let view = match self.call("GET", &path, None) {
                Ok(view) => view,
                Err(error) if error.to_string().contains("404") => return Ok(()),
                Err(error) => return Err(error),
            };
            match view["state"].as_str() {
                Some("finished") => return Ok(()),
                Some("pending") => ensure!(Instant::now() < deadline, "it hangs: {view}"),
                Some(_) | None => anyhow::bail!("the operation failed: {view}"),
            }
        }
    }
}
