//! What uv is given as a file, without a name: however this process ends, nothing is left of it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};

/// A file in memory, which whatever this process starts can read as long as this is there.
pub(super) struct MemoryFile {
    _file: File,
    path: PathBuf,
}

impl MemoryFile {
    pub(super) fn new(content: &str) -> io::Result<Self> {
        let file = memfd_create("cog-for-uv", MemfdFlags::CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(content.as_bytes())?;
        // Not that of whoever opens it, who may have been started by somebody we have started.
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(Self {
            _file: file,
            path: path.into(),
        })
    }

    /// Where it can be opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn others_read_it_from_the_start_each_time() {
        let held = MemoryFile::new("content\n").unwrap();
        for _ in 0..2 {
            let mut nested = Command::new("sh");
            let output = nested
                .args(["-c", "sh -c 'cat \"$0\"; :' \"$0\"; :"])
                .arg(held.path());
            assert_eq!(output.output().unwrap().stdout, b"content\n");
        }
        let path = held.path().to_owned();
        drop(held);
        // Another file may have got its number.
        assert_ne!(
            fs_err::read(&path).unwrap_or_default(),
            b"content\n",
            "it is gone"
        );
    }
}
