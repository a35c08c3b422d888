//! Files that only their owner may read: records hold the environment of tasks and the secrets
//! of volumes. Owns the mode of every file of a store, whatever the umask and whoever made it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt,
};
use std::path::Path;

const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Every right of others than the owner.
const OF_OTHERS: u32 = 0o077;

/// Makes a file that must not be there yet.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let file = options().create_new(true).open(path)?;
    // A umask may take rights from us as well.
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Makes a folder and those above it; one that is there stays as it is, for it may be shared.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Takes the rights of others from a file that an older version or another program made.
pub(crate) fn tighten(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    if metadata.mode() & OF_OTHERS == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(FILE))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE);
    options
}
