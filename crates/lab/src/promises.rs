//! What a guest was told before its power was cut, held against what it shows after.
//! Pure: lines in, broken promises out.

use std::collections::BTreeMap;

/// How a volume stands, by what was asked and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Asked for; nothing told.
    Asked,
    /// Told FINISHED: it exists.
    Exists,
    /// Its data was told as written and synced too.
    Holds,
    /// Its deletion was asked for; nothing told.
    Deleting,
    /// Its deletion was told FINISHED.
    Gone,
}

/// What a guest reports of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    state: String,
    content: String,
}

/// Everything asked, told and seen, over all lives of one disk.
#[derive(Debug, Default)]
pub(super) struct Promises {
    standings: BTreeMap<String, Standing>,
    seen: BTreeMap<String, Seen>,
    broken: Vec<String>,
    /// Promises that were held against what was seen, over all lives.
    pub(super) held: usize,
    /// Volumes whose fate was open at a cut and is known since.
    pub(super) settled: usize,
}

impl Promises {
    /// Takes one word of a guest in. `volume` tells what is seen, `checked` that all was told,
    /// `violation` a rule that the guest found broken; the rest is asked or told.
    pub(super) fn on_line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let name = words.next().unwrap_or_default().to_owned();
        let standing = match word {
            "asked" => Standing::Asked,
            "finished" => Standing::Exists,
            "wrote" => Standing::Holds,
            "deleting" => Standing::Deleting,
            "deleted" => Standing::Gone,
            "volume" => {
                let state = words.next().unwrap_or_default().to_owned();
                let content = words.next().unwrap_or_default().to_owned();
                self.seen.insert(name, Seen { state, content });
                return;
            }
            "violation" => {
                self.broken.push(line.to_owned());
                return;
            }
            "checked" => {
                self.judge();
                return;
            }
            _progress => return,
        };
        self.standings.insert(name, standing);
    }

    /// Gives what has been broken so far.
    pub(super) fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Gives how many volumes were told FINISHED and not deleted since.
    pub(super) fn existing(&self) -> usize {
        let exists = |s: &&Standing| matches!(s, Standing::Exists | Standing::Holds);
        self.standings.values().filter(exists).count()
    }

    /// Holds all that was told against what is seen, and takes over what was open.
    fn judge(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        for name in seen
            .keys()
            .filter(|name| !self.standings.contains_key(*name))
        {
            self.broken.push(format!("{name} was never asked for"));
        }
        for (name, standing) in &mut self.standings {
            let now = seen.get(name);
            let found = now.map(|seen| (seen.state.as_str(), seen.content.as_str()));
            let (fits, next) = match (*standing, found) {
                (Standing::Exists, Some(("ready", _))) => (true, Standing::Exists),
                (Standing::Holds, Some(("ready", content))) => (content == name, Standing::Holds),
                (Standing::Gone, None) => (true, Standing::Gone),
                (Standing::Asked | Standing::Deleting, Some(("ready", _))) => {
                    self.settled += 1;
                    (true, Standing::Exists)
                }
                (Standing::Asked | Standing::Deleting, None | Some(("failed", _))) => {
                    self.settled += 1;
                    (true, Standing::Gone)
                }
                (
                    Standing::Asked
                    | Standing::Deleting
                    | Standing::Exists
                    | Standing::Holds
                    | Standing::Gone,
                    _,
                ) => (false, *standing),
            };
            self.held += 1;
            if !fits {
                self.broken
                    .push(format!("{name}: told {standing:?}, seen {now:?}"));
            }
            *standing = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(lines: &[&str]) -> Vec<String> {
        let mut promises = Promises::default();
        for line in lines {
            promises.on_line(line);
        }
        promises.broken().to_vec()
    }

    #[test]
    fn what_was_told_must_be_seen_with_its_data() {
        let told = ["asked a", "finished a"];
        for (more, breaks) in [
            (&["volume a ready -", "checked"][..], 0),
            (&["volume a creating -", "checked"][..], 1),
            (&["checked"][..], 1),
            (&["wrote a", "volume a ready a", "checked"][..], 0),
            (&["wrote a", "volume a ready -", "checked"][..], 1),
            (&["deleting a", "deleted a", "checked"][..], 0),
            (
                &["deleting a", "deleted a", "volume a ready a", "checked"][..],
                1,
            ),
            (&["volume a ready -", "volume b ready -", "checked"][..], 1),
            (&["violation 2: x"][..], 1),
        ] {
            let lines = [&told[..], more].concat();
            assert_eq!(broken(&lines).len(), breaks, "{lines:?}");
        }
    }

    #[test]
    fn what_was_open_may_go_either_way_once_and_not_back() {
        let there = ["asked a", "volume a ready -", "checked"];
        assert_eq!(broken(&there), [""; 0]);
        assert_eq!(broken(&[&there[..], &["checked"]].concat()).len(), 1);
        let gone = ["asked a", "checked"];
        assert_eq!(broken(&gone), [""; 0]);
        let back = [&gone[..], &["volume a ready -", "checked"]].concat();
        assert_eq!(broken(&back).len(), 1);
        let stuck = ["asked a", "volume a creating -", "checked"];
        assert_eq!(broken(&stuck).len(), 1);
    }
}
