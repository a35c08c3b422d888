//! Operations: accepted requests for change, as the public API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;
use sutler_ids::Problem;
use sutler_ids::{OperationUuid, VolumeName};

/// What an operation changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Make a volume.
    CreateVolume,
    /// Make a volume larger.
    GrowVolume,
    /// Delete a volume in the back end.
    DeleteVolume,
    /// Forget a volume, whatever the back end has of it.
    ForgetVolume,
}

/// How far an operation is. `Finished` and `Failed` never change again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Recorded; not known to have ended.
    Pending,
    /// Done, and durable at the volume's owner.
    Finished,
    /// Ended without effect.
    Failed,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OperationView {
    /// Its identity.
    pub operation_uuid: OperationUuid,
    /// What it changes.
    pub kind: OperationKind,
    /// The volume it is about.
    pub volume: VolumeName,
    /// How far it is.
    pub state: OperationState,
    /// When it was accepted.
    #[schema(value_type = String)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<Timestamp>,
    /// Why it failed, or what holds it up.
    pub problem: Option<Problem>,
}
