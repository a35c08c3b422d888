//! The oracle: holds what a world shows against the ten invariants of the promise.
//!
//! [`Observed`] is what was seen, [`check`] is a pure judgement of it, and [`Oracle`] remembers
//! earlier sights, since some invariants speak of time. Observing changes nothing; reading data
//! back (invariant 10) is done by the tests, which know what was written, and is told here.
//!
//! | invariant | held against |
//! |---|---|
//! | 1 FINISHED exists | books: settled volumes; plugin: its list |
//! | 2 the plugin's list equals our books | both, in both directions |
//! | 3 one back-end volume per operation | plugin's ids and names in the books and the list |
//! | 4 one writer, one node | mount table: agents that have a volume mounted |
//! | 5 never deleted while published | mount table and loop devices against books and list |
//! | 6 every operation ends | books: no volume or task on its way while at rest |
//! | 7 resources are conserved | holders against tasks; loop devices and mounts without holders |
//! | 8 no status goes backwards | this sight against the one before |
//! | 9 secrets appear nowhere | logs of processes and containers |
//! | 10 data reads back | what the test says it read |

mod observe;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;

use crate::world::World;
pub use observe::volumes_of;
pub use rules::check;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which, from 1 to 10.
    pub invariant: u8,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.text)
    }
}

/// A volume in the books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookVolume {
    pub name: String,
    /// Our identity.
    pub volume_id: String,
    /// The plugin's identity.
    pub csi_volume_id: Option<String>,
    /// The plugin that keeps it.
    pub plugin: String,
    /// Its state, as the API writes it.
    pub state: String,
    /// Tasks that hold it.
    pub holders: BTreeSet<String>,
}

/// A task in the books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookTask {
    pub task_id: String,
    /// Its state, as the API writes it.
    pub state: String,
    /// Ids of its volumes.
    pub volumes: BTreeSet<String>,
}

/// A volume of a plugin's list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListedVolume {
    /// The plugin's identity.
    pub csi_volume_id: String,
    /// The name that it was asked for by, where the plugin tells.
    pub name: Option<String>,
}

/// Everything that was seen of a world at rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    pub volumes: Vec<BookVolume>,
    /// Tasks, ended ones too.
    pub tasks: Vec<BookTask>,
    /// By plugin, what it lists, those that were there from its start left out.
    pub listed: BTreeMap<String, Vec<ListedVolume>>,
    /// By agent's state folder, the mount points below it.
    pub mounts: BTreeMap<String, Vec<String>>,
    /// Files behind loop devices of this world; a deleted one ends in ` (deleted)`.
    pub loop_files: Vec<String>,
    /// Texts that may hold no secret, by where they stand.
    pub texts: BTreeMap<String, String>,
    /// Secrets, by what they are.
    pub secrets: BTreeMap<String, String>,
    /// What was read back: where, what was written, what was read.
    pub read_back: Vec<(String, String, String)>,
}

/// What an oracle may take as given.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// Volumes that a plugin had before us, by plugin.
    pub foreign: BTreeMap<String, BTreeSet<String>>,
    /// Plugins that have forgotten their volumes, for good: their list is not held against us.
    pub forgetful: BTreeSet<String>,
    /// What was read back: where, what was written, what was read.
    pub read_back: Vec<(String, String, String)>,
}

/// Watches one world through its life.
#[derive(Debug, Default)]
pub struct Oracle {
    /// What the world is expected to be like.
    pub expectations: Expectations,
    before: Option<Observed>,
}

impl Oracle {
    /// Looks at a world at rest and gives every broken invariant.
    ///
    /// # Errors
    /// The world cannot be looked at: no answer from the API or a plugin.
    pub fn look(&mut self, world: &World) -> Result<Vec<Violation>> {
        let observed = observe::observe(world, &self.expectations)?;
        let mut violations = check(&observed, &self.expectations);
        if let Some(before) = &self.before {
            violations.extend(rules::check_since(before, &observed));
        }
        self.before = Some(observed);
        Ok(violations)
    }

    /// Looks and refuses any violation.
    ///
    /// # Panics
    /// An invariant is broken, or the world cannot be looked at.
    pub fn assert_holds(&mut self, world: &World) {
        let violations = self.look(world).expect("a world at rest can be looked at");
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert!(told.is_empty(), "{}\n{}", told.join("\n"), world.said());
    }
}
