//! What the kernel shows at the place of a call, right after its answer, and what of ours is then
//! taken away there. What that means is the machine's to say (`sutler-volume-core`, `evidence`).

use sutler_volume_core::{Answer, Failure, Mount, Rpc, Shown, Verdict};

use super::calls::Job;

impl Job {
    /// Asks the kernel what is at the place of a call, if its answer is a claim about a mount.
    pub(crate) async fn shown_after(&self, result: &Result<Answer, Failure>) -> Shown {
        let claims = match result {
            Ok(_) => true,
            Err(failure) => failure.verdict == Verdict::NotFound,
        };
        let access = self.call.spec.access;
        match self.call.rpc {
            Rpc::Stage if result.is_ok() => self.paths.shown(Mount::Staging, access),
            Rpc::Publish if result.is_ok() => match self.call.abilities.mounts_nothing {
                true => self.paths.shown(Mount::Target, access),
                false => self.paths.shown_soon(Mount::Target, access).await,
            },
            Rpc::Unstage if claims => self.paths.shown_mounted(Mount::Staging),
            Rpc::Unpublish if claims => self.paths.shown_mounted(Mount::Target),
            Rpc::Stage
            | Rpc::Publish
            | Rpc::Unstage
            | Rpc::Unpublish
            | Rpc::Create
            | Rpc::Delete
            | Rpc::Attach
            | Rpc::Detach
            | Rpc::ControllerExpand(_)
            | Rpc::NodeExpand(_)
            | Rpc::Verify => Shown::NotAsked,
        }
    }

    /// Removes the folders of what is down, by the plugin's word and the kernel's.
    pub(crate) fn tidy_folders(&self, result: &Result<Answer, Failure>, shown: &Shown) {
        let down = result.is_ok() && matches!(shown, Shown::Nothing(_));
        match self.call.rpc {
            Rpc::Unpublish if down => self.paths.remove_target(),
            Rpc::Unstage if down => self.paths.remove_empty(),
            Rpc::Delete if result.is_ok() => self.paths.remove_empty(),
            Rpc::Unpublish
            | Rpc::Unstage
            | Rpc::Delete
            | Rpc::Create
            | Rpc::Attach
            | Rpc::Detach
            | Rpc::Stage
            | Rpc::Publish
            | Rpc::ControllerExpand(_)
            | Rpc::NodeExpand(_)
            | Rpc::Verify => {}
        }
    }
}
