//! A volume ends.
//!
//! Owns the order: the folder loses its name, that is made to last, and only then the bytes
//! go. What a kill leaves is swept at the next start.

use std::fs;
use std::io;

use super::{DELETING, Pool, PoolError, clear_folder};
use crate::record::IMAGE_FILE;
use crate::steps::{Step, passed};

impl Pool {
    /// Removes a volume that nobody uses; one that is not there counts as removed. The caller
    /// holds the volume's lock and has made sure that it is neither mounted nor attached.
    ///
    /// # Durability
    /// On return the volume does not come back after a power cut.
    ///
    /// # Errors
    /// The volume is damaged and has bytes left, or the disk fails; it then still exists.
    pub fn remove(&self, id: &str) -> Result<(), PoolError> {
        match self.get(id) {
            Ok(_) => {}
            Err(PoolError::Unknown { .. }) => return Ok(()),
            // Nothing is left that could be lost.
            Err(PoolError::Damaged { .. }) if self.is_lost(id) => {}
            Err(error) => return Err(error),
        }
        let aside = self.side_folder(DELETING, id);
        let folder = self.folder(id);
        fs::rename(&folder, &aside).map_err(|source| PoolError::File {
            act: "take the name from",
            path: folder,
            source,
        })?;
        passed(Step::DeleteRenamed);
        if let Err(error) = self.sync_names() {
            if let Err(error) = fs::rename(&aside, self.folder(id)) {
                tracing::error!(path = %aside.display(), %error, "cannot give the name back");
            }
            return Err(error);
        }
        self.books().remove(id);
        passed(Step::DeleteDurable);
        // The volume is gone whatever happens to its bytes; the next start tries again.
        let unlinked = match fs::remove_file(aside.join(IMAGE_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        passed(Step::DeleteImage);
        if let Err(error) = unlinked.and_then(|()| clear_folder(&aside)) {
            tracing::error!(path = %aside.display(), %error, "cannot free a removed volume");
        }
        Ok(())
    }

    /// Tells whether a volume's image is not there any more.
    fn is_lost(&self, id: &str) -> bool {
        let image = fs::symlink_metadata(self.image(id));
        image.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}
