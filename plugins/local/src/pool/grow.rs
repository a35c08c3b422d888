//! A volume grows.
//!
//! Owns the order: the image first, then the record. A kill between the two leaves an image
//! longer than its record says, which the repeat of the call settles.

use std::fs::{self, File};

use super::create::extend;
use super::{Pool, PoolError, sync_folder};
use crate::record::{self, IMAGE_FILE, NEW_RECORD_FILE, RECORD_FILE, VolumeRecord};
use crate::size::{self, SizeAsked, SizeError};
use crate::steps::{Step, passed};

impl Pool {
    /// Makes a volume at least as large as asked. The caller holds the volume's lock.
    ///
    /// # Durability
    /// The new size is on the disk on return.
    ///
    /// # Errors
    /// No room, a limit below the present size, or a failing disk: the volume keeps its size.
    pub fn grow(&self, id: &str, asked: SizeAsked) -> Result<VolumeRecord, PoolError> {
        let old = self.get(id)?;
        if asked.required_bytes <= old.capacity_bytes {
            return match asked.admits(old.capacity_bytes) {
                true => Ok(old),
                false => Err(SizeError::Crossed {
                    required: old.capacity_bytes,
                    limit: asked.limit_bytes,
                }
                .into()),
            };
        }
        let bytes = size::choose(asked, None)?;
        let promised = if old.thin {
            0
        } else {
            bytes - old.capacity_bytes
        };
        let measured = self.measure()?;
        if bytes > measured.pool_bytes {
            return Err(PoolError::AbovePool {
                asked: bytes,
                pool: measured.pool_bytes,
            });
        }
        self.books().promise(promised, measured)?;
        let grown = self.lengthen(VolumeRecord {
            capacity_bytes: bytes,
            ..old
        });
        let mut books = self.books();
        books.settle(promised);
        let record = grown?;
        books.put(record.clone());
        Ok(record)
    }

    fn lengthen(&self, record: VolumeRecord) -> Result<VolumeRecord, PoolError> {
        let folder = self.folder(&record.id);
        let image = folder.join(IMAGE_FILE);
        let fail = |act| {
            let path = image.clone();
            move |source| PoolError::File { act, path, source }
        };
        let file = File::options()
            .write(true)
            .open(&image)
            .map_err(fail("open"))?;
        let old = file.metadata().map_err(fail("measure"))?.len();
        if old < record.capacity_bytes
            && let Err(error) = extend(&file, &image, old..record.capacity_bytes, record.thin)
        {
            // What was taken beyond the old end carries nothing.
            file.set_len(old).map_err(fail("shorten"))?;
            return Err(error);
        }
        passed(Step::GrowExtended);
        file.sync_all().map_err(fail("sync"))?;
        record::write(&folder, NEW_RECORD_FILE, &record).map_err(PoolError::Record)?;
        passed(Step::GrowWritten);
        let path = folder.join(RECORD_FILE);
        fs::rename(folder.join(NEW_RECORD_FILE), &path).map_err(|source| PoolError::File {
            act: "replace",
            path,
            source,
        })?;
        sync_folder(&folder)?;
        passed(Step::GrowDurable);
        Ok(record)
    }
}
