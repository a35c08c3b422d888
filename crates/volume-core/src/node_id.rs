//! The driver's word for this node, which may change while a volume is attached.
//!
//! Owns which of them a call carries: an attachment is undone where it was made, whatever the node
//! is called by then.

use sutler_ids::Now;

use crate::call::Rpc;
use crate::machine::Volume;
use crate::record::Phase;

impl Volume {
    /// Tells when the driver calls this node otherwise than when the volume was attached.
    pub(crate) fn note_node_id(&mut self, now_called: &str, now: Now) {
        let Some(attached_as) = self.attached_as() else {
            return;
        };
        if attached_as != now_called && self.live.csi_node_id != now_called {
            let plugin = &self.record.spec.plugin;
            let what = format!(
                "plugin {plugin} calls this node {now_called} now; the volume is attached to \
                 {attached_as} and is detached from there"
            );
            self.live.story.note(what, now);
        }
    }

    /// The driver's word for this node while the volume is, or may be, attached.
    fn attached_as(&self) -> Option<&str> {
        let attached = match &self.record.phase {
            Phase::Settled(settled) => settled.is_attached(),
            Phase::InFlight(flight) => flight.from.is_attached() || flight.rpc == Rpc::Attach,
            Phase::Failed(_) | Phase::Gone => false,
        };
        self.record.attached_as.as_deref().filter(|_| attached)
    }

    /// Gives the word for a call: an attachment keeps the one that it was begun with.
    pub(crate) fn csi_node_id_for(&self, rpc: Rpc) -> String {
        let attached_as = self.record.attached_as.as_ref();
        let recorded = attached_as.filter(|_| matches!(rpc, Rpc::Attach | Rpc::Detach));
        recorded.unwrap_or(&self.live.csi_node_id).clone()
    }
}
