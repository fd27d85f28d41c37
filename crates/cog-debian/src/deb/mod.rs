//! Reads package files (`.deb`): an `ar` archive of two compressed `tar` archives, with control data and files.
//!
//! Nothing is written here; see [`super::unpack`] for that. Package files are not trusted to be well-formed.

mod ar;
pub(super) mod compression;
mod control;

use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

pub(super) use control::Control;

/// What a package's files may come to. The largest of Debian's have some 10 GiB.
const MAX_DATA: u64 = 32 * 1024 * 1024 * 1024;
const MAX_CONTROL: u64 = 64 * 1024 * 1024;

/// A package file is malformed, or tries what no package should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// A file operation failed, or compressed data is broken.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The outer archive is malformed.
    #[error("it is not a Debian package: {reason}")]
    Container {
        /// What is wrong.
        reason: &'static str,
    },
    /// A member is compressed in an unknown way.
    #[error("its member `{name}` is compressed in an unknown way")]
    Compression {
        /// The member.
        name: String,
    },
    /// The control data is malformed.
    #[error("its control data is malformed: {reason}")]
    Control {
        /// What is wrong.
        reason: String,
    },
    /// It is another package than the index says.
    #[error("it is `{actual}`")]
    OtherPackage {
        /// Name, version and architecture that it says it has.
        actual: String,
    },
    /// A path that leads out of the tree, or cannot be a path.
    #[error("its entry `{}` is not a path below the root", path.display())]
    Path {
        /// As it is in the archive.
        path: PathBuf,
    },
    /// A link that leads out of the tree.
    #[error("its link `{}` leads out of the tree, to `{}`", path.display(), target.display())]
    Escape {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// An entry below something that is not a directory.
    #[error("its entry `{}` is not below a directory", path.display())]
    NotADirectory {
        /// The entry.
        path: PathBuf,
    },
    /// A hard link to what is not there.
    #[error("its hard link `{}` leads to `{}`, which it does not contain", path.display(), target.display())]
    HardLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A device, or something else that packages do not have.
    #[error("its entry `{}` is neither file, directory nor link", path.display())]
    Special {
        /// The entry.
        path: PathBuf,
    },
    /// The same path twice, as different things.
    #[error("its entry `{}` is in the place of something else", path.display())]
    Obstructed {
        /// The entry.
        path: PathBuf,
    },
    /// Too much data, or too many entries.
    #[error("it unpacks to more than {limit}")]
    TooLarge {
        /// The limit.
        limit: String,
    },
}

/// An opened package file.
pub(super) struct Deb {
    path: PathBuf,
    data: ar::Member,
    pub(super) control: Control,
}

impl Deb {
    /// Opens the file and reads the control data.
    pub(super) fn open(path: &Path) -> Result<Self, DebError> {
        let mut file = fs_err::File::open(path)?;
        let members = ar::members(&mut BufReader::new(&mut file))?;
        let [version, rest @ ..] = members.as_slice() else {
            return Err(DebError::Container {
                reason: "it is empty",
            });
        };
        if version.name != "debian-binary" {
            return Err(DebError::Container {
                reason: "it has no version",
            });
        }
        let mut text = String::new();
        member_reader(path, version)?
            .take(16)
            .read_to_string(&mut text)?;
        if !text.starts_with("2.") {
            return Err(DebError::Container {
                reason: "its version is not 2",
            });
        }
        // Later versions of the format may add members that start with an underscore.
        let mut rest = rest.iter().filter(|member| !member.name.starts_with('_'));
        let (Some(control), Some(data)) = (rest.next(), rest.next()) else {
            return Err(DebError::Container {
                reason: "it has no control data or no files",
            });
        };
        if !control.name.starts_with("control.tar") || !data.name.starts_with("data.tar") {
            return Err(DebError::Container {
                reason: "its members are in the wrong order",
            });
        }
        let reader = compression::decoder(&control.name, member_reader(path, control)?)?;
        Ok(Self {
            path: path.to_owned(),
            data: data.clone(),
            control: Control::read(Limited::new(reader, MAX_CONTROL))?,
        })
    }

    /// The files, as a `tar` archive.
    pub(super) fn data(&self) -> Result<impl Read + use<>, DebError> {
        let reader = member_reader(&self.path, &self.data)?;
        let reader = compression::decoder(&self.data.name, reader)?;
        Ok(BufReader::with_capacity(
            128 * 1024,
            Limited::new(reader, MAX_DATA),
        ))
    }
}

fn member_reader(
    path: &Path,
    member: &ar::Member,
) -> Result<BufReader<impl Read + use<>>, DebError> {
    let mut file = fs_err::File::open(path)?;
    file.seek(SeekFrom::Start(member.offset))?;
    Ok(BufReader::with_capacity(64 * 1024, file.take(member.size)))
}

/// Fails where `Read::take` would pretend that the end was reached.
struct Limited<R> {
    reader: R,
    left: u64,
    limit: u64,
}

impl<R> Limited<R> {
    fn new(reader: R, limit: u64) -> Self {
        Self {
            reader,
            left: limit,
            limit,
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let left = self.left.checked_sub(length as u64).ok_or_else(|| {
            let limit = format!("{} MiB", self.limit / (1024 * 1024));
            std::io::Error::other(DebError::TooLarge { limit })
        })?;
        self.left = left;
        Ok(length)
    }
}
