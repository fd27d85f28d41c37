//! Looking into a folder by paths of several names. None of them may be, or lead through, a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, chmod, fstat};
use rustix::io::Errno;

use super::{Folder, told};
use crate::regular::text_at_most;

/// The most that a file may have which is read whole.
const MAX_TEXT: u64 = 64 << 20;

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file, open for reading.
    File(File),
    /// A link or something that is no file; or there is a link on the way to it.
    Other,
}

impl Folder {
    /// What is at `path`, which is relative.
    pub fn find(&self, path: &Path) -> io::Result<Found> {
        let file = match self.open_beneath(path, OFlags::NONBLOCK) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Found::Nothing),
            // Links, paths that lead out, sockets, and devices without a driver.
            Err(Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NODEV) => return Ok(Found::Other),
            Err(errno) => return Err(errno.into()),
        };
        Ok(if file.metadata()?.is_file() {
            Found::File(file)
        } else {
            Found::Other
        })
    }

    /// The same for a file that its owner, who we are, may have made unreadable: it is readable for a moment.
    pub fn find_even_if_unreadable(&self, path: &Path) -> io::Result<Found> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            found => return found,
        }
        // Not by its path: something else could have taken its place.
        let place = self.open_beneath(path, OFlags::PATH)?;
        let mode = fstat(&place)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::RegularFile {
            return Ok(Found::Other);
        }
        let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
        let mode = Mode::from_raw_mode(mode);
        chmod(&itself, mode | Mode::RUSR)?;
        let found = self.find(path);
        chmod(&itself, mode)?;
        found
    }

    /// The text of the file at `path`; nothing if there is no such file.
    pub fn text(&self, path: &Path) -> io::Result<Option<String>> {
        let Found::File(file) = self.find(path)? else {
            return Ok(None);
        };
        let read = text_at_most(file, MAX_TEXT);
        read.map(Some).map_err(|error| told("read", path, &error))
    }

    /// The names of the folders in the folder at `path`, sorted; none if it is none. Names that are no text are left
    /// out: nothing that we look for is called so.
    pub fn folders(&self, path: &Path) -> io::Result<Vec<String>> {
        let folder = match self.open_beneath(path, OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Some(text) = name.to_str().filter(|name| !matches!(*name, "." | "..")) else {
                continue;
            };
            // Some file systems do not say what it is; they are asked.
            let is_folder = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => self
                    .open_beneath(&path.join(name), OFlags::DIRECTORY)
                    .is_ok(),
                _ => false,
            };
            if is_folder {
                names.push(text.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        // An empty path is the folder itself.
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        rustix::fs::openat2(
            &self.descriptor,
            path,
            flags | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn no_link_leads_out_and_nothing_waits() {
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("secret"), "secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs_err::create_dir_all(path.join("a/b")).unwrap();
        fs_err::write(path.join("a/b/file"), "text").unwrap();
        symlink(outside.path(), path.join("a/linked")).unwrap();
        symlink("b", path.join("a/inside")).unwrap();
        symlink(outside.path().join("secret"), path.join("a/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path.join("a/socket")).unwrap();
        rustix::fs::mknodat(CWD, path.join("a/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();

        let tree = Folder::open(path).unwrap();
        let text = |path: &str| tree.text(Path::new(path)).unwrap();
        assert_eq!(text("a/b/file").as_deref(), Some("text"));
        for other in [
            "a/linked/secret",
            "a/link",
            "a/inside/file",
            "a/b",
            "a/socket",
            "a/pipe",
            "../x",
            "a/b/../../..",
        ] {
            assert_eq!(text(other), None, "{other}");
            let found = tree.find(Path::new(other)).unwrap();
            assert!(matches!(found, Found::Other), "{other}");
        }
        for nothing in ["a/none", "none/x", "a/b/file/x"] {
            let found = tree.find(Path::new(nothing)).unwrap();
            assert!(matches!(found, Found::Nothing), "{nothing}");
        }
        assert_eq!(tree.folders(Path::new("a")).unwrap(), ["b"]);
        assert_eq!(tree.folders(Path::new("")).unwrap(), ["a"]);
        assert!(tree.folders(Path::new("a/linked")).unwrap().is_empty());
        assert!(tree.folders(Path::new("a/inside")).unwrap().is_empty());
    }
}
