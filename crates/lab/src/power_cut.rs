//! The power of a guest is cut again and again, at chosen moments, on one disk. After each cut
//! the disk is brought to what a drive with a cache of its own would hold, the guest starts
//! again, and what it shows is held against all that it was told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::guest::{Guest, Parts};
use super::promises::Promises;
use super::root_disk::make_ext4;
use super::write_log::{self, Kept};
use xtask::command;
use xtask::steps::shown;
use xtask::test::Count;

/// The guest's script.
pub(super) const SCRIPT: &str = "power";

/// Longest time of one life, from power on to cut.
const LIFE_WITHIN: Duration = Duration::from_secs(180);

/// Where a life is cut: when a word was told for the n-th time and the disk has then taken so
/// many KiB more, whatever that is part of. Not a time: this machine may be slow.
struct Cut {
    word: &'static str,
    times: usize,
    more_kib: u64,
}

const fn cut(word: &'static str, times: usize, more_kib: u64) -> Cut {
    Cut {
        word,
        times,
        more_kib,
    }
}

/// Right after a promise, within creation, within recovery, within a write, within deletion,
/// and right after deletion was told.
const CUTS: [Cut; 8] = [
    cut("finished", 2, 0),
    cut("asked", 2, 64),
    cut("started", 1, 128),
    cut("wrote", 3, 0),
    cut("finished", 2, 128),
    cut("deleting", 1, 32),
    cut("deleted", 1, 0),
    cut("asked", 3, 200),
];

/// Pause between two looks at how far the disk is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Gives the script of a life.
pub(super) fn script(lab: &Path) -> String {
    format!(
        "{} life $LAB_LIFE $LAB_LAST 2> /dev/console\n",
        lab.display()
    )
}

/// The files of all lives.
struct Lives<'a> {
    parts: &'a Parts<'a>,
    /// What the drive holds for sure.
    drive: PathBuf,
    promises: Promises,
    /// Bytes of the disk's log when the guest was last heard.
    heard_at: u64,
    kept: Kept,
}

/// Lives all lives and counts: one check for each life's recovery.
///
/// # Errors
/// A guest does not come up, is silent, or ends by itself.
pub(super) fn run(parts: &Parts<'_>) -> Result<Count> {
    let began = Instant::now();
    let drive = parts.folder.join("drive");
    make_ext4(&drive, None)?;
    let mut lives = Lives {
        parts,
        drive,
        promises: Promises::default(),
        heard_at: 0,
        kept: Kept::default(),
    };
    let mut count = Count::default();
    for life in 0..=CUTS.len() {
        let broken = lives.promises.broken().len();
        lives.live(life).with_context(|| format!("life {life}"))?;
        let now = &lives.promises.broken()[broken..];
        for line in now {
            println!("✗ power cut, life {life}: {line}");
        }
        count.add(Count::one(now.is_empty()));
    }
    let (promises, kept) = (&lives.promises, lives.kept);
    println!(
        "{} power cut: {} cuts, {} promises held against, {} open calls settled, {} volumes \
         at the end; of {} writes {} were in the drive's cache, {} of them lost ({})",
        if count.failed == 0 { '✓' } else { '✗' },
        CUTS.len(),
        promises.held,
        promises.settled,
        promises.existing(),
        kept.flushed + kept.cached,
        kept.cached,
        kept.lost,
        shown(began.elapsed())
    );
    ensure!(
        promises.held > 0 && promises.existing() > 0,
        "nothing was promised"
    );
    Ok(count)
}

impl Lives<'_> {
    fn live(&mut self, life: usize) -> Result<()> {
        let mut copy = Command::new("cp");
        copy.arg("--sparse=always").arg(&self.drive);
        command::output(copy.arg(self.parts.disk()))?;
        let last = CUTS.get(life).is_none();
        let env = format!(
            "LAB_LIFE={life} LAB_LAST={}",
            if last { "--last" } else { "" }
        );
        let guest = Guest::start(self.parts, SCRIPT, &env)?;
        let Some(cut) = CUTS.get(life) else {
            return self.last(guest);
        };
        self.until_cut(guest, cut)?;
        let moment = write_log::Cut {
            not_before: self.heard_at,
            seed: life as u64,
        };
        let kept = write_log::replay(&self.parts.log(), &self.drive, moment)?;
        println!(
            "  life {life}, cut {} KiB after {} {}: {} volumes stand, {} of {} cached writes lost",
            cut.more_kib,
            cut.times,
            cut.word,
            self.promises.existing(),
            kept.lost,
            kept.cached
        );
        self.kept.flushed += kept.flushed;
        self.kept.cached += kept.cached;
        self.kept.lost += kept.lost;
        Ok(())
    }

    /// Listens until the moment of the cut, and cuts.
    fn until_cut(&mut self, guest: Guest, cut: &Cut) -> Result<()> {
        let deadline = Instant::now() + LIFE_WITHIN;
        let mut seen = 0;
        while seen < cut.times {
            let word = self.word(&guest, deadline)?;
            seen += usize::from(word == cut.word);
        }
        let enough = self.heard_at.saturating_add(cut.more_kib * 1024);
        while self.log_bytes()? < enough {
            let look = Instant::now() + LOOK_EVERY;
            match guest.line(look) {
                Ok(Some(line)) => drop(self.on_line(&line)),
                Ok(None) => bail!("it is off:\n{}", guest.console()),
                Err(error) if look > deadline => return Err(error),
                Err(_nothing_told) => {}
            }
        }
        for line in guest.cut() {
            self.on_line(&line);
        }
        Ok(())
    }

    fn log_bytes(&self) -> Result<u64> {
        let log = self.parts.log();
        let about = fs::metadata(&log).with_context(|| log.display().to_string())?;
        Ok(about.len())
    }

    /// Lets the last life end by itself.
    fn last(&mut self, guest: Guest) -> Result<()> {
        let deadline = Instant::now() + LIFE_WITHIN;
        while self.word(&guest, deadline)? != "checked" {}
        guest.wait_off()
    }

    /// Gives the next word that the guest tells.
    fn word(&mut self, guest: &Guest, deadline: Instant) -> Result<String> {
        loop {
            let line = guest.line(deadline)?;
            let line = line.with_context(|| format!("it is off:\n{}", guest.console()))?;
            if line.starts_with("LAB ended") {
                bail!("its life has ended by itself:\n{}", guest.console());
            }
            if let Some(word) = self.on_line(&line) {
                return Ok(word);
            }
        }
    }

    fn on_line(&mut self, line: &str) -> Option<String> {
        // What the guest was told of is in the log by now; a later moment may be the cut's.
        self.heard_at = self.log_bytes().unwrap_or(u64::MAX);
        let told = line.strip_prefix("LAB ")?;
        self.promises.on_line(told);
        told.split(' ').next().map(str::to_owned)
    }
}
