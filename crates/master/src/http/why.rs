//! `/v1/volumes/{name}/why`: the books' view and the story as the volume's owner tells it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use sutler_api::agent::{AgentQuery, AgentWhy};
use sutler_api::volume::{VolumeView, WhyMark, WhyStep, WhyView};
use sutler_cluster_core::{Books, views};
use sutler_ids::Problem;
use sutler_ids::{AgentId, VolumeName};

use super::App;
use super::extract::ApiPath;
use super::refusal::Refusal;

/// Longest story that is read: its steps are bounded at its owner too.
const STORY_BYTES_MAX: usize = 1 << 20;

/// Explains a volume: what happened to it so far, what holds it up, what comes next.
#[utoipa::path(get, path = "/v1/volumes/{name}/why", tag = "volumes",
    params(("name" = String, Path)),
    responses((status = 200, body = WhyView), (status = 404, body = Problem)))]
pub(crate) async fn why(
    State(app): State<Arc<App>>,
    ApiPath(name): ApiPath<VolumeName>,
) -> Result<Json<WhyView>, Refusal> {
    let look = move |books: &Books| {
        let volume = books.volume(&name)?;
        let owner = books
            .durable()
            .volumes
            .get(&volume.volume_id)
            .map(|v| v.agent_id);
        Ok((volume, owner))
    };
    let (volume, owner) = app.shell.read(look).await?;
    let story = match owner {
        Some(owner) => ask(&app, owner, &volume).await,
        None => None,
    };
    Ok(Json(told(volume, story)))
}

/// Asks the owner; what it cannot tell is left out, because the books alone explain much.
async fn ask(app: &Arc<App>, owner: AgentId, volume: &VolumeView) -> Option<AgentWhy> {
    let query = AgentQuery::Why {
        volume_id: volume.volume_id,
    };
    let mut pieces = app.questions.ask(&app.shell, owner, query).await.ok()?;
    let mut story = Vec::new();
    while let Some(piece) = pieces.recv().await {
        story.extend_from_slice(&piece.ok()?);
        if story.len() > STORY_BYTES_MAX {
            return None;
        }
    }
    serde_json::from_slice::<Option<AgentWhy>>(&story).ok()?
}

fn told(volume: VolumeView, story: Option<AgentWhy>) -> WhyView {
    let accepted = WhyStep {
        mark: WhyMark::Done,
        text: format!("recorded by the master for node {}", volume.agent),
        at: Some(volume.created_at),
        took_ms: None,
    };
    let mut steps = vec![accepted];
    let problem = volume.problem.clone();
    let (mut cause, mut raw) = (problem.as_ref().map(|p| p.what.clone()), None);
    raw = raw.or_else(|| problem.as_ref().and_then(|p| p.raw.clone()));
    let mut next = None;
    if let Some(story) = story {
        steps.extend(story.steps);
        cause = story.cause.or(cause);
        raw = story.raw.or(raw);
        next = Some(story.next);
    }
    if let Some(until) = volume.trash_until {
        next = Some(format!("it is deleted at {until}, unless restored before"));
    }
    let hint = problem.and_then(|problem| problem.hint);
    WhyView {
        summary: summary(&volume),
        steps,
        cause,
        raw,
        next: next
            .or(hint)
            .unwrap_or_else(|| "nothing; it is as it should be".to_owned()),
        volume,
    }
}

fn summary(volume: &VolumeView) -> String {
    let state = views::volume_state_word(volume.state);
    let holders: Vec<String> = volume
        .holders
        .iter()
        .map(|u| format!("task {}", u.task_id))
        .collect();
    let holders = match holders.is_empty() {
        true => String::new(),
        false => format!(", held by {}", holders.join(" and ")),
    };
    let (name, agent, since) = (&volume.name, &volume.agent, volume.state_since);
    format!("volume {name} on node {agent} is {state} since {since}{holders}")
}
