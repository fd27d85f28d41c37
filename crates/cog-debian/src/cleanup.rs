//! Takes everything out of a configured tree that is of no use in an image or is not the same every time, and adds the
//! few files that every base has.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use cog_files::Folder;

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

/// Directories of which [`clean_layer`] keeps the directories alone: programs expect them, and what is written there
/// during an installation is of no use. Font caches have times in them that layers change.
const FILES_REMOVED: [&str; 7] = [
    "run",
    "tmp",
    "var/cache/fontconfig",
    "var/cache/ldconfig",
    "var/cache/man",
    "var/log",
    "var/tmp",
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

/// Makes the tree at `root` final. Scripts of packages ran in it, so no link in it is followed.
pub(super) fn finish(root: &Path, suite: Suite) -> io::Result<()> {
    let root = Folder::open(root)?;
    EMPTIED.iter().try_for_each(|path| root.empty(path))?;
    REMOVED.iter().try_for_each(|path| root.remove(path))?;
    root.rewrite("etc/shadow", |text| settle_passwords(&text))?;
    settle(&root)?;
    for folder in [
        "var/cache/apt/archives/partial",
        "var/lib/apt/lists/partial",
        "var/log/apt",
    ] {
        root.make(folder)?;
    }
    let sources = apt_sources(&Mirror::of_images(), suite, &Archive::ALL);
    root.write(APT_SOURCES_PATH.trim_start_matches('/'), sources, 0o644)?;
    root.write("etc/apt/apt.conf.d/cog", APT_CONFIGURATION, 0o644)?;
    root.write("etc/dpkg/dpkg.cfg.d/cog", LEFT_OUT_CONFIGURATION, 0o644)?;
    root.write("usr/sbin/policy-rc.d", POLICY, 0o755)
}

/// Takes out of `upper`, what a package manager changed in a container, all that is of no use in an image or is not the
/// same every time. Scripts of packages ran in it, so no link in it is followed.
pub fn clean_layer(upper: &Path) -> io::Result<()> {
    let upper = Folder::open(upper)?;
    REMOVED.iter().try_for_each(|path| upper.remove(path))?;
    for path in FILES_REMOVED {
        if let Some(folder) = upper.enter(path)? {
            folder.each_file(&mut |folder, name| folder.remove_entry(name))?;
        }
    }
    settle(&upper)
}

fn settle(root: &Folder) -> io::Result<()> {
    // A system gets its own identity when it starts.
    root.rewrite("etc/machine-id", |_| Vec::new())?;
    root.remove("var/lib/dbus/machine-id")?;
    match root.enter("usr")? {
        Some(programs) => programs.each_file(&mut settle_byte_code),
        None => Ok(()),
    }
}

/// Makes all passwords, of which there are none, as old as each other: their date is the third field.
fn settle_passwords(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let settled = text.lines().map(|line| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(date) = fields.get_mut(2) {
            *date = "1";
        }
        fields.join(":") + "\n"
    });
    settled.collect::<String>().into_bytes()
}

/// Python would look at the time of a source file, which layers change, or read and hash each one that it imports.
/// Byte code that names its source by a hash is marked as always right; it is, as both are part of the base. Other
/// byte code is removed.
///
/// After four bytes that name the version of Python come four of flags, the first of which says that a hash follows,
/// and the second that it is to be checked.
fn settle_byte_code(folder: &Folder, name: &OsStr) -> io::Result<()> {
    if Path::new(name).extension() != Some(OsStr::new("pyc")) {
        return Ok(());
    }
    let Some((mut content, mode)) = folder.read_entry(name)? else {
        return Ok(());
    };
    match content.get_mut(4..8) {
        Some([1, 0, 0, 0]) => Ok(()),
        Some([flags, 0, 0, 0]) if *flags & 1 == 1 => {
            *flags = 1;
            folder.write_entry(name, &content, mode)
        }
        _ => folder.remove_entry(name),
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
        let opened = Folder::open(folder.path()).unwrap();
        opened.each_file(&mut settle_byte_code).unwrap();
        let content = |name: &str| fs_err::read(inner.join(name)).ok();
        assert_eq!(content("checked.pyc").unwrap(), header(1));
        assert_eq!(content("unchecked.pyc").unwrap(), header(1));
        assert!(content("timed.pyc").is_none() && content("short.pyc").is_none());
        assert!(content("other.py").is_some());
    }

    #[test]
    fn layers_keep_what_programs_need() {
        let upper = tempfile::tempdir().unwrap();
        let folder = Folder::open(upper.path()).unwrap();
        for (path, stays) in [
            ("usr/bin/program", true),
            ("usr/lib/python3/dist-packages/__pycache__/a.pyc", false),
            ("usr/lib/python3/dist-packages/a.py", true),
            ("etc/passwd", true),
            ("etc/passwd-", false),
            ("etc/.pwd.lock", false),
            ("var/log/alternatives.log", false),
            ("var/log/server/access.log", false),
            ("var/cache/fontconfig/x.cache-9", false),
            ("var/lib/dpkg/status", true),
            ("var/lib/dpkg/status-old", false),
            ("var/lib/dbus/machine-id", false),
            ("run/adduser", false),
            ("var/lib/server/data", true),
        ] {
            folder.write(path, "PYTHON", 0o640).unwrap();
            clean_layer(upper.path()).unwrap();
            let found = folder.read(path).unwrap();
            assert_eq!(found.is_some(), stays, "{path}");
            assert!(found.is_none_or(|(_, mode)| mode == 0o640), "{path}");
        }
        assert!(folder.enter("var/log/server").unwrap().is_some());
        folder.write("etc/machine-id", "x", 0o444).unwrap();
        clean_layer(upper.path()).unwrap();
        let identity = folder.read("etc/machine-id").unwrap();
        assert_eq!(identity, Some((Vec::new(), 0o444)));
    }

    #[test]
    fn passwords_have_no_date_of_their_own() {
        let settled = settle_passwords(b"root:*:20780:0:99999:7:::\nodd\n");
        assert_eq!(settled, b"root:*:1:0:99999:7:::\nodd\n");
    }
}
