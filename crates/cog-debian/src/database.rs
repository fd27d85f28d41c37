//! `dpkg`'s database of packages: those that were unpacked, waiting to be configured.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use cog_files::Folder;

use super::deb::Control;
use super::unpack::Unpacked;

/// Where it is, below the root.
const FOLDER: &str = "var/lib/dpkg";
const FILE_MODE: u32 = 0o644;
const SCRIPTS: [&str; 5] = ["config", "postinst", "postrm", "preinst", "prerm"];
/// Fields of control data that are not part of the database, or that we write ourselves.
const OWN_FIELDS: [&str; 3] = ["Package", "Status", "Conffiles"];

/// Writes the database of `packages` into the tree at `root`.
pub(super) fn write(root: &Path, packages: &[Unpacked]) -> io::Result<()> {
    let folder = Folder::open(root)?.make(FOLDER)?;
    for name in ["alternatives", "info", "parts", "triggers", "updates"] {
        folder.make(name)?;
    }
    // The version of the database's layout.
    folder.write("info/format", "1\n", FILE_MODE)?;
    for name in ["available", "diversions", "statoverride"] {
        folder.write(name, "", FILE_MODE)?;
    }
    let controls: Vec<&Control> = packages.iter().map(|package| &package.control).collect();
    folder.write("status", status(&controls), FILE_MODE)?;
    let of_triggers = folder.make("triggers")?;
    for (name, content) in triggers(&controls) {
        of_triggers.write(&name, content, FILE_MODE)?;
    }
    let info = folder.make("info")?;
    packages
        .iter()
        .try_for_each(|package| write_files(&info, package))
}

fn status(controls: &[&Control]) -> String {
    let mut text = String::new();
    for control in controls {
        let _ = writeln!(
            text,
            "Package: {}\nStatus: install ok unpacked",
            control.name()
        );
        let fields = control.stanza.fields();
        for (name, value) in fields.filter(|(name, _)| !OWN_FIELDS.contains(name)) {
            let _ = writeln!(text, "{name}: {value}");
        }
        let mut files = control.configuration_files().peekable();
        if files.peek().is_some() {
            text.push_str("Conffiles:\n");
        }
        for file in files {
            // Instead of a checksum: of a file that was not there before.
            let _ = writeln!(text, " /{file} newconffile");
        }
        text.push('\n');
    }
    text
}

/// What packages want to hear of, by file: paths together, other names in a file each.
fn triggers(controls: &[&Control]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("File".to_owned(), String::new())]);
    for control in controls {
        for line in control.lines("triggers") {
            let Some((directive, name)) = line.split_once(char::is_whitespace) else {
                continue;
            };
            let package = match directive {
                "interest" | "interest-await" => control.name().to_owned(),
                "interest-noawait" => format!("{}/noawait", control.name()),
                _ => continue,
            };
            let name = name.trim();
            if name.starts_with('/') {
                let file = files.entry("File".to_owned()).or_default();
                let _ = writeln!(file, "{name} {package}");
            } else if is_file_name(name) {
                let _ = writeln!(files.entry(name.to_owned()).or_default(), "{package}");
            }
        }
    }
    files
}

/// Names of triggers become names of files beside those of the database.
fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte);
    !matches!(name, "File" | "Lock" | "Unincorp" | "." | "..") && name.bytes().all(is_plain)
}

fn write_files(folder: &Folder, package: &Unpacked) -> io::Result<()> {
    let control = &package.control;
    let name = control.database_name();
    for (file, content) in &control.files {
        let mode = if SCRIPTS.contains(&file.as_str()) {
            0o755
        } else {
            FILE_MODE
        };
        folder.write(&format!("{name}.{file}"), content, mode)?;
    }
    folder.write(&format!("{name}.list"), list(&package.paths), FILE_MODE)
}

fn list(paths: &[PathBuf]) -> Vec<u8> {
    let mut seen = HashSet::new();
    let mut text = Vec::new();
    for path in paths.iter().filter(|path| seen.insert(*path)) {
        text.push(b'/');
        // The root itself.
        let is_root = path.as_os_str().is_empty();
        text.extend_from_slice(if is_root {
            b"."
        } else {
            path.as_os_str().as_bytes()
        });
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_start_with_the_root_and_name_each_path_once() {
        let paths = ["", "usr", "usr/a b", "usr"].map(PathBuf::from);
        assert_eq!(list(&paths), b"/.\n/usr\n/usr/a b\n");
    }

    #[test]
    fn trigger_names_stay_in_their_folder() {
        for name in ["ldconfig", "update-ca-certificates", "a.b_c+d"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in ["../x", "..", "File", "a/b", "a b"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
