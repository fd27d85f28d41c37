//! The control data of a package: what it is, its scripts, its lists.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path};

use super::DebError;
use crate::relation::{self, Relation};
use crate::stanza::Stanza;

/// A file of the control data. The longest are lists of checksums.
const MAX_FILE: u64 = 16 * 1024 * 1024;
const MAX_FILES: usize = 64;

/// Control data.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) stanza: Stanza,
    /// Scripts, lists and so on by name, without `control` itself.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Control {
    pub(super) fn read(reader: impl Read) -> Result<Self, DebError> {
        let malformed = |reason: String| DebError::Control { reason };
        let mut archive = tar::Archive::new(reader);
        let mut files = BTreeMap::new();
        for entry in archive.entries()? {
            let entry = entry?;
            let path = entry.path()?.into_owned();
            if entry.header().entry_type().is_dir() {
                continue;
            }
            let name = file_name(&path).ok_or_else(|| {
                malformed(format!("its file `{}` has a strange name", path.display()))
            })?;
            if !entry.header().entry_type().is_file() || entry.size() > MAX_FILE {
                return Err(malformed(format!(
                    "its file `{name}` is no file, or too long"
                )));
            }
            let mut content = Vec::new();
            entry.take(MAX_FILE).read_to_end(&mut content)?;
            files.insert(name, content);
            if files.len() > MAX_FILES {
                return Err(malformed("it has too many files".to_owned()));
            }
        }
        let control = files.remove("control");
        let control = control.ok_or_else(|| malformed("it has no `control` file".to_owned()))?;
        let stanza =
            Stanza::parse_single(&control).map_err(|error| malformed(error.to_string()))?;
        let control = Self { stanza, files };
        if relation::is_package_name(control.name()) && is_word(control.architecture()) {
            return Ok(control);
        }
        Err(malformed(
            "it has no proper name or architecture".to_owned(),
        ))
    }

    pub(crate) fn name(&self) -> &str {
        self.field("Package")
    }

    pub(crate) fn version(&self) -> &str {
        self.field("Version")
    }

    pub(crate) fn architecture(&self) -> &str {
        self.field("Architecture")
    }

    /// How the package database calls it: packages that can be there for several architectures have theirs in the
    /// name.
    pub(crate) fn database_name(&self) -> String {
        match self.field("Multi-Arch") {
            "same" => format!("{}:{}", self.name(), self.architecture()),
            _ => self.name().to_owned(),
        }
    }

    /// Configuration files, without leading slash.
    pub(crate) fn configuration_files(&self) -> impl Iterator<Item = &str> {
        // Lines with a flag before the path are about files that the package no longer has.
        self.lines("conffiles")
            .filter_map(|line| line.strip_prefix('/'))
    }

    /// The lines of one of the files that are text.
    pub(crate) fn lines(&self, file: &str) -> impl Iterator<Item = &str> {
        let content = self.files.get(file).map(Vec::as_slice).unwrap_or_default();
        let text = std::str::from_utf8(content).unwrap_or_default();
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    /// Whether files of the package `other` may be replaced by this one's.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        let relations = relation::parse_flat(self.field("Replaces")).unwrap_or_default();
        let is_other = |relation: &Relation| {
            relation.name == other.name() && relation.accepts(other.version())
        };
        relations.iter().any(is_other)
    }

    fn field(&self, name: &str) -> &str {
        self.stanza.field(name).unwrap_or_default()
    }
}

/// The name of a file in the archive's only directory, if it is safe as a part of a file name.
fn file_name(path: &Path) -> Option<String> {
    let mut components = path
        .components()
        .filter(|component| *component != Component::CurDir);
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) => name
            .to_str()
            .filter(|name| is_word(name))
            .map(str::to_owned),
        _ => None,
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_+".contains(&byte))
}
