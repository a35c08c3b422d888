//! The calls of the Node service. Paths are those of the plugin's own mount namespace.

use std::time::Duration;

use super::{At, PluginClient};
use crate::call;
use crate::convert;
use crate::error::CsiError;
use crate::proto::node_client::NodeClient;
use crate::rpc::Rpc;
use crate::types::VolumeStats;

impl PluginClient {
    /// Makes a volume ready on this node; the staging directory exists.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`]; the volume may be staged in spite of an error.
    pub async fn stage(&self, args: &call::Stage, deadline: Duration) -> Result<(), CsiError> {
        let at = At::new(Rpc::Stage, deadline).hiding(&args.secrets);
        self.call(at, args, async |channel, request| {
            NodeClient::new(channel).node_stage_volume(request).await
        })
        .await?;
        Ok(())
    }

    /// Undoes a stage.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`].
    pub async fn unstage(&self, args: &call::Unstage, deadline: Duration) -> Result<(), CsiError> {
        self.call(
            At::new(Rpc::Unstage, deadline),
            args,
            async |channel, request| NodeClient::new(channel).node_unstage_volume(request).await,
        )
        .await?;
        Ok(())
    }

    /// Makes a volume appear at a path; the parent of the path exists.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`]; the volume may be published in spite of an error.
    pub async fn publish(&self, args: &call::Publish, deadline: Duration) -> Result<(), CsiError> {
        let at = At::new(Rpc::Publish, deadline).hiding(&args.secrets);
        self.call(at, args, async |channel, request| {
            NodeClient::new(channel).node_publish_volume(request).await
        })
        .await?;
        Ok(())
    }

    /// Undoes a publish; the plugin removes the path.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`].
    pub async fn unpublish(
        &self,
        args: &call::Unpublish,
        deadline: Duration,
    ) -> Result<(), CsiError> {
        self.call(
            At::new(Rpc::Unpublish, deadline),
            args,
            async |channel, request| {
                NodeClient::new(channel)
                    .node_unpublish_volume(request)
                    .await
            },
        )
        .await?;
        Ok(())
    }

    /// Asks how full a volume is.
    ///
    /// # Errors
    ///
    /// The call failed; NOT_FOUND: the volume is not at that path.
    pub async fn node_get_volume_stats(
        &self,
        args: &call::GetVolumeStats,
        deadline: Duration,
    ) -> Result<VolumeStats, CsiError> {
        let answer = self
            .call(
                At::new(Rpc::VolumeStats, deadline),
                args,
                async |channel, request| {
                    NodeClient::new(channel)
                        .node_get_volume_stats(request)
                        .await
                },
            )
            .await?;
        Ok(convert::stats(answer.usage))
    }

    /// Grows what lies on a volume; answers the new size in bytes, if the plugin says.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`]; it may have grown in spite of an error.
    pub async fn node_expand(
        &self,
        args: &call::ExpandNode,
        deadline: Duration,
    ) -> Result<Option<u64>, CsiError> {
        let at = At::new(Rpc::ExpandNode, deadline).hiding(&args.secrets);
        let answer = self
            .call(at, args, async |channel, request| {
                NodeClient::new(channel).node_expand_volume(request).await
            })
            .await?;
        Ok(convert::positive(answer.capacity_bytes))
    }
}
