//! `.cog` in the project: its lock and the files that builds leave there.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

/// How often a waiting build looks whether the lock is free.
const POLL: Duration = Duration::from_millis(100);

/// The folder `.cog` of a project, locked as long as the value lives.
#[derive(Debug)]
pub(crate) struct ProjectLock {
    folder: PathBuf,
    _file: fs_err::File,
}

impl ProjectLock {
    /// Takes the lock. If it is held by another build, `waiting` is called once, then waits.
    pub(crate) fn take(project_dir: &Path, waiting: impl FnOnce()) -> std::io::Result<Self> {
        let folder = project_dir.join(".cog");
        fs_err::create_dir_all(&folder)?;
        let file = fs_err::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("cog.lock"))?;
        let mut waiting = Some(waiting);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        folder,
                        _file: file,
                    });
                }
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    std::thread::sleep(POLL);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes `name` in the folder, so that a reader sees the old content or the new one, never a
    /// part. Unchanged content is not written again.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> std::io::Result<()> {
        let path = self.folder.join(name);
        if fs_err::read(&path).is_ok_and(|old| old == content) {
            return Ok(());
        }
        let mut file = tempfile::Builder::new()
            .prefix(".tmp-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&self.folder)?;
        file.write_all(content)?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Removes `name` from the folder, if it is there.
    pub(crate) fn remove(&self, name: &str) -> std::io::Result<()> {
        match fs_err::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_build_waits() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = ProjectLock::take(folder.path(), || panic!("nobody holds it")).expect("taken");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope
                .spawn(|| ProjectLock::take(folder.path(), || sender.send(()).expect("received")));
            receiver.recv().expect("the second one waits");
            drop(first);
            second.join().expect("no panic").expect("taken");
        });
    }

    #[test]
    fn files_are_replaced_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lock = ProjectLock::take(folder.path(), || {}).expect("taken");
        for content in ["one", "two"] {
            lock.write("openapi_schema.json", content.as_bytes())
                .expect("written");
            let path = folder.path().join(".cog/openapi_schema.json");
            assert_eq!(fs_err::read_to_string(path).expect("readable"), content);
        }
        let names = fs_err::read_dir(folder.path().join(".cog"))
            .expect("readable")
            .count();
        assert_eq!(names, 2, "the lock and the file, nothing else");
    }
}
