//! Whether a mount that the plugin once made is still there.
//!
//! A mount can go without the plugin's doing: somebody unmounts it by hand, or it was served
//! by a process that died. A task that comes then must not be given the bare folder beneath.
//! So before an acquisition is told, and before a publish from a staged volume, what was seen
//! mounted is looked at again; what has gone is taken down by its own call and made anew. The
//! look is an effect; this file decides when to look and what follows.
//!
//! ```text
//!              acquire, unpublished            looks              it stands
//!   Trusted ─────────────────────────► Due ───────────► Asked ─────────────► Trusted
//!      ▲                                ▲  a while later  │ │ it is gone,
//!      │                                │  or a release   │ │ and nobody holds it
//!      │                                └──── Later ◄─────┘ │
//!      │                        nobody knows, or it is held │
//!      └──────────────── staged, published ◄───── Lost ◄────┘
//! ```
//!
//! A look without an answer is no evidence. And even of a mount that is surely gone or dead the
//! holders' containers may have their own copy, of which a descent would take what is beneath. So
//! while somebody holds it nothing is taken down; whoever comes waits, with the reason in sight.

use sutler_ids::Problem;
use sutler_ids::{Boottime, Now};

use crate::call::Rpc;
use crate::event::{CallId, Effect, Mount, Seen};
use crate::evidence::There;
use crate::machine::Volume;
use crate::plan::{self, Goal};
use crate::record::{Phase, Settled};

/// Wait before a mount is looked at again of which nothing is known, or that is gone while it is
/// held: a file system whose server is away is back in minutes, if at all.
const LOOK_AGAIN_MS: u64 = 15_000;

/// What is thought of the volume's present mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Look {
    /// Made or seen since somebody last asked for it.
    #[default]
    Trusted,
    /// To be looked at before it is used.
    Due,
    /// Being looked at.
    Asked(CallId),
    /// The last look told nothing, or nothing that may be acted on.
    Later {
        /// When it is looked again.
        at: Boottime,
        /// Why nobody gets it.
        problem: Problem,
    },
    /// Gone, and nobody holds it.
    Lost,
}

impl Volume {
    /// Gives the mount that the next holder is to get or that the next publish builds on; none
    /// where nobody wants one, or where the plugin had mounted nothing.
    fn mount_in_question(&self) -> Option<Mount> {
        if self.goal() != Goal::Published {
            return None;
        }
        let base = match &self.record.phase {
            Phase::Settled(settled) => settled,
            Phase::InFlight(flight)
                if matches!(flight.rpc, Rpc::ControllerExpand(_) | Rpc::NodeExpand(_)) =>
            {
                &flight.from
            }
            Phase::InFlight(_) | Phase::Failed(_) | Phase::Gone => return None,
        };
        let mounts = self.record.mounts;
        match base {
            Settled::Published(..) => mounts.target.then_some(Mount::Target),
            Settled::VolReady(..) => mounts.staging.then_some(Mount::Staging),
            Settled::Absent | Settled::Created(_) | Settled::NodeReady(..) => None,
        }
    }

    /// Tells whether the volume's mount may be handed on or built on.
    pub(crate) fn mount_is_trusted(&self) -> bool {
        self.live.look == Look::Trusted || self.mount_in_question().is_none()
    }

    /// Gives why the volume's mount may not be handed on now.
    pub(crate) fn mount_problem(&self) -> Option<&Problem> {
        match &self.live.look {
            Look::Later { problem, .. } if self.mount_in_question().is_some() => Some(problem),
            Look::Trusted | Look::Due | Look::Asked(_) | Look::Later { .. } | Look::Lost => None,
        }
    }

    /// Looks, if that is due. The plugin need not be up for it.
    pub(crate) fn look(&mut self, now: Now) {
        match &self.live.look {
            Look::Due => {}
            Look::Later { at, .. } if *at <= now.boottime => self.live.look = Look::Due,
            Look::Later { at, .. } => {
                let at = *at;
                if self.mount_in_question().is_some() {
                    self.live.effects.push(Effect::WakeAt(at));
                }
                return;
            }
            Look::Trusted | Look::Asked(_) | Look::Lost => return,
        }
        if let Some(mount) = self.mount_in_question() {
            let call_id = self.next_call_id();
            self.live.look = Look::Asked(call_id);
            self.live.effects.push(Effect::Look { call_id, mount });
        }
    }

    /// Takes what was seen. An answer to an earlier look changes nothing.
    pub(crate) fn on_looked(&mut self, call_id: CallId, seen: Seen, now: Now) {
        if self.live.look != Look::Asked(call_id) {
            return;
        }
        let place = match self.mount_in_question() {
            Some(Mount::Staging) => "staging mount",
            Some(Mount::Target) | None => "mount",
        };
        let (look, what) = match (seen, self.holder()) {
            (Seen::Stands, _) => (Look::Trusted, None),
            (Seen::Gone(problem), Some(holder)) => {
                let what = format!("its {place} is gone without our doing, and {holder} holds it");
                let problem = problem.hint(format!("sutler task stop {holder}"));
                (later(problem, now), Some(what))
            }
            (Seen::Gone(_), None) => {
                let what = format!("its {place} is gone without our doing; it is made anew");
                (Look::Lost, Some(what))
            }
            (Seen::NotKnown(problem), _) => {
                let what = format!("whether its {place} stands is not known");
                (later(problem, now), Some(what))
            }
        };
        self.live.look = look;
        if let Some(what) = what {
            self.live.story.note(what, now);
        }
    }

    /// Has a mount that is in use looked at again, and one that is about to be handed on after its
    /// file system was grown: that may take minutes, in which anything can happen to it.
    pub(crate) fn watch_mount(&mut self) {
        let published = match &self.record.phase {
            Phase::Settled(settled) => matches!(settled, Settled::Published(..)),
            Phase::InFlight(flight) => {
                matches!(flight.rpc, Rpc::NodeExpand(_))
                    && matches!(flight.from, Settled::Published(..))
            }
            Phase::Failed(_) | Phase::Gone => false,
        };
        if published && self.live.look == Look::Trusted {
            self.live.look = Look::Due;
        }
    }

    /// Looks at once after somebody has let go: what was in its way may now be done.
    pub(crate) fn look_after_release(&mut self) {
        if matches!(self.live.look, Look::Later { .. }) {
            self.live.look = Look::Due;
        }
    }

    /// Whether its mount is being looked at, and what is next waits for that.
    pub(crate) fn is_looking(&self) -> bool {
        matches!(self.live.look, Look::Asked(_)) && self.mount_in_question().is_some()
    }

    /// Gives when the mount is looked at again for whoever waits.
    pub(crate) fn looks_again_at(&self) -> Option<Boottime> {
        match &self.live.look {
            Look::Later { at, .. } if self.mount_in_question().is_some() => Some(*at),
            Look::Trusted | Look::Due | Look::Asked(_) | Look::Later { .. } | Look::Lost => None,
        }
    }

    /// Gives the call that clears away what is left of a lost mount.
    pub(crate) fn clear_lost(&self) -> Option<Rpc> {
        let Phase::Settled(settled) = &self.record.phase else {
            return None;
        };
        let lost = self.live.look == Look::Lost && self.mount_in_question().is_some();
        lost.then(|| plan::down(settled)).flatten()
    }

    /// Notes what a good answer says of the volume's mounts.
    pub(crate) fn note_mount(&mut self, rpc: Rpc, there: There) {
        let made = match there {
            There::Yes | There::No => Look::Trusted,
            There::Perhaps => Look::Due,
        };
        let mounts = &mut self.record.mounts;
        self.live.look = match rpc {
            Rpc::Stage => {
                mounts.staging = there != There::No;
                made
            }
            Rpc::Publish => {
                mounts.target = there != There::No;
                made
            }
            Rpc::Unpublish => {
                mounts.target = false;
                // What it was published from may have gone as well.
                Look::Due
            }
            Rpc::Unstage => {
                mounts.staging = false;
                Look::Due
            }
            Rpc::Create
            | Rpc::Delete
            | Rpc::Attach
            | Rpc::Detach
            | Rpc::ControllerExpand(_)
            | Rpc::NodeExpand(_)
            | Rpc::Verify => return,
        };
    }
}

fn later(problem: Problem, now: Now) -> Look {
    let at = now.after_ms(LOOK_AGAIN_MS);
    Look::Later { at, problem }
}
