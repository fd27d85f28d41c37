//! Regular files, and nothing else that may have their name.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// Whether a link in the last place of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// To wherever it leads.
    Followed,
    /// It is an error.
    Refused,
}

/// Opens the regular file at `path` for reading. Nothing is waited for.
pub fn open_regular(path: &Path, links: Links) -> io::Result<fs_err::File> {
    match opened(path, links) {
        Ok(file) => Ok(fs_err::File::from_parts(file, path)),
        Err(error) => Err(named(path, &error)),
    }
}

/// The content of the regular file at `path`, which may have `most` bytes.
pub fn read_regular(path: &Path, links: Links, most: u64) -> io::Result<Vec<u8>> {
    let read = || read_at_most(opened(path, links)?, most);
    read().map_err(|error| named(path, &error))
}

/// The text of the regular file at `path`, which may have `most` bytes.
pub fn read_regular_text(path: &Path, links: Links, most: u64) -> io::Result<String> {
    let read = || text_at_most(opened(path, links)?, most);
    read().map_err(|error| named(path, &error))
}

/// The same as [`read_at_most`] for a file with text.
pub fn text_at_most(file: File, most: u64) -> io::Result<String> {
    let content = read_at_most(file, most)?;
    String::from_utf8(content)
        .map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// All that `file` has, which is an error if it is more than `most` bytes. An error does not name the file.
pub fn read_at_most(file: File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().min(most);
    let mut content = Vec::new();
    // A file can say of itself that it is larger than any memory.
    content.try_reserve(
        usize::try_from(length)
            .unwrap_or(usize::MAX)
            .saturating_add(1),
    )?;
    file.take(most.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 > most {
        let most = match most >> 20 {
            0 => format!("{most} bytes"),
            megabytes => format!("{megabytes} MiB"),
        };
        let reason = format!("it is longer than {most}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(content)
}

/// The same as [`open_regular`], with an error that does not name the file.
pub(crate) fn opened(path: &Path, links: Links) -> io::Result<File> {
    // A terminal would become the process's own.
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if links == Links::Refused {
        flags |= OFlags::NOFOLLOW;
    }
    match open(path, flags, Mode::empty()) {
        Ok(descriptor) => regular(descriptor.into()),
        Err(Errno::LOOP) if links == Links::Refused => Err(refused("it is a link")),
        // A socket, or a device without a driver.
        Err(Errno::NXIO | Errno::NODEV) => Err(refused(NOT_REGULAR)),
        Err(errno) => Err(errno.into()),
    }
}

/// The file, if it is a regular one.
pub(crate) fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(refused(NOT_REGULAR))
    }
}

pub(crate) const NOT_REGULAR: &str = "it is not a regular file";

pub(crate) fn refused(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, reason)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    let message = format!("failed to read file `{}`: {error}", path.display());
    io::Error::new(error.kind(), message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn nothing_else_is_read_or_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs_err::write(at("file"), "Hello").unwrap();
        symlink("file", at("link")).unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        let read = |name: &str, links, most| read_regular(&at(name), links, most);
        assert_eq!(read("file", Links::Refused, 5).unwrap(), b"Hello");
        assert_eq!(read("file", Links::Refused, u64::MAX).unwrap(), b"Hello");
        assert_eq!(read("link", Links::Followed, 5).unwrap(), b"Hello");
        for (name, reason) in [
            ("link", "it is a link"),
            ("pipe", NOT_REGULAR),
            ("socket", NOT_REGULAR),
            ("", NOT_REGULAR),
            ("none", "No such file"),
        ] {
            let error = read(name, Links::Refused, 5).unwrap_err().to_string();
            let path = at(name).display().to_string();
            assert!(error.contains(reason) && error.contains(&path), "{error}");
        }
        assert!(read("pipe", Links::Followed, 5).is_err());
        fs_err::write(at("bytes"), [0xff]).unwrap();
        let error = read_regular_text(&at("bytes"), Links::Refused, 5).unwrap_err();
        assert!(
            error.to_string().ends_with("it is not UTF-8 text"),
            "{error}"
        );
        let error = read("file", Links::Refused, 4).unwrap_err();
        assert!(error.to_string().contains("longer than 4 bytes"), "{error}");
    }
}
