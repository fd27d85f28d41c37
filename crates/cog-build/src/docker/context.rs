//! The build context of jobs: an archive of the Dockerfile, and for each job of its script and of what it mounts.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::recipe::{SCRIPT, Way, member, script, variables, way};
use crate::container::{Job, Mount};

/// Where the context has the Dockerfile.
pub(super) const DOCKERFILE: &str = "Dockerfile";

/// How a daemon gets secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    /// By another way.
    Elsewhere,
    /// As files of the context, which it takes out.
    InContext,
}

/// A context that is written.
pub(super) struct Context<W: Write> {
    archive: Builder<W>,
}

impl<W: Write> Context<W> {
    pub(super) fn new(out: W) -> Self {
        let mut archive = Builder::new(out);
        archive.follow_symlinks(false);
        Self { archive }
    }

    /// Everything of these jobs.
    pub(super) fn jobs(
        mut self,
        dockerfile: &str,
        jobs: &[&Job],
        secrets: Secrets,
    ) -> io::Result<W> {
        self.bytes(DOCKERFILE, dockerfile.as_bytes())?;
        for (number, job) in jobs.iter().enumerate() {
            self.folder(&number.to_string())?;
            self.bytes(&format!("{number}/{SCRIPT}"), script(job).as_bytes())?;
            if secrets == Secrets::InContext {
                self.bytes(&variables_file(number), variables(job).as_bytes())?;
            }
            for (at, mount) in job.mounts.iter().enumerate() {
                if way(mount) != Way::Secret {
                    self.mount(&format!("{number}/{}", member(at)), mount)?;
                } else if secrets == Secrets::InContext {
                    self.entry(&secret_file(number, at), &mount.source)?;
                }
            }
        }
        self.archive.into_inner()
    }

    fn mount(&mut self, name: &str, mount: &Mount) -> io::Result<()> {
        let Some(files) = mount.files() else {
            return self.tree(name, &mount.source);
        };
        self.folder(name)?;
        for file in files {
            let path = Path::new(name).join(file);
            self.entry(&path.to_string_lossy(), &mount.source.join(file))?;
        }
        Ok(())
    }

    /// `source`, with all that is in it if it is a folder.
    fn tree(&mut self, name: &str, source: &Path) -> io::Result<()> {
        let mut pending = vec![(PathBuf::from(name), source.to_owned())];
        while let Some((name, source)) = pending.pop() {
            self.entry(&name.to_string_lossy(), &source)?;
            if fs_err::symlink_metadata(&source)?.is_dir() {
                for entry in fs_err::read_dir(&source)? {
                    let entry = entry?;
                    pending.push((name.join(entry.file_name()), entry.path()));
                }
            }
        }
        Ok(())
    }

    /// One file, folder or link. Whatever else there is, such as a socket, stays out.
    pub(super) fn entry(&mut self, name: &str, source: &Path) -> io::Result<()> {
        let metadata = fs_err::symlink_metadata(source)?;
        let kind = metadata.file_type();
        let mode = metadata.permissions().mode() & 0o7777;
        if kind.is_dir() {
            self.append(name, EntryType::Directory, mode, 0, io::empty())
        } else if kind.is_symlink() {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            let target = fs_err::read_link(source)?;
            self.archive.append_link(&mut header, name, target)
        } else if kind.is_file() {
            let file = fs_err::File::open(source)?;
            let size = file.metadata()?.len();
            // Longer than it was said to be, it would be no archive any more.
            let content = io::Read::take(file, size);
            self.append(name, EntryType::Regular, mode, size, content)
        } else {
            Ok(())
        }
    }

    pub(super) fn folder(&mut self, name: &str) -> io::Result<()> {
        self.append(name, EntryType::Directory, 0o755, 0, io::empty())
    }

    pub(super) fn bytes(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.append(
            name,
            EntryType::Regular,
            0o644,
            content.len() as u64,
            content,
        )
    }

    fn append(
        &mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        size: u64,
        content: impl io::Read,
    ) -> io::Result<()> {
        let mut header = header(kind, mode, size);
        self.archive.append_data(&mut header, name, content)
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.archive.into_inner()
    }
}

/// Where a secret is in the context, for a daemon that takes it from there.
pub(super) fn secret_file(job: usize, number: usize) -> String {
    format!("secret-{job}-{number}")
}

/// The same for the variables of a job.
pub(super) fn variables_file(job: usize) -> String {
    format!("variables-{job}")
}

/// All belongs to root, and nothing has a date: neither counts.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandOutput;

    #[test]
    fn a_context_has_what_is_mounted_and_no_secret() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir_all(at("in/deep")).expect("made");
        for name in ["in/deep/a", "in/b", "token"] {
            fs_err::write(at(name), name).expect("written");
        }
        fs_err::os::unix::fs::symlink("b", at("in/link")).expect("linked");
        let job = Job {
            title: String::new(),
            arguments: vec!["true".to_owned()],
            environment: Vec::new(),
            working_dir: "/".to_owned(),
            mounts: vec![
                Mount::read_only(at("in"), "/in"),
                Mount::secret(at("token"), "/token"),
                Mount::read_only(at("in"), "/some").with_files(vec!["deep/a".into()]),
                Mount::writable(at("in/deep"), "/out"),
            ],
            output: CommandOutput::Kept,
        };
        let names = |secrets: Secrets| {
            let context = Context::new(Vec::new());
            let archive = context.jobs("FROM x\n", &[&job], secrets);
            let archive = archive.expect("written");
            let mut archive = tar::Archive::new(archive.as_slice());
            let entries = archive.entries().expect("readable");
            let mut names: Vec<String> = entries
                .map(|entry| {
                    let entry = entry.expect("readable");
                    let path = entry.path().expect("a path");
                    path.to_string_lossy().trim_end_matches('/').to_owned()
                })
                .collect();
            names.sort();
            names
        };
        let expected = [
            "0",
            "0/m0",
            "0/m0/b",
            "0/m0/deep",
            "0/m0/deep/a",
            "0/m0/link",
            "0/m2",
            "0/m2/deep/a",
            "0/m3",
            "0/m3/a",
            "0/run",
            "Dockerfile",
        ];
        assert_eq!(names(Secrets::Elsewhere), expected);
        let with: Vec<&str> = expected
            .iter()
            .copied()
            .chain(["secret-0-1", "variables-0"])
            .collect();
        assert_eq!(names(Secrets::InContext), with);
    }
}
