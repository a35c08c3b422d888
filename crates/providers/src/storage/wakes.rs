//! When each volume wants to be looked at again.

use std::collections::{BTreeSet, HashMap};

use sutler_ids::{Boottime, VolumeId};

/// One time for each volume; the first of all is found without a search.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    at: HashMap<VolumeId, Boottime>,
    order: BTreeSet<(Boottime, VolumeId)>,
}

impl Wakes {
    /// Sets a volume's time, in place of an earlier word.
    pub(crate) fn set(&mut self, volume_id: VolumeId, at: Boottime) {
        self.forget(volume_id);
        self.at.insert(volume_id, at);
        self.order.insert((at, volume_id));
    }

    /// Lets a volume's time go.
    pub(crate) fn forget(&mut self, volume_id: VolumeId) {
        if let Some(at) = self.at.remove(&volume_id) {
            self.order.remove(&(at, volume_id));
        }
    }

    /// Gives the first time of all.
    pub(crate) fn first(&self) -> Option<Boottime> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the volumes whose time has come.
    pub(crate) fn take_due(&mut self, now: Boottime) -> Vec<VolumeId> {
        let mut due = Vec::new();
        while let Some((at, volume_id)) = self.order.first().copied()
            && at <= now
        {
            self.forget(volume_id);
            due.push(volume_id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_word_counts_and_what_is_due_comes_once() {
        let at = |s| Boottime::default().after(Duration::from_secs(s));
        let [one, two, three] = [1, 2, 3].map(|n| VolumeId::new(uuid::Uuid::from_u128(n)));
        let mut wakes = Wakes::default();
        wakes.set(one, at(9));
        wakes.set(one, at(2));
        wakes.set(two, at(5));
        wakes.set(three, at(1));
        wakes.forget(three);
        assert_eq!(wakes.first(), Some(at(2)));
        assert_eq!(wakes.take_due(at(4)), [one]);
        assert_eq!(wakes.take_due(at(9)), [two]);
        assert!(wakes.first().is_none() && wakes.at.is_empty() && wakes.order.is_empty());
    }
}
