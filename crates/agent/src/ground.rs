//! What all shells of one agent stand on.

use std::sync::Arc;

use sutler_store::Store;
use tokio::sync::mpsc;

use crate::host::Host;
use crate::link::{LinkOrder, MasterClient};

/// What outlives a shell: every shell of one agent uses the same.
pub(crate) struct Ground {
    pub host: Arc<Host>,
    pub store: Store,
    pub link: mpsc::UnboundedSender<LinkOrder>,
    pub master: MasterClient,
}
