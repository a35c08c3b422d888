//! A master made of one closure, and a way to run a command line against it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sutler_ids::Problem;
use tokio::sync::mpsc;

use crate::{ExitStatus, Interrupts, Invocation, Io};

/// One request, as the fake master got it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method and path with query, without `wait_ms`.
    pub line: String,
    /// Body as text.
    pub body: String,
    /// How often the same line came before.
    pub before: usize,
}

type Answers = dyn Fn(&Call) -> Response + Send + Sync;

struct Shared {
    calls: Mutex<Vec<Call>>,
    answers: Box<Answers>,
}

/// A running fake master; ends with its runtime.
pub struct Fake {
    address: String,
    shared: Arc<Shared>,
    dir: tempfile::TempDir,
}

impl Fake {
    /// Starts one that answers as told.
    pub async fn start(answers: impl Fn(&Call) -> Response + Send + Sync + 'static) -> Self {
        let calls = Mutex::new(Vec::new());
        let shared = Arc::new(Shared {
            calls,
            answers: Box::new(answers),
        });
        let app = axum::Router::new()
            .fallback(handle)
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let dir = tempfile::tempdir().unwrap();
        // Without TLS no token may be named: it would not be sent.
        let client = serde_json::json!({ "address": address, "ca_pem_file": null });
        std::fs::write(dir.path().join("client.json"), client.to_string()).unwrap();
        Self {
            address,
            shared,
            dir,
        }
    }

    /// The lines of all calls so far.
    pub fn lines(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.line).collect()
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// The state folder that names it.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Runs a command line against it, without interrupts.
    pub async fn sutler(&self, arguments: &[&str]) -> Done {
        let (_keep, interrupts) = mpsc::channel(1);
        self.sutler_interrupted(arguments, interrupts).await
    }

    /// Runs a command line against it.
    pub async fn sutler_interrupted(
        &self,
        arguments: &[&str],
        interrupts: mpsc::Receiver<()>,
    ) -> Done {
        let state_dir = self.state_dir();
        let mut all = vec!["sutler", "--state-dir", state_dir.to_str().unwrap()];
        all.extend(arguments);
        sutler(&all, Captured::default(), interrupts).await
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path();
    let query: Vec<&str> = parts.uri.query().unwrap_or("").split('&').collect();
    let query: Vec<&str> = query
        .into_iter()
        .filter(|pair| !pair.is_empty() && !pair.starts_with("wait_ms="))
        .collect();
    let query = if query.is_empty() {
        String::new()
    } else {
        format!("?{}", query.join("&"))
    };
    let line = format!("{} {path}{query}", parts.method);
    let call = {
        let mut calls = shared.calls.lock().unwrap();
        let before = calls.iter().filter(|call| call.line == line).count();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let call = Call { line, body, before };
        calls.push(call.clone());
        call
    };
    (shared.answers)(&call)
}

/// What a command line came to.
#[derive(Debug)]
pub struct Done {
    pub status: u8,
    pub stdout: String,
    pub stderr: String,
}

/// Two buffers in place of stdout and stderr.
#[derive(Clone, Default)]
pub struct Captured {
    pub out: Arc<Mutex<Vec<u8>>>,
    pub err: Arc<Mutex<Vec<u8>>>,
    /// Whether the reader of stdout went away.
    pub closed: bool,
}

struct Sink(Arc<Mutex<Vec<u8>>>, bool);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a whole command line.
pub async fn sutler(arguments: &[&str], to: Captured, interrupts: mpsc::Receiver<()>) -> Done {
    let invocation = crate::parse(arguments.iter().map(Into::into));
    let out = Box::new(Sink(to.out.clone(), to.closed));
    let io = Io::of_writers(out, Box::new(Sink(to.err.clone(), false)));
    let status = match invocation {
        Invocation::Client(cli) => crate::run(*cli, io, Interrupts::from_channel(interrupts)).await,
        Invocation::Exit(status) => status,
        Invocation::Up(..)
        | Invocation::Master(..)
        | Invocation::Agent(..)
        | Invocation::Shim(_) => panic!("{arguments:?} is no client verb"),
    };
    let ExitStatus(status) = status;
    let text = |bytes: &Mutex<Vec<u8>>| String::from_utf8(bytes.lock().unwrap().clone()).unwrap();
    Done {
        status,
        stdout: text(&to.out),
        stderr: text(&to.err),
    }
}

/// The pauses between questions that this test's commands made so far.
pub fn rests() -> Vec<Duration> {
    crate::wait::tests::RESTS.with_borrow(Clone::clone)
}

/// Answers 200 with JSON.
pub fn json(value: &impl Serialize) -> Response {
    axum::Json(value).into_response()
}

/// Answers with a problem.
pub fn refuse(status: u16, problem: &Problem) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(problem)).into_response()
}

/// Answers that there is no such thing.
pub fn not_found(call: &Call) -> Response {
    let kind = sutler_ids::ErrorKind::NotFound;
    refuse(
        404,
        &Problem::new(kind, format!("nothing at {}", call.line)),
    )
}

/// Answers with bytes, and breaks the connection after them if told.
pub fn bytes(parts: &[&'static str], broken: bool) -> Response {
    let mut items: Vec<io::Result<Bytes>> = parts
        .iter()
        .map(|part| Ok(Bytes::from_static(part.as_bytes())))
        .collect();
    if broken {
        items.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    Body::from_stream(futures::stream::iter(items)).into_response()
}
