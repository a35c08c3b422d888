//! Mounts that the record does not have. A call that was given up, and undone, may come to its
//! end after all: CSI has no way to call it back. So the OK of an inverse call is not the last
//! word, and what the kernel shows later is taken as what it is.

use sutler_ids::Now;

use crate::call::Rpc;
use crate::event::Mount;
use crate::machine::Volume;
use crate::plan::{self, Goal};
use crate::record::{Phase, Settled};

impl Volume {
    /// Tells whether a mount at this place is one that nobody here has asked for, or whose end was
    /// told. A call that is being made looks at its own end; and who wants the volume gets it
    /// published, which a plugin answers with what is there. Without its plugin nothing could be
    /// taken down: the mounts are looked at when it is back.
    pub fn is_stray(&self, mount: Mount) -> bool {
        self.stray(mount).is_some()
    }

    /// Gives where the volume is, if it has such a mount.
    fn stray(&self, mount: Mount) -> Option<Settled> {
        let abilities = self.live.up?;
        let below = self.below(mount)?;
        let idle = self.live.open.is_none();
        // What a plugin that does not stage has staged, nothing could unstage.
        let ends = mount == Mount::Target || abilities.stages;
        let (created, context) = (below.created()?.clone(), below.context());
        (idle && ends).then_some(match mount {
            Mount::Target => Settled::Published(created, context),
            Mount::Staging => Settled::VolReady(created, context),
        })
    }

    /// Gives where the record has the volume, if that is below this mount and nothing climbs.
    fn below(&self, mount: Mount) -> Option<&Settled> {
        match &self.record.phase {
            Phase::Settled(settled) => {
                let climbs = plan::goal(&self.record) == Goal::Published;
                let there = match mount {
                    Mount::Target => matches!(settled, Settled::Published(..)),
                    Mount::Staging => settled.on_host(),
                };
                (!climbs && !there).then_some(settled)
            }
            // On the way down, between two attempts: with such a mount none of them succeeds. A
            // deletion in doubt is left by itself alone: it may still be at it.
            Phase::InFlight(flight) => match (flight.rpc, mount) {
                (Rpc::Detach, _) | (Rpc::Unstage, Mount::Target) => Some(&flight.from),
                _ => None,
            },
            Phase::Failed(_) | Phase::Gone => None,
        }
    }

    /// The host shows a mount that the record does not have: the volume is taken down from there,
    /// as one that was used.
    pub(crate) fn on_stray(&mut self, mount: Mount, now: Now) {
        let Some(place) = self.stray(mount) else {
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
