//! What a disk with a cache of its own holds after its power was cut: all that was written
//! before the last flush, and of what came later any part.
//!
//! The emulator notes every write and flush of the guest, in the order of their ends and before
//! the guest hears of them. Only that note is used: the file it wrote to has all writes, also
//! those that no flush has covered and that a real disk may lose.
//! Source: kernel `Documentation/admin-guide/device-mapper/log-writes.rst`, QEMU `blklogwrites`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// First of the log, once a flush has been noted.
const MAGIC: u64 = 0x006a_7366_7773_6872;

/// Sectors of the log, as [`super::guest`] asks for.
const SECTOR_BYTES: u64 = 512;

/// Flag of a flush. No other is known: the guest is given a disk that cannot discard, and whose
/// writes cannot pass the cache.
const FLUSH: u64 = 1;

/// Bytes of an entry's fields; the rest of its sector is nothing.
const ENTRY_BYTES: usize = 32;

/// Largest write that is taken for one: no request of a guest is near it.
const SECTORS_MAX: u64 = 1 << 20;

/// One request of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    sector: u64,
    sectors: u64,
    flags: u64,
    data_at: u64,
}

/// What became of the writes of one life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Writes before the last flush: all kept.
    pub(super) flushed: usize,
    /// Writes after it.
    pub(super) cached: usize,
    pub(super) lost: usize,
}

/// When the power of a drive went, and what its cache then lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Bytes of the log when the guest was last heard of: what was told rests on these.
    pub(super) not_before: u64,
    /// Decides which writes of the cache are lost: about half of them.
    pub(super) seed: u64,
}

/// Brings a disk to what it holds after a cut, from what it held at power on and the log. Of all
/// moments since the guest was last heard of, the one with the most in the drive's cache counts.
///
/// # Errors
/// A file cannot be read or written, or is no log.
pub(super) fn replay(log: &Path, disk: &Path, cut: Cut) -> Result<Kept> {
    let log_file = File::open(log).with_context(|| log.display().to_string())?;
    let disk_file = OpenOptions::new().write(true).open(disk);
    let disk_file = disk_file.with_context(|| disk.display().to_string())?;
    let entries = read(&log_file).with_context(|| log.display().to_string())?;
    let entries = &entries[..fullest(&entries, cut.not_before)];
    let flushed = flushed(entries);
    let mut kept = Kept::default();
    let mut state = cut.seed;
    for (number, entry) in entries.iter().enumerate().filter(|(_, e)| e.sectors > 0) {
        if number < flushed {
            kept.flushed += 1;
        } else {
            kept.cached += 1;
            if next(&mut state) & 1 == 0 {
                kept.lost += 1;
                continue;
            }
        }
        apply(&log_file, &disk_file, *entry)?;
    }
    disk_file.sync_all()?;
    Ok(kept)
}

/// Gives how many entries a flush has covered.
fn flushed(entries: &[Entry]) -> usize {
    let last = entries.iter().rposition(|entry| entry.flags == FLUSH);
    last.map_or(0, |at| at + 1)
}

/// Gives how many entries there were when the cache was fullest, from a length of the log on.
fn fullest(entries: &[Entry], not_before: u64) -> usize {
    let first = entries.partition_point(|entry| entry.data_at <= not_before);
    let cached = |end: &usize| end - flushed(&entries[..*end]);
    (first..=entries.len()).max_by_key(cached).unwrap_or(first)
}

fn apply(log: &File, disk: &File, entry: Entry) -> Result<()> {
    let size = usize::try_from(entry.sectors * SECTOR_BYTES)?;
    let mut data = vec![0; size];
    log.read_exact_at(&mut data, entry.data_at)?;
    Ok(disk.write_all_at(&data, entry.sector * SECTOR_BYTES)?)
}

/// Gives all whole entries. The log's head, with their number, is as old as the last flush, so
/// they are followed as long as they make sense.
fn read(log: &File) -> Result<Vec<Entry>> {
    let end = log.metadata()?.len();
    let mut entries = Vec::new();
    let mut at = SECTOR_BYTES;
    let mut fields = [0; ENTRY_BYTES];
    while at + SECTOR_BYTES <= end {
        log.read_exact_at(&mut fields, at)?;
        let entry = Entry {
            sector: u64_at(&fields, 0),
            sectors: u64_at(&fields, 8),
            flags: u64_at(&fields, 16),
            data_at: at + SECTOR_BYTES,
        };
        ensure!(
            entry.flags & !FLUSH == 0 && entry.sectors <= SECTORS_MAX,
            "no write or flush at byte {at}: {entry:?}"
        );
        at = entry.data_at + entry.sectors * SECTOR_BYTES;
        let nothing = entry.sectors == 0 && entry.flags == 0;
        if nothing || at > end {
            break;
        }
        entries.push(entry);
    }
    if entries.iter().any(|entry| entry.flags == FLUSH) {
        log.read_exact_at(&mut fields, 0)?;
        let magic = u64_at(&fields, 0);
        ensure!(magic == MAGIC, "{magic:#x} begins no log of writes");
    }
    Ok(entries)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes[at..at + 8].try_into().expect("eight bytes");
    u64::from_le_bytes(field)
}

/// The next number of a splitmix64 sequence.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 512;

    fn log_of(entries: &[(u64, u8, u64)]) -> Vec<u8> {
        let mut log = vec![0; SECTOR];
        log[..8].copy_from_slice(&MAGIC.to_le_bytes());
        for (sector, byte, flags) in entries {
            let sectors = u64::from(*byte != 0);
            let mut entry = vec![0; SECTOR];
            for (field, at) in [(*sector, 0), (sectors, 8), (*flags, 16)] {
                entry[at..at + 8].copy_from_slice(&field.to_le_bytes());
            }
            log.extend(entry);
            if sectors > 0 {
                log.extend([*byte; SECTOR]);
            }
        }
        log
    }

    fn replayed(log: &[u8], seed: u64) -> (Kept, Vec<u8>) {
        let not_before = log.len() as u64;
        replayed_from(log, Cut { not_before, seed })
    }

    fn replayed_from(log: &[u8], cut: Cut) -> (Kept, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (log_path, disk) = (folder.path().join("log"), folder.path().join("disk"));
        std::fs::write(&log_path, log).expect("is ours");
        std::fs::write(&disk, [0; 4 * SECTOR]).expect("is ours");
        let kept = replay(&log_path, &disk, cut).expect("a good log");
        let content = std::fs::read(disk).expect("is ours");
        (kept, content.into_iter().step_by(SECTOR).collect())
    }

    #[test]
    fn what_was_flushed_is_kept_and_of_the_rest_any_part() {
        let entries = [(0, 1, 0), (1, 2, 0), (0, 0, FLUSH), (0, 3, 0), (2, 4, 0)];
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let (kept, content) = replayed(&log_of(&entries), seed);
            assert_eq!((kept.flushed, kept.cached), (2, 2));
            assert_eq!(content[1], 2, "a flushed write was lost");
            seen.insert((content[0], content[2]));
        }
        let all = [(1, 0), (1, 4), (3, 0), (3, 4)];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }

    #[test]
    fn the_moment_with_the_fullest_cache_counts_but_none_before_the_last_word() {
        let whole = log_of(&[
            (0, 1, 0),
            (1, 1, 0),
            (0, 0, FLUSH),
            (2, 1, 0),
            (0, 0, FLUSH),
        ]);
        let told = log_of(&[(0, 1, 0), (1, 1, 0), (0, 0, FLUSH)]);
        for (not_before, flushed, cached) in [(0, 0, 2), (told.len(), 2, 1), (whole.len(), 3, 0)] {
            let cut = Cut {
                not_before: not_before as u64,
                seed: 1,
            };
            let (kept, _) = replayed_from(&whole, cut);
            assert_eq!(
                (kept.flushed, kept.cached),
                (flushed, cached),
                "{not_before}"
            );
        }
    }

    #[test]
    fn a_torn_end_is_nothing_and_another_flag_is_refused() {
        let log = log_of(&[(0, 1, 0), (0, 0, FLUSH), (1, 2, 0)]);
        for seed in 0..16 {
            let (kept, content) = replayed(&log[..log.len() - 1], seed);
            assert_eq!((kept.cached, content[0], content[1]), (0, 1, 0));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        std::fs::write(&path, log_of(&[(0, 1, 4)])).expect("is ours");
        let cut = Cut {
            not_before: 0,
            seed: 0,
        };
        let refused = replay(&path, &path, cut).expect_err("4 is a discard");
        assert!(format!("{refused:#}").contains("no write or flush"));
    }
}
