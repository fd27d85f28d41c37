//! What the server puts where others can see its name: directories that go away, in memory for some, and files that nobody
//! else reads.

use std::io;
use std::path::Path;

use cog_files::Scratch;
use fs_err::os::unix::fs::OpenOptionsExt as _;

const PREFIX: &str = "cog-scratch-";

/// Makes a directory in `parent`, and removes those that dead servers have left there.
pub(crate) fn scratch_in(parent: &Path) -> io::Result<Scratch> {
    Scratch::sweep(parent, PREFIX);
    Scratch::new_in(parent, PREFIX)
}

/// Makes a file for what clients send. Nobody else reads it, whatever the umask.
pub(crate) fn create_private(path: &Path) -> io::Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_dead_servers_have_left_goes() {
        let parent = tempfile::tempdir().unwrap();
        let orphan = parent.path().join(format!("{PREFIX}orphan"));
        fs_err::create_dir(&orphan).unwrap();
        let alive = scratch_in(parent.path()).unwrap();
        assert!(!orphan.exists());
        let file = alive.path().join("file");
        create_private(&file).unwrap();
        let mode = fs_err::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
