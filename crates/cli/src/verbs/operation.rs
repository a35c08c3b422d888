//! `sutler operation`: accepted requests for change.

use clap::Subcommand;
use jiff::Timestamp;
use sutler_api::operation::{OperationKind, OperationState, OperationView};
use sutler_ids::OperationUuid;

use super::Outcome;
use crate::context::Context;
use crate::failure::{ExitStatus, Report};
use crate::show::human::{moment, or_dash};
use crate::show::table::fields;

const EXAMPLES: &str = "\
Examples:
  sutler operation show 0190b5a2-7c1e-7000-8000-000000000001";

/// Verbs of `sutler operation`.
#[derive(Debug, Subcommand)]
pub enum OperationVerb {
    /// Show one operation
    #[command(after_help = EXAMPLES)]
    Show {
        /// Its UUID, as a change with --no-wait prints it
        uuid: OperationUuid,
    },
}

/// Carries out a verb of `sutler operation`.
///
/// # Errors
/// The call's failure.
pub async fn run(verb: OperationVerb, context: &mut Context) -> Outcome {
    let OperationVerb::Show { uuid } = verb;
    let answer = context
        .client
        .get::<OperationView>(&format!("/v1/operations/{uuid}"))
        .await?;
    context.show(&answer, render)?;
    Ok(ExitStatus::OK)
}

/// Names what an operation does.
pub(crate) fn kind_text(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::CreateVolume => "create volume",
        OperationKind::GrowVolume => "grow volume",
        OperationKind::DeleteVolume => "delete volume",
        OperationKind::ForgetVolume => "forget volume",
    }
}

fn state_text(state: OperationState) -> &'static str {
    match state {
        OperationState::Pending => "pending",
        OperationState::Finished => "finished",
        OperationState::Failed => "failed",
    }
}

pub(crate) fn render(operation: &OperationView, now: Timestamp) -> String {
    let problem = operation
        .problem
        .as_ref()
        .map(|problem| Report::of_problem(problem).render(false));
    fields([
        ("operation", operation.operation_uuid.to_string()),
        ("kind", kind_text(operation.kind).to_owned()),
        ("volume", operation.volume.to_string()),
        ("state", state_text(operation.state).to_owned()),
        ("started", moment(operation.started_at, now)),
        (
            "ended",
            or_dash(operation.ended_at.map(|at| moment(at, now))),
        ),
        (
            "problem",
            problem.map_or_else(|| "-".to_owned(), |text| text.trim_end().to_owned()),
        ),
    ])
}
