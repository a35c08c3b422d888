//! `/metrics`: the books and our own work as OpenMetrics text.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sutler_api::agent::Outcome;
use sutler_api::operation::OperationKind;
use sutler_api::task::TaskState;
use sutler_cluster_core::{Books, views};
use sutler_ids::{ErrorKind, Problem};

use super::App;
use super::refusal::Refusal;

/// What is counted as it happens.
#[derive(Default)]
pub(super) struct Metrics {
    requests: Family<RequestLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AlikeLabels {
    class: String,
    node: String,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VolumeStateLabels {
    volume: String,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VolumeLabels {
    volume: String,
    class: String,
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabels {
    class: String,
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabels {
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    kind: String,
    outcome: String,
}

type ByteGauge = Gauge<f64, AtomicU64>;

/// Most volumes that have series of their own. Beyond it a scrape would be megabytes of text, and
/// what stores it would choke; then volumes are counted only.
const SINGLE_VOLUMES_MAX: usize = 1000;

/// Counts a request by its route, never by its path, which a stranger chooses.
pub(super) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    // A method may be any word, so an unusual one counts as one.
    let known = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"];
    let method = known
        .iter()
        .find(|known| **known == request.method().as_str());
    let method = (*method.unwrap_or(&"other")).to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16().into();
    app.metrics
        .requests
        .get_or_create(&RequestLabels {
            method,
            route,
            status,
        })
        .inc();
    response
}

/// Writes every metric.
#[utoipa::path(get, path = "/metrics", tag = "master",
    responses((status = 200, description = "OpenMetrics text.")))]
pub(crate) async fn serve(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let mut registry = app.shell.read(|books| Ok(of_books(books))).await?;
    let commits = Counter::<u64>::default();
    commits.inc_by(app.shell.commits());
    registry.register(
        "store_commits",
        "Commits of the master's books, one fdatasync each",
        commits,
    );
    let requests = app.metrics.requests.clone();
    registry.register("http_requests", "HTTP requests answered", requests);
    let mut text = String::new();
    encode(&mut text, &registry)
        .map_err(|error| Problem::new(ErrorKind::Internal, format!("metrics: {error}")))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn of_books(books: &Books) -> Registry {
    let mut registry = Registry::with_prefix("sutler");
    volumes(books, &mut registry);
    agents(books, &mut registry);
    tasks(books, &mut registry);
    operations(books, &mut registry);
    registry
}

fn volumes(books: &Books, registry: &mut Registry) {
    let alike = Family::<AlikeLabels, Gauge>::default();
    for ((class, node, state), count) in books.volume_counts() {
        let labels = AlikeLabels {
            class: class.to_string(),
            node: node.to_string(),
            state: label(state),
        };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        alike.get_or_create(&labels).set(count);
    }
    registry.register("volumes", "Volumes by class, node and state", alike);
    if books.durable().volumes.len() <= SINGLE_VOLUMES_MAX {
        single_volumes(books, registry);
    }
    free(books, registry);
}

fn single_volumes(books: &Books, registry: &mut Registry) {
    let states = Family::<VolumeStateLabels, Gauge>::default();
    let capacity = Family::<VolumeLabels, ByteGauge>::default();
    let used = Family::<VolumeLabels, ByteGauge>::default();
    for view in books.volume_page(None, SINGLE_VOLUMES_MAX) {
        let labels = VolumeStateLabels {
            volume: view.name.to_string(),
            state: label(views::volume_state_word(view.state)),
        };
        states.get_or_create(&labels).set(1);
        let labels = VolumeLabels {
            volume: view.name.to_string(),
            class: view.class.to_string(),
            node: view.agent.to_string(),
        };
        // A size in a float loses nothing that a graph could show.
        capacity
            .get_or_create(&labels)
            .set(view.capacity.get() as f64);
        if let Some(bytes) = view.used {
            used.get_or_create(&labels).set(bytes.get() as f64);
        }
    }
    let help = "1 for the state that a volume is in; of up to 1000 volumes";
    registry.register("volume_state", help, states);
    registry.register_with_unit("volume_capacity", "Size of a volume", Unit::Bytes, capacity);
    registry.register_with_unit("volume_used", "Used space of a volume", Unit::Bytes, used);
}

fn label(word: &str) -> String {
    word.replace(' ', "_")
}

fn free(books: &Books, registry: &mut Registry) {
    let free = Family::<ClassLabels, ByteGauge>::default();
    for class in books.class_page(None, usize::MAX) {
        for (node, bytes) in class.free {
            let labels = ClassLabels {
                class: class.name.to_string(),
                node,
            };
            free.get_or_create(&labels).set(bytes.get() as f64);
        }
    }
    registry.register_with_unit("class_free", "Free space of a class", Unit::Bytes, free);
}

fn agents(books: &Books, registry: &mut Registry) {
    let connected = Family::<NodeLabels, Gauge>::default();
    for view in books.agent_page(None, usize::MAX) {
        let labels = NodeLabels {
            node: view.name.to_string(),
        };
        connected
            .get_or_create(&labels)
            .set(i64::from(view.connected));
    }
    registry.register(
        "agent_connected",
        "1 while the agent of a node is connected",
        connected,
    );
}

fn tasks(books: &Books, registry: &mut Registry) {
    let tasks = Family::<StateLabels, Gauge>::default();
    for view in books.task_page(None, usize::MAX) {
        let state = task_word(view.state).to_owned();
        tasks.get_or_create(&StateLabels { state }).inc();
    }
    registry.register(
        "tasks",
        "Tasks by state, ended ones while they are kept",
        tasks,
    );
}

fn operations(books: &Books, registry: &mut Registry) {
    let operations = Family::<OperationLabels, Gauge>::default();
    for record in books.durable().operations.values() {
        let kind = match record.kind() {
            OperationKind::CreateVolume => "create_volume",
            OperationKind::GrowVolume => "grow_volume",
            OperationKind::DeleteVolume => "delete_volume",
            OperationKind::ForgetVolume => "forget_volume",
        };
        let outcome = match record.ended.as_ref().map(|ended| &ended.outcome) {
            None => "pending",
            Some(Outcome::Finished) => "finished",
            Some(Outcome::Failed(_)) => "failed",
        };
        let labels = OperationLabels {
            kind: kind.to_owned(),
            outcome: outcome.to_owned(),
        };
        operations.get_or_create(&labels).inc();
    }
    registry.register(
        "operations",
        "Operations, ended ones while they are kept",
        operations,
    );
}

const fn task_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Accepted => "accepted",
        TaskState::Pulling => "pulling",
        TaskState::Preparing => "preparing",
        TaskState::Starting => "starting",
        TaskState::Running => "running",
        TaskState::Stopping => "stopping",
        TaskState::Releasing => "releasing",
        TaskState::Finished => "finished",
        TaskState::Failed => "failed",
        TaskState::Killed => "killed",
    }
}
