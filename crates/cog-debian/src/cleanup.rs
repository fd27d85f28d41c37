//! Takes everything out of a configured tree that is of no use in an image or is not the same every time, and adds the
//! few files that every base has.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::mirror::{APT_SOURCES_PATH, Mirror, apt_sources};
use super::suite::{Archive, Suite};
use super::unpack::LEFT_OUT_CONFIGURATION;

/// Directories that are emptied.
const EMPTIED: [&str; 9] = [
    "dev",
    "run",
    "tmp",
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/lib/dpkg/updates",
    "var/log",
    "var/tmp",
];

/// Locks, copies of earlier versions, and what a container or host sets.
const REMOVED: [&str; 18] = [
    "etc/.pwd.lock",
    "etc/group-",
    "etc/gshadow-",
    "etc/hostname",
    "etc/hosts",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/statoverride-old",
    "var/lib/dpkg/triggers/Lock",
];

/// Programs that are installed later find no service manager to talk to, as in the official images.
const POLICY: &str = "#!/bin/sh\nexit 101\n";

const APT_CONFIGURATION: &str = "\
// Packages and lists are fetched when they are needed, and not kept.
Binary::apt::APT::Keep-Downloaded-Packages \"false\";
Dir::Cache::pkgcache \"\";
Dir::Cache::srcpkgcache \"\";
Acquire::Languages \"none\";
Acquire::GzipIndexes \"true\";
";

/// Makes the tree at `root` final.
pub(super) fn finish(root: &Path, suite: Suite) -> io::Result<()> {
    EMPTIED
        .iter()
        .try_for_each(|path| empty(&root.join(path)))?;
    REMOVED
        .iter()
        .try_for_each(|path| remove(&root.join(path)))?;
    // A system gets its own identity when it starts.
    let identity = root.join("etc/machine-id");
    if identity.exists() {
        fs_err::write(identity, "")?;
    }
    settle_passwords(&root.join("etc/shadow"))?;
    settle_byte_code(&root.join("usr"))?;
    for folder in [
        "var/cache/apt/archives/partial",
        "var/lib/apt/lists/partial",
        "var/log/apt",
    ] {
        fs_err::create_dir_all(root.join(folder))?;
    }
    let sources = apt_sources(&Mirror::public(), suite, &Archive::ALL);
    add(root, APT_SOURCES_PATH, &sources)?;
    add(root, "/etc/apt/apt.conf.d/cog", APT_CONFIGURATION)?;
    add(root, "/etc/dpkg/dpkg.cfg.d/cog", LEFT_OUT_CONFIGURATION)?;
    add(root, "/usr/sbin/policy-rc.d", POLICY)?;
    fs_err::set_permissions(
        root.join("usr/sbin/policy-rc.d"),
        PermissionsExt::from_mode(0o755),
    )
}

fn add(root: &Path, path: &str, content: &str) -> io::Result<()> {
    let path = root.join(path.trim_start_matches('/'));
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(path, content)
}

/// Removes what is in the directory. A link is not followed: it could lead anywhere.
fn empty(path: &Path) -> io::Result<()> {
    if !fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes all passwords, of which there are none, as old as each other: their date is the third field.
fn settle_passwords(path: &Path) -> io::Result<()> {
    let text = match fs_err::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let settled = text.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(date) = fields.get_mut(2) {
            *date = "1";
        }
        fields.join(":") + "\n"
    });
    fs_err::write(path, settled.collect::<String>())
}

/// Python would look at the time of a source file, which layers change, or read and hash each one that it imports.
/// Byte code that names its source by a hash is marked as always right; it is, as both are part of the base. Other
/// byte code is removed.
fn settle_byte_code(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            settle_byte_code(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "pyc") {
            settle_file(&path)?;
        }
    }
    Ok(())
}

/// After four bytes that name the version of Python come four of flags, the first of which says that a hash follows,
/// and the second that it is to be checked.
fn settle_file(path: &Path) -> io::Result<()> {
    let mut content = fs_err::read(path)?;
    match content.get_mut(4..8) {
        Some([flags, 0, 0, 0]) if *flags & 1 == 1 => {
            *flags = 1;
            fs_err::write(path, content)
        }
        _ => fs_err::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_is_marked_as_right_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/__pycache__");
        fs_err::create_dir_all(&inner).unwrap();
        let header = |flags: u8| [b'P', b'Y', 13, 10, flags, 0, 0, 0, 9, 9];
        for (name, flags) in [("checked", 3), ("unchecked", 1), ("timed", 0)] {
            fs_err::write(inner.join(name).with_extension("pyc"), header(flags)).unwrap();
        }
        fs_err::write(inner.join("short.pyc"), "PY").unwrap();
        fs_err::write(inner.join("other.py"), "PY").unwrap();
        settle_byte_code(folder.path()).unwrap();
        let content = |name: &str| fs_err::read(inner.join(name)).ok();
        assert_eq!(content("checked.pyc").unwrap(), header(1));
        assert_eq!(content("unchecked.pyc").unwrap(), header(1));
        assert!(content("timed.pyc").is_none() && content("short.pyc").is_none());
        assert!(content("other.py").is_some());
    }

    #[test]
    fn passwords_have_no_date_of_their_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), "root:*:20780:0:99999:7:::\nodd\n").unwrap();
        settle_passwords(file.path()).unwrap();
        let text = fs_err::read_to_string(file.path()).unwrap();
        assert_eq!(text, "root:*:1:0:99999:7:::\nodd\n");
    }

    #[test]
    fn links_to_elsewhere_are_not_emptied() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs_err::write(outside.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("run")).unwrap();
        empty(&root.path().join("run")).unwrap();
        assert!(outside.path().join("kept").exists());
    }
}
