//! The calls of the Controller service.
//!
//! One method per call; listing joins the pages and forgives what plugins do between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{At, PluginClient};
use crate::call;
use crate::convert::{self, IntoRequest};
use crate::error::{Code, CsiError};
use crate::limits::{LIST_PAGES_MAX, LIST_RESTARTS_MAX, LIST_VOLUMES_MAX};
use crate::proto;
use crate::proto::controller_client::ControllerClient;
use crate::rpc::Rpc;
use crate::secrets::Context;
use crate::types::{Capacity, ExpandedVolume, ListedVolume, Validation, VolumeDescription};

/// The volumes of a listing by id.
type Listing = BTreeMap<String, ListedVolume>;

impl PluginClient {
    /// Makes a volume, or finds the one that an equal call made.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`]; a volume may exist in spite of an error.
    pub async fn create_volume(
        &self,
        args: &call::CreateVolume,
        deadline: Duration,
    ) -> Result<VolumeDescription, CsiError> {
        let at = At::new(Rpc::CreateVolume, deadline).hiding(&args.secrets);
        let answer = self
            .call(at, args, async |channel, request| {
                ControllerClient::new(channel).create_volume(request).await
            })
            .await?;
        convert::volume(answer.volume).map_err(|fault| bad(Rpc::CreateVolume, fault))
    }

    /// Removes a volume; one that is not there counts as removed.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`].
    pub async fn delete_volume(
        &self,
        args: &call::DeleteVolume,
        deadline: Duration,
    ) -> Result<(), CsiError> {
        let at = At::new(Rpc::DeleteVolume, deadline).hiding(&args.secrets);
        self.call(at, args, async |channel, request| {
            ControllerClient::new(channel).delete_volume(request).await
        })
        .await?;
        Ok(())
    }

    /// Attaches a volume to a node; the answer is for the stage and publish calls there.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`]; the volume may be attached in spite of an error.
    pub async fn attach(
        &self,
        args: &call::Attach,
        deadline: Duration,
    ) -> Result<Context, CsiError> {
        let at = At::new(Rpc::Attach, deadline).hiding(&args.secrets);
        let answer = self
            .call(at, args, async |channel, request| {
                ControllerClient::new(channel)
                    .controller_publish_volume(request)
                    .await
            })
            .await?;
        convert::answered_context("publish context", answer.publish_context)
            .map_err(|fault| bad(Rpc::Attach, fault))
    }

    /// Detaches a volume from a node. The caller vouches that the node no longer uses it.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`].
    pub async fn detach(&self, args: &call::Detach, deadline: Duration) -> Result<(), CsiError> {
        let at = At::new(Rpc::Detach, deadline).hiding(&args.secrets);
        self.call(at, args, async |channel, request| {
            ControllerClient::new(channel)
                .controller_unpublish_volume(request)
                .await
        })
        .await?;
        Ok(())
    }

    /// Asks whether an existing volume can be used in the ways given.
    ///
    /// # Errors
    ///
    /// The call failed; NOT_FOUND: the plugin does not know the volume.
    pub async fn validate_volume_capabilities(
        &self,
        args: &call::Validate,
        deadline: Duration,
    ) -> Result<Validation, CsiError> {
        let at = At::new(Rpc::Validate, deadline).hiding(&args.secrets);
        let asked = args
            .to_request()
            .map_err(|fault| CsiError::not_sent(Rpc::Validate, fault))?;
        let answer = self
            .send(at, asked.clone(), async |channel, request| {
                ControllerClient::new(channel)
                    .validate_volume_capabilities(request)
                    .await
            })
            .await?;
        Ok(convert::validation(&asked, answer))
    }

    /// Lists all volumes in the order of their ids. `page_entries` is the most entries asked
    /// for at once; zero leaves it to the plugin, which some insist on.
    ///
    /// Pages are no snapshot in time: a volume that is made or removed meanwhile may be in
    /// the list or not. One listed twice appears once, as last seen.
    ///
    /// # Errors
    ///
    /// A page failed, the whole took longer than `deadline`, or the plugin never ends.
    pub async fn list_volumes(
        &self,
        page_entries: u32,
        deadline: Duration,
    ) -> Result<Vec<ListedVolume>, CsiError> {
        let end = Instant::now() + deadline;
        let mut restarts = 0;
        loop {
            match self.list_once(page_entries, end).await {
                Ok(listing) => return Ok(listing.into_values().collect()),
                // The plugin forgot its own page token: start over.
                Err(error) if error.code == Code::Aborted && restarts < LIST_RESTARTS_MAX => {
                    restarts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn list_once(&self, page_entries: u32, end: Instant) -> Result<Listing, CsiError> {
        let mut listing = Listing::new();
        let mut token = String::new();
        for _ in 0..LIST_PAGES_MAX {
            let request = proto::ListVolumesRequest {
                max_entries: i32::try_from(page_entries).unwrap_or(i32::MAX),
                starting_token: token.clone(),
            };
            let left = end.saturating_duration_since(Instant::now());
            let page = self
                .send(
                    At::new(Rpc::ListVolumes, left),
                    request,
                    async |channel, request| {
                        ControllerClient::new(channel).list_volumes(request).await
                    },
                )
                .await?;
            add_page(&mut listing, page.entries);
            if listing.len() > LIST_VOLUMES_MAX {
                let fault = format!("more than {LIST_VOLUMES_MAX} volumes");
                return Err(bad(Rpc::ListVolumes, fault));
            }
            if page.next_token.is_empty() {
                return Ok(listing);
            }
            if page.next_token == token {
                let fault = format!("page token {token:?} leads to itself");
                return Err(bad(Rpc::ListVolumes, fault));
            }
            token = page.next_token;
        }
        Err(bad(
            Rpc::ListVolumes,
            format!("no end after {LIST_PAGES_MAX} pages"),
        ))
    }

    /// Asks how much room is left for one kind of volume.
    ///
    /// # Errors
    ///
    /// The call failed.
    pub async fn get_capacity(
        &self,
        args: &call::GetCapacity,
        deadline: Duration,
    ) -> Result<Capacity, CsiError> {
        let answer = self
            .call(
                At::new(Rpc::GetCapacity, deadline),
                args,
                async |channel, request| ControllerClient::new(channel).get_capacity(request).await,
            )
            .await?;
        Ok(Capacity {
            available_bytes: answer.available_capacity.max(0).unsigned_abs(),
            volume_bytes_max: answer.maximum_volume_size.and_then(convert::positive),
            volume_bytes_min: answer.minimum_volume_size.and_then(convert::positive),
        })
    }

    /// Grows a volume in the back end.
    ///
    /// # Errors
    ///
    /// See [`crate::classify`]; the volume may have grown in spite of an error.
    pub async fn controller_expand(
        &self,
        args: &call::ExpandController,
        deadline: Duration,
    ) -> Result<ExpandedVolume, CsiError> {
        let at = At::new(Rpc::ExpandController, deadline).hiding(&args.secrets);
        let answer = self
            .call(at, args, async |channel, request| {
                ControllerClient::new(channel)
                    .controller_expand_volume(request)
                    .await
            })
            .await?;
        let capacity_bytes = convert::positive(answer.capacity_bytes)
            .ok_or_else(|| bad(Rpc::ExpandController, "the answer has no size".to_owned()))?;
        let node_expansion_required = answer.node_expansion_required;
        Ok(ExpandedVolume {
            capacity_bytes,
            node_expansion_required,
        })
    }
}

/// Adds a page. An entry without a usable volume is left out: one faulty entry must not hide
/// all the others.
fn add_page(listing: &mut Listing, entries: Vec<proto::list_volumes_response::Entry>) {
    for entry in entries {
        let attached_nodes = entry.status.unwrap_or_default().published_node_ids;
        match convert::volume(entry.volume) {
            Ok(volume) => {
                let attached_nodes = attached_nodes.into_iter().collect();
                let id = volume.volume_id.clone();
                listing.insert(
                    id,
                    ListedVolume {
                        volume,
                        attached_nodes,
                    },
                );
            }
            Err(fault) => tracing::warn!(rpc = %Rpc::ListVolumes, fault, "entry left out"),
        }
    }
}

fn bad(rpc: Rpc, fault: String) -> CsiError {
    CsiError::bad_answer(rpc, fault)
}
