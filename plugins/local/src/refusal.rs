//! How a failure inside becomes a gRPC code outside.
//!
//! Owns the mapping, in one place. The text carries the whole chain of causes, since a caller
//! sees nothing else.

use std::error::Error;

use sutler_telemetry::chain;
use tonic::{Code, Status};

use crate::expand::ExpandError;
use crate::mkfs::MkfsError;
use crate::pool::PoolError;
use crate::publish::PublishError;
use crate::size::SizeError;
use crate::stage::StageError;
use sutler_host::loopdev::LoopError;
use sutler_host::mounts::MountError;

/// A call that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub code: Code,
    /// What failed, on which object, and why.
    pub text: String,
}

impl Refusal {
    /// A request that can never succeed as it is.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self {
            code: Code::InvalidArgument,
            text: text.into(),
        }
    }

    /// An object that is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self {
            code: Code::NotFound,
            text: text.into(),
        }
    }

    /// Another call is at work on the volume.
    pub fn busy(volume_id: &str) -> Self {
        let text = format!("another call is at work on volume {volume_id}; repeat this one later");
        Self {
            code: Code::Aborted,
            text,
        }
    }

    fn from_error(code: Code, error: &dyn Error) -> Self {
        Self {
            code,
            text: chain(error),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Status::new(refusal.code, refusal.text)
    }
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        let code = match &error {
            PoolError::Different { .. } => Code::AlreadyExists,
            PoolError::Size(error) => size_code(error),
            PoolError::AbovePool { .. } => Code::OutOfRange,
            PoolError::Exhausted { .. } | PoolError::DiskFull { .. } => Code::ResourceExhausted,
            PoolError::Format(MkfsError::Copy { source, .. })
            | PoolError::Record(crate::record::RecordError::Write { source, .. })
            | PoolError::File { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Code::ResourceExhausted
            }
            PoolError::Unknown { .. } => Code::NotFound,
            PoolError::CannotReserve { .. } | PoolError::Damaged { .. } => Code::FailedPrecondition,
            PoolError::Prepare { .. }
            | PoolError::Locked { .. }
            | PoolError::Measure { .. }
            | PoolError::File { .. }
            | PoolError::Format(_)
            | PoolError::Record(_) => Code::Internal,
        };
        Self::from_error(code, &error)
    }
}

fn size_code(error: &SizeError) -> Code {
    match error {
        SizeError::Negative(_) => Code::InvalidArgument,
        SizeError::Crossed { .. } | SizeError::TooSmall { .. } | SizeError::Unaligned { .. } => {
            Code::OutOfRange
        }
    }
}

impl From<SizeError> for Refusal {
    fn from(error: SizeError) -> Self {
        Self::from_error(size_code(&error), &error)
    }
}

impl From<StageError> for Refusal {
    fn from(error: StageError) -> Self {
        let code = match &error {
            StageError::WrongAccess { .. } => Code::InvalidArgument,
            StageError::Occupied { .. }
            | StageError::NoPath { .. }
            | StageError::NotTheFilesystem { .. }
            | StageError::Published { .. }
            | StageError::InUse { .. } => Code::FailedPrecondition,
            StageError::Prepare(_)
            | StageError::ReadImage { .. }
            | StageError::Loop(_)
            | StageError::Mount(_) => Code::Internal,
        };
        Self::from_error(code, &error)
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        let code = match &error {
            PublishError::NotStaged { .. }
            | PublishError::Occupied { .. }
            | PublishError::SecondWriter { .. }
            | PublishError::Protection { .. } => Code::FailedPrecondition,
            PublishError::OtherMode { .. } => Code::AlreadyExists,
            PublishError::NotThere { .. } => Code::NotFound,
            PublishError::Target { .. } | PublishError::Loop(_) | PublishError::Mount(_) => {
                Code::Internal
            }
        };
        Self::from_error(code, &error)
    }
}

impl From<ExpandError> for Refusal {
    fn from(error: ExpandError) -> Self {
        let code = match &error {
            ExpandError::BackEndSmaller { .. } => Code::OutOfRange,
            ExpandError::NotAllowed { .. } => Code::FailedPrecondition,
            ExpandError::Probe { .. } | ExpandError::Grow(_) | ExpandError::Loop(_) => {
                Code::Internal
            }
        };
        Self::from_error(code, &error)
    }
}

impl From<LoopError> for Refusal {
    fn from(error: LoopError) -> Self {
        Self::from_error(Code::Internal, &error)
    }
}

impl From<MountError> for Refusal {
    fn from(error: MountError) -> Self {
        Self::from_error(Code::Internal, &error)
    }
}
