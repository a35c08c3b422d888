//! Mounts that the record does not have. A call that was given up, and undone, may come to its
//! end after all: CSI has no way to call it back. So the OK of an inverse call is not the last
//! word, and what the kernel shows later is taken as what it is.

use sutler_ids::Now;

use crate::event::Mount;
use crate::machine::Volume;
use crate::plan::{self, Goal};
use crate::record::{Phase, Settled};

impl Volume {
    /// Tells whether a mount at this place is one that nobody here has asked for, or whose end was
    /// told. While a call is open its own end looks; and who wants the volume gets it published,
    /// which a plugin answers with what is there.
    pub fn is_stray(&self, mount: Mount) -> bool {
        self.stray(mount).is_some()
    }

    /// Gives where the volume is, if it has such a mount.
    fn stray(&self, mount: Mount) -> Option<Settled> {
        let Phase::Settled(settled) = &self.record.phase else {
            return None;
        };
        if plan::goal(&self.record) == Goal::Published || self.live.open.is_some() {
            return None;
        }
        let (created, context) = (settled.created()?.clone(), settled.context());
        match (mount, settled) {
            (_, Settled::Absent | Settled::Published(..))
            | (Mount::Staging, Settled::VolReady(..)) => None,
            (Mount::Target, _) => Some(Settled::Published(created, context)),
            (Mount::Staging, _) => Some(Settled::VolReady(created, context)),
        }
    }

    /// The host shows a mount that the record does not have: the volume is taken down from there,
    /// as one that was used.
    pub(crate) fn on_stray(&mut self, mount: Mount, now: Now) {
        // Without its plugin nothing could be taken down; the mounts are looked at when it is back.
        let Some(place) = self.stray(mount).filter(|_| self.live.up.is_some()) else {
            return;
        };
        match mount {
            Mount::Staging => self.record.mounts.staging = true,
            Mount::Target => self.record.mounts.target = true,
        }
        let text = "a mount that nobody asked for has appeared; it is taken down";
        self.live.story.note(text, now);
        self.settle(place);
        self.record.coming_down = true;
    }
}
