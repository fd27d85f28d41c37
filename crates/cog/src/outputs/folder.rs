//! Where outputs are written: folders that are opened before the model runs.
//!
//! A model can write into its project, so a link in there may lead anywhere. A folder of the project is opened beneath
//! the project, files in it are made new under another name and take the place of whatever has theirs.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, open, openat, openat2, renameat, unlinkat};
use rustix::io::Errno;

/// Names that are tried for a new file; one is taken only if somebody makes such files on purpose.
const ATTEMPTS: u32 = 100;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Opens `path`, beneath `project` if it is in there.
    pub(crate) fn open(path: &Path, project: &Path) -> io::Result<Self> {
        match inside(path, project) {
            Some(relative) => Self::open_beneath(&relative, project),
            None => Ok(Self(open(path, FOLDER, Mode::empty())?)),
        }
    }

    fn open_beneath(relative: &Path, project: &Path) -> io::Result<Self> {
        let root = open(project, FOLDER, Mode::empty())?;
        if relative.as_os_str().is_empty() {
            return Ok(Self(root));
        }
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(&root, relative, FOLDER, Mode::empty(), within) {
            Err(Errno::XDEV | Errno::LOOP) => Err(io::Error::other(
                "a link leads out of the project, which a model could have made; name the folder that is meant",
            )),
            other => Ok(Self(other?)),
        }
    }

    /// Writes a file: whole, or not at all. What had the name before, a link too, is replaced unless it is a folder.
    pub(crate) fn write(&self, name: &OsStr, content: &[u8], mode: u32) -> io::Result<()> {
        let (file, temporary) = self.new_file(mode)?;
        let written = std::fs::File::from(file)
            .write_all(content)
            .and_then(|()| Ok(renameat(&self.0, &temporary, &self.0, name)?));
        if written.is_err() {
            let _ = unlinkat(&self.0, &temporary, AtFlags::empty());
        }
        written
    }

    fn new_file(&self, mode: u32) -> io::Result<(OwnedFd, String)> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for attempt in 0..ATTEMPTS {
            let name = format!(".cog-output-{}-{attempt}", std::process::id());
            match openat(&self.0, &name, flags, Mode::from_raw_mode(mode)) {
                Err(Errno::EXIST) => {}
                other => return Ok((other?, name)),
            }
        }
        Err(Errno::EXIST.into())
    }
}

/// What a path in the project is there, whatever name the project goes by in it.
pub(crate) fn inside(path: &Path, project: &Path) -> Option<PathBuf> {
    let identity = |path: &Path| {
        let found = fs_err::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let wanted = identity(project)?;
    let path = plain(path);
    path.ancestors()
        .find(|above| identity(above) == Some(wanted))
        .and_then(|above| path.strip_prefix(above).ok())
        .map(Path::to_owned)
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let (project, outside) = (place.path().join("project"), place.path().join("outside"));
        fs_err::create_dir(&project).unwrap();
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("victim"), "kept").unwrap();
        (place, project, outside)
    }

    #[test]
    fn links_that_a_model_planted_are_replaced() {
        let (_place, project, outside) = place();
        symlink(outside.join("victim"), project.join("output.txt")).unwrap();
        let folder = Folder::open(&project, &project).unwrap();
        folder
            .write(OsStr::new("output.txt"), b"new", 0o755)
            .unwrap();
        assert_eq!(
            fs_err::read_to_string(outside.join("victim")).unwrap(),
            "kept"
        );
        assert_eq!(
            fs_err::read_to_string(project.join("output.txt")).unwrap(),
            "new"
        );
        assert!(!project.join("output.txt").is_symlink());
        assert_eq!(fs_err::read_dir(&project).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_becomes_a_link_stays_the_folder() {
        let (_place, project, outside) = place();
        fs_err::create_dir(project.join("results")).unwrap();
        let folder = Folder::open(&project.join("results"), &project).unwrap();
        fs_err::rename(project.join("results"), project.join("moved")).unwrap();
        symlink(&outside, project.join("results")).unwrap();
        folder.write(OsStr::new("victim"), b"new", 0o755).unwrap();
        assert_eq!(
            fs_err::read_to_string(outside.join("victim")).unwrap(),
            "kept"
        );
        assert_eq!(
            fs_err::read_to_string(project.join("moved/victim")).unwrap(),
            "new"
        );
    }

    #[test]
    fn links_out_of_the_project_are_refused_and_others_are_not() {
        let (_place, project, outside) = place();
        fs_err::create_dir(project.join("real")).unwrap();
        symlink("real", project.join("inner")).unwrap();
        symlink(&outside, project.join("outer")).unwrap();
        let path = |name: &str| project.join(name);
        assert!(Folder::open(&path("inner"), &project).is_ok());
        for name in ["outer", "real/../outer", "./outer/."] {
            let error = Folder::open(&path(name), &project).unwrap_err().to_string();
            assert!(
                error.contains("leads out of the project"),
                "{name}: {error}"
            );
        }
        symlink(&project, outside.join("alias")).unwrap();
        assert!(Folder::open(&outside.join("alias/outer"), &project).is_err());
        assert!(
            Folder::open(&outside, &project).is_ok(),
            "outside, links are the user's own"
        );
    }

    #[test]
    fn a_folder_is_not_replaced_and_nothing_is_left() {
        let (_place, project, _) = place();
        fs_err::create_dir(project.join("output.txt")).unwrap();
        let folder = Folder::open(&project, &project).unwrap();
        assert!(
            folder
                .write(OsStr::new("output.txt"), b"new", 0o755)
                .is_err()
        );
        assert_eq!(fs_err::read_dir(&project).unwrap().count(), 1);
    }
}
