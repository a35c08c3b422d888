//! A master that keeps what it is told and says what the test wants.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use sutler_api::agent::{
    AgentQuery, Desired, DesiredTask, OperationReport, Register, Registered, TaskReport, ToAgent,
    Update, Updates,
};
use sutler_api::plugin::PluginInstanceView;
use sutler_ids::{AgentId, OperationUuid, PluginName, RequestId, TaskId};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use crate::tls::Tls;

/// Longest wait for anything in these tests; only reached when something is broken.
const WITHIN: Duration = Duration::from_secs(60);

/// The test's master. Clones are the same one.
#[derive(Clone)]
pub struct Master {
    pub url: String,
    pub ca_pem: String,
    books: Arc<Books>,
}

struct Books {
    cluster_id: Uuid,
    agent_id: AgentId,
    desired: Mutex<Desired>,
    lines: broadcast::Sender<String>,
    updates: Mutex<Vec<Update>>,
    answers: Mutex<BTreeMap<String, Vec<u8>>>,
    registers: Mutex<Vec<Register>>,
    refuses: AtomicBool,
    news: watch::Sender<u64>,
}

impl Books {
    fn desired(&self) -> MutexGuard<'_, Desired> {
        self.desired
            .lock()
            .expect("no test thread panics while it holds this")
    }

    fn updates(&self) -> MutexGuard<'_, Vec<Update>> {
        self.updates
            .lock()
            .expect("no test thread panics while it holds this")
    }

    fn tell_news(&self) {
        self.news.send_modify(|count| *count += 1);
    }
}

impl Master {
    /// Starts one on a free port of loopback, in the runtime of the caller.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let (listener, ca_pem) = Tls::new(listener);
        let url = format!("https://{}", listener.address());
        let books = Arc::new(Books {
            cluster_id: Uuid::new_v4(),
            agent_id: AgentId::new(Uuid::new_v4()),
            desired: Mutex::default(),
            lines: broadcast::channel(1024).0,
            updates: Mutex::default(),
            answers: Mutex::default(),
            registers: Mutex::default(),
            refuses: AtomicBool::new(false),
            news: watch::channel(0).0,
        });
        let app = Router::new()
            .route("/agent/v1/register", post(register))
            .route("/agent/v1/events", get(events))
            .route("/agent/v1/updates", post(updates))
            .route("/agent/v1/answers/{request_id}", post(answer))
            .with_state(Arc::clone(&books));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, ca_pem, books }
    }

    /// Changes what is wanted, and says the whole of it.
    pub fn want(&self, change: impl FnOnce(&mut Desired)) {
        let desired = {
            let mut desired = self.books.desired();
            change(&mut desired);
            desired.clone()
        };
        self.say(&ToAgent::Desired(desired));
    }

    pub fn run(&self, spec: sutler_api::task::TaskSpec) {
        self.want(|desired| desired.tasks.push(DesiredTask { spec, stop: false }));
    }

    pub fn stop(&self, task_id: &TaskId) {
        self.want(|desired| {
            for task in desired
                .tasks
                .iter_mut()
                .filter(|t| t.spec.task_id == *task_id)
            {
                task.stop = true;
            }
        });
    }

    pub fn say(&self, line: &ToAgent) {
        let text = serde_json::to_string(line).expect("it can be written as JSON");
        // Nobody listens while the agent is away; it gets the whole state when it is back.
        let _ = self.books.lines.send(text + "\n");
    }

    /// Refuses from now on whatever is told, or takes it again.
    pub fn refuse_updates(&self, refuses: bool) {
        self.books.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Waits until an agent has registered so many times in all.
    pub async fn wait_registers(&self, count: usize) {
        self.wait("another registration", |_| {
            (self.registers().len() >= count).then_some(())
        })
        .await;
    }

    /// Forgets all that was told so far.
    pub fn forget_updates(&self) {
        self.books.updates().clear();
    }

    /// Waits until `find` finds something in what was told.
    pub async fn wait<T>(&self, what: &str, find: impl Fn(&[Update]) -> Option<T>) -> T {
        let mut news = self.books.news.subscribe();
        let waiting = async {
            loop {
                news.mark_unchanged();
                if let Some(found) = find(&self.books.updates()) {
                    return found;
                }
                news.changed()
                    .await
                    .expect("the books live as long as the master");
            }
        };
        match tokio::time::timeout(WITHIN, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{what} did not come; told was {:#?}", self.books.updates()),
        }
    }

    pub async fn wait_task(
        &self,
        task_id: &TaskId,
        is: impl Fn(&TaskReport) -> bool,
    ) -> TaskReport {
        self.wait(&format!("task {task_id}"), |updates| {
            updates.iter().rev().find_map(|update| match update {
                Update::Task(report) if report.task_id == *task_id && is(report) => {
                    Some(report.clone())
                }
                _ => None,
            })
        })
        .await
    }

    pub async fn wait_end(&self, task_id: &TaskId) -> TaskReport {
        self.wait_task(task_id, |report| report.state.is_terminal())
            .await
    }

    pub async fn wait_plugin(
        &self,
        plugin: &PluginName,
        is: impl Fn(&PluginInstanceView) -> bool,
    ) -> PluginInstanceView {
        self.wait(&format!("plugin {plugin}"), |updates| {
            updates.iter().rev().find_map(|update| match update {
                Update::Plugin { name, instance, .. } if name == plugin && is(instance) => {
                    Some(instance.clone())
                }
                _ => None,
            })
        })
        .await
    }

    pub async fn wait_operation(&self, operation_uuid: OperationUuid) -> OperationReport {
        self.wait(&format!("operation {operation_uuid}"), |updates| {
            updates.iter().find_map(|update| match update {
                Update::Operation(report) if report.operation_uuid == operation_uuid => {
                    Some(report.clone())
                }
                _ => None,
            })
        })
        .await
    }

    /// States of a task in the order in which they were told.
    pub fn states(&self, task_id: &TaskId) -> Vec<sutler_api::task::TaskState> {
        let updates = self.books.updates();
        let of_task = updates.iter().filter_map(|update| match update {
            Update::Task(report) if report.task_id == *task_id => Some(report.state),
            _ => None,
        });
        let mut states: Vec<_> = of_task.collect();
        states.dedup();
        states
    }

    /// Asks a question and waits for the whole answer.
    pub async fn ask(&self, query: AgentQuery) -> String {
        let request_id = RequestId::new(Uuid::new_v4());
        self.say(&ToAgent::Query { request_id, query });
        let key = request_id.to_string();
        let bytes = self
            .wait("an answer", |_| {
                self.books
                    .answers
                    .lock()
                    .expect("never poisoned")
                    .get(&key)
                    .cloned()
            })
            .await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn registers(&self) -> Vec<Register> {
        self.books.registers.lock().expect("never poisoned").clone()
    }
}

async fn register(State(books): State<Arc<Books>>, Json(body): Json<Register>) -> Json<Registered> {
    books.registers.lock().expect("never poisoned").push(body);
    books.tell_news();
    Json(Registered {
        agent_id: books.agent_id,
        cluster_id: books.cluster_id,
    })
}

async fn events(State(books): State<Arc<Books>>) -> Body {
    let lines = books.lines.subscribe();
    let desired = ToAgent::Desired(books.desired().clone());
    let first = serde_json::to_string(&desired).expect("it can be written as JSON") + "\n";
    let rest = futures::stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await.ok()?;
        Some((line, lines))
    });
    let all = futures::stream::iter([first]).chain(rest);
    Body::from_stream(all.map(|line| Ok::<_, Infallible>(Bytes::from(line))))
}

async fn updates(
    State(books): State<Arc<Books>>,
    Json(body): Json<Updates>,
) -> Result<&'static str, StatusCode> {
    if books.refuses.load(Ordering::SeqCst) {
        return Err(StatusCode::BAD_REQUEST);
    }
    books.updates().extend(body.updates);
    books.tell_news();
    Ok("{}")
}

async fn answer(
    State(books): State<Arc<Books>>,
    Path(request_id): Path<String>,
    body: Bytes,
) -> &'static str {
    books
        .answers
        .lock()
        .expect("never poisoned")
        .insert(request_id, body.to_vec());
    books.tell_news();
    "{}"
}
