//! What the server puts where others can see its name: directories that go away, in memory for some, and files that nobody
//! else reads.

use std::io;
use std::path::Path;

use cog_files::Scratch;
use fs_err::os::unix::fs::OpenOptionsExt as _;

/// A file system in memory that every container has.
pub(crate) const MEMORY: &str = "/dev/shm";

const PREFIX: &str = "cog-scratch-";

/// Makes a directory in `parent`, and removes those that dead servers have left there.
pub(crate) fn scratch_in(parent: &Path) -> io::Result<Scratch> {
    Scratch::sweep(parent, PREFIX);
    Scratch::new_in(parent, PREFIX)
}

/// Makes a directory where programs put what is temporary, or in memory where nothing on disk can be written to.
pub(crate) fn scratch() -> io::Result<Scratch> {
    scratch_in_first([&std::env::temp_dir(), Path::new(MEMORY)])
}

/// In the first of `parents` in which one can be made. What is wrong with the first is the error.
fn scratch_in_first(parents: [&Path; 2]) -> io::Result<Scratch> {
    let [first, second] = parents;
    scratch_in(first).or_else(|error| scratch_in(second).map_err(|_| error))
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
    fn a_directory_is_made_where_one_can_be() {
        let (none, parent) = (Path::new("/proc/none"), tempfile::tempdir().unwrap());
        let made = scratch_in_first([none, parent.path()]).unwrap();
        assert_eq!(made.path().parent(), Some(parent.path()));
        let error = scratch_in_first([none, Path::new("/proc/neither")]).unwrap_err();
        assert!(error.to_string().contains("/proc/none/"), "{error}");
    }

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
