//! Deletions in layers: overlayfs's form on disk, `.wh.` names in archives.
//!
//! On disk a deleted file is a character device 0:0, which any user may create since Linux 5.8. Where
//! that is refused, an empty file with a `user.overlay.whiteout` attribute in a directory marked
//! `user.overlay.opaque=x` says the same to Linux 6.7 and later. A directory that hides everything
//! below it has `overlay.opaque=y`, in the `user` namespace (mounts with `userxattr`, which is what
//! ordinary users can mount) and, where permitted, also in `trusted`.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{FileType, Mode, XattrFlags};
use rustix::io::Errno;

use super::system::failed;

/// Prefix of an archive entry that deletes a file of the layers below.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Name of an archive entry that hides all of its directory in the layers below.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

const OPAQUE_ATTRIBUTES: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
const WHITEOUT_ATTRIBUTES: [&str; 2] = ["trusted.overlay.whiteout", "user.overlay.whiteout"];

/// What overlayfs says about a file of an upper directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    /// The name is deleted.
    Whiteout,
    /// The directory hides everything below it.
    Opaque,
    /// The content is elsewhere: the mount allowed redirected directories or metadata-only copies.
    Elsewhere,
}

/// Reads the overlayfs mark of `path`.
pub(crate) fn mark(path: &Path, metadata: &std::fs::Metadata) -> io::Result<Mark> {
    let kind = metadata.file_type();
    if kind.is_char_device() && metadata.rdev() == 0 {
        return Ok(Mark::Whiteout);
    }
    if !kind.is_dir() && !kind.is_file() {
        return Ok(Mark::None);
    }
    let names = attribute_names(path)?;
    let has = |suffix: &[u8]| {
        names.split(|byte| *byte == 0).any(|name| {
            name.strip_prefix(b"trusted.overlay.")
                .or(name.strip_prefix(b"user.overlay."))
                == Some(suffix)
        })
    };
    if has(b"redirect") || has(b"metacopy") {
        return Ok(Mark::Elsewhere);
    }
    if kind.is_file() {
        return Ok(if metadata.len() == 0 && has(b"whiteout") {
            Mark::Whiteout
        } else {
            Mark::None
        });
    }
    let opaque = has(b"opaque")
        && OPAQUE_ATTRIBUTES
            .iter()
            .any(|name| attribute_is(path, name, b"y"));
    Ok(if opaque { Mark::Opaque } else { Mark::None })
}

fn attribute_names(path: &Path) -> io::Result<Vec<u8>> {
    let mut names = vec![0; 256];
    loop {
        match rustix::fs::llistxattr(path, &mut names[..]) {
            Ok(length) => {
                names.truncate(length);
                return Ok(names);
            }
            Err(Errno::RANGE) if names.len() < 64 * 1024 => names.resize(64 * 1024, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(failed("read the attributes of", path, errno)),
        }
    }
}

fn attribute_is(path: &Path, name: &str, expected: &[u8]) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(path, name, &mut value[..])
        .is_ok_and(|length| &value[..length] == expected)
}

/// Marks the directory `path` as hiding everything below it.
pub(crate) fn make_opaque(path: &Path) -> io::Result<()> {
    set_attributes(path, OPAQUE_ATTRIBUTES, b"y")
}

/// Creates a whiteout at `path`.
pub(crate) fn make_whiteout(path: &Path) -> io::Result<()> {
    match rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    ) {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) => make_attribute_whiteout(path),
        Err(errno) => Err(failed("create a whiteout at", path, errno)),
    }
}

fn make_attribute_whiteout(path: &Path) -> io::Result<()> {
    fs_err::File::create(path)?;
    set_attributes(path, WHITEOUT_ATTRIBUTES, b"")?;
    let parent = path.parent().unwrap_or(Path::new("."));
    // `x` announces attribute whiteouts; a directory that is opaque altogether needs no whiteouts.
    if OPAQUE_ATTRIBUTES
        .iter()
        .any(|name| attribute_is(parent, name, b"y"))
    {
        return Ok(());
    }
    set_attributes(parent, OPAQUE_ATTRIBUTES, b"x")
}

/// `trusted` is for mounts by root, `user` for all others; a snapshot may be used by both.
fn set_attributes(path: &Path, names: [&str; 2], value: &[u8]) -> io::Result<()> {
    let set = |name: &str| rustix::fs::lsetxattr(path, name, value, XattrFlags::empty());
    let [trusted, user] = names;
    let trusted = set(trusted);
    match (set(user), trusted) {
        (Ok(()), _) | (Err(Errno::NOTSUP), Ok(())) => Ok(()),
        (Err(errno), _) => Err(failed("set the overlay attribute of", path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark_of(path: &Path) -> Mark {
        mark(path, &fs_err::symlink_metadata(path).unwrap()).unwrap()
    }

    #[test]
    fn marks_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["opaque", "plain", "attribute"] {
            fs_err::create_dir(at(name)).unwrap();
        }
        fs_err::write(at("file"), "").unwrap();
        make_opaque(&at("opaque")).unwrap();
        make_whiteout(&at("gone")).unwrap();
        make_attribute_whiteout(&at("attribute/gone")).unwrap();
        assert_eq!(mark_of(&at("opaque")), Mark::Opaque);
        assert_eq!(mark_of(&at("gone")), Mark::Whiteout);
        assert_eq!(mark_of(&at("attribute/gone")), Mark::Whiteout);
        // `x` only announces whiteouts; it hides nothing.
        assert_eq!(mark_of(&at("attribute")), Mark::None);
        assert_eq!(mark_of(&at("plain")), Mark::None);
        assert_eq!(mark_of(&at("file")), Mark::None);
        set_attributes(
            &at("plain"),
            ["trusted.overlay.redirect", "user.overlay.redirect"],
            b"/x",
        )
        .unwrap();
        assert_eq!(mark_of(&at("plain")), Mark::Elsewhere);
    }
}
