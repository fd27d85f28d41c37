//! Files of a project. Whoever writes there, a model's own code for one, may have put anything in their place: nothing
//! outside of the project is read, nothing that is not a regular file, and nothing without end.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use crate::folder::{Folder, Found};
use crate::regular::{Links, NOT_REGULAR, opened, read_at_most, refused, text_at_most};

/// More than anybody writes by hand.
const MAX_LENGTH: u64 = 16 << 20;

/// The text of the file at `path`, which starts at `project_dir`. It may be a link to another file of the project. A path
/// that is written so that it starts elsewhere is meant to, and read as it is. An error does not name the file.
pub fn read_project_file(project_dir: &Path, path: &Path) -> io::Result<String> {
    text_at_most(open_project_file(project_dir, path)?, MAX_LENGTH)
}

/// The same for a file in which there may be anything.
pub fn read_project_bytes(project_dir: &Path, path: &Path) -> io::Result<Vec<u8>> {
    read_at_most(open_project_file(project_dir, path)?, MAX_LENGTH)
}

/// Opens the same for reading, whatever its length.
pub fn open_project_file(project_dir: &Path, path: &Path) -> io::Result<File> {
    let project_dir = std::path::absolute(project_dir)?;
    let root = project_dir.canonicalize()?;
    let written = without_parents(&project_dir.join(path));
    if !written.starts_with(&project_dir) && !written.starts_with(&root) {
        return opened(&project_dir.join(path), Links::Followed);
    }
    let real = project_dir.join(path).canonicalize()?;
    let Ok(inside) = real.strip_prefix(&root) else {
        return Err(refused("it leads out of the project"));
    };
    // Without links: one that is put there now would not be what was looked at.
    match Folder::open(&root)?.find(inside)? {
        Found::File(file) => Ok(file),
        Found::Other => Err(refused(NOT_REGULAR)),
        Found::Nothing => Err(ErrorKind::NotFound.into()),
    }
}

/// `path` without `..`, by the text alone.
fn without_parents(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            clean.pop();
        } else {
            clean.push(component);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode};

    use super::*;

    #[track_caller]
    fn check_refused(project: &Path, path: &str, reason: &str) {
        let error = read_project_file(project, Path::new(path)).expect_err(path);
        assert_eq!(error.to_string(), reason, "{path}");
    }

    #[test]
    fn only_files_of_the_project_are_read() {
        let outside = tempfile::tempdir().expect("a temporary folder");
        fs_err::write(outside.path().join("file"), "not ours").expect("written");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let project = folder.path();
        fs_err::create_dir(project.join("sub")).expect("made");
        fs_err::write(project.join("sub/file"), "ours").expect("written");
        symlink("sub/file", project.join("link")).expect("linked");
        symlink(project.join("sub/file"), project.join("absolute")).expect("linked");
        symlink(outside.path().join("file"), project.join("out")).expect("linked");
        symlink(outside.path(), project.join("folder-out")).expect("linked");
        symlink("/dev/zero", project.join("zero")).expect("linked");
        rustix::fs::mkfifoat(CWD, project.join("pipe"), Mode::RUSR | Mode::WUSR).expect("made");
        let long = fs_err::File::create(project.join("long")).expect("made");
        long.set_len(MAX_LENGTH + 1).expect("made longer");

        for path in ["sub/file", "link", "absolute", "sub/../link"] {
            let text = read_project_file(project, Path::new(path)).expect(path);
            assert_eq!(text, "ours", "{path}");
        }
        let meant = outside.path().join("file");
        let text = read_project_file(project, &meant).expect("it is named by its own path");
        assert_eq!(text, "not ours");
        check_refused(project, "/dev/zero", "it is not a regular file");
        let absolute = project.join("out");
        let absolute = absolute.to_str().expect("it is text");
        for path in ["out", "folder-out/file", "zero", absolute] {
            check_refused(project, path, "it leads out of the project");
        }
        check_refused(project, "pipe", "it is not a regular file");
        check_refused(project, "sub", "it is not a regular file");
        check_refused(project, "long", "it is longer than 16 MiB");
        let missing = read_project_file(project, Path::new("missing"));
        assert_eq!(
            missing.expect_err("it is missing").kind(),
            ErrorKind::NotFound
        );
    }
}
