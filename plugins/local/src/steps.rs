//! The points between two acts at which a test may kill this program.
//!
//! Owns their names. Every act that outlives the process (a file, a rename, a mount, a loop
//! device) is followed by one of them, so that a test can die at each.

/// A point right after one lasting act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The half-made folder of a new volume exists.
    CreateFolder,
    /// The image has its size and its room on the disk.
    CreateReserved,
    /// The image carries its file system; it may not be on the disk yet.
    CreateFormatted,
    /// Image and record are on the disk, still in the half-made folder.
    CreateSynced,
    /// The folder has its final name; the name may not be on the disk yet.
    CreateRenamed,
    /// The volume exists for good; the caller has not heard of it.
    CreateDurable,
    /// The folder has its name of removal; the name may not be on the disk yet.
    DeleteRenamed,
    /// The volume is gone for good; its bytes are not.
    DeleteDurable,
    /// The image file is unlinked.
    DeleteImage,
    /// The image is longer; the record still says the old size.
    GrowExtended,
    /// The new record is written beside the old one.
    GrowWritten,
    /// The new record is in place and on the disk.
    GrowDurable,
    /// The image has a loop device.
    StageAttached,
    /// The file system is mounted at the staging path.
    StageMounted,
    /// The target exists, empty.
    PublishTarget,
    /// The device has the write protection asked for; nothing appears at the target yet.
    PublishProtected,
    /// The volume appears at the target.
    PublishBound,
    /// The volume no longer appears at the target; the target exists.
    UnpublishUnmounted,
    /// The target is gone.
    UnpublishRemoved,
    /// The staging path is no longer a mount; the loop device may be there.
    UnstageUnmounted,
    /// The loop device is given back.
    UnstageDetached,
    /// The loop device has the new size; the file system has not.
    ExpandDevice,
    /// The file system has the new size.
    ExpandFilesystem,
}

impl Step {
    /// Every step, in the order of a volume's life.
    pub const ALL: [Step; 23] = [
        Step::CreateFolder,
        Step::CreateReserved,
        Step::CreateFormatted,
        Step::CreateSynced,
        Step::CreateRenamed,
        Step::CreateDurable,
        Step::DeleteRenamed,
        Step::DeleteDurable,
        Step::DeleteImage,
        Step::GrowExtended,
        Step::GrowWritten,
        Step::GrowDurable,
        Step::StageAttached,
        Step::StageMounted,
        Step::PublishTarget,
        Step::PublishProtected,
        Step::PublishBound,
        Step::UnpublishUnmounted,
        Step::UnpublishRemoved,
        Step::UnstageUnmounted,
        Step::UnstageDetached,
        Step::ExpandDevice,
        Step::ExpandFilesystem,
    ];

    /// The name under which a test arms it.
    pub const fn name(self) -> &'static str {
        match self {
            Step::CreateFolder => "local.create.folder.after",
            Step::CreateReserved => "local.create.reserved.after",
            Step::CreateFormatted => "local.create.formatted.after",
            Step::CreateSynced => "local.create.synced.after",
            Step::CreateRenamed => "local.create.renamed.after",
            Step::CreateDurable => "local.create.durable.after",
            Step::DeleteRenamed => "local.delete.renamed.after",
            Step::DeleteDurable => "local.delete.durable.after",
            Step::DeleteImage => "local.delete.image.after",
            Step::GrowExtended => "local.grow.extended.after",
            Step::GrowWritten => "local.grow.written.after",
            Step::GrowDurable => "local.grow.durable.after",
            Step::StageAttached => "local.stage.attached.after",
            Step::StageMounted => "local.stage.mounted.after",
            Step::PublishTarget => "local.publish.target.after",
            Step::PublishBound => "local.publish.bound.after",
            Step::PublishProtected => "local.publish.protected.after",
            Step::UnpublishUnmounted => "local.unpublish.unmounted.after",
            Step::UnpublishRemoved => "local.unpublish.removed.after",
            Step::UnstageUnmounted => "local.unstage.unmounted.after",
            Step::UnstageDetached => "local.unstage.detached.after",
            Step::ExpandDevice => "local.expand.device.after",
            Step::ExpandFilesystem => "local.expand.filesystem.after",
        }
    }
}

/// Dies here by SIGKILL when a test armed this step; does nothing otherwise.
pub fn passed(step: Step) {
    sutler_telemetry::failpoint::hit(step.name());
}
