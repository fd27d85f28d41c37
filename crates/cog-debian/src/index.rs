//! The packages that archives offer.

use std::collections::HashMap;
use std::io::BufRead;

use super::relation::{self, Relation};
use super::release::is_sha256;
use super::stanza::{Stanza, Stanzas};
use super::suite::{Architecture, Archive};
use super::version;

/// A version of a package in an archive. Relations are parsed when they are needed.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: Box<str>,
    pub(super) version: Box<str>,
    pub(super) archive: Archive,
    pub(super) is_essential: bool,
    pub(super) priority: Priority,
    /// `Pre-Depends` and `Depends`, in this order.
    pub(super) depends: Box<str>,
    /// `Conflicts` and `Breaks`.
    pub(super) conflicts: Box<str>,
    pub(super) provides: Vec<Relation>,
    /// Below the archive's address.
    pub(super) path: Box<str>,
    /// In bytes.
    pub(super) size: u64,
    /// Hexadecimal.
    pub(super) sha256: Box<str>,
}

/// How much a package belongs to every system; the order matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    Required,
    Important,
    Standard,
    Optional,
}

/// All packages of all archives. Positions stand for packages.
#[derive(Debug, Default)]
pub(super) struct Index {
    packages: Vec<Package>,
    by_name: HashMap<Box<str>, Vec<usize>>,
    by_provided: HashMap<Box<str>, Vec<usize>>,
}

const FIELDS: [&str; 13] = [
    "Package",
    "Version",
    "Architecture",
    "Essential",
    "Priority",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Provides",
    "Filename",
    "Size",
    "SHA256",
];

impl Index {
    /// Adds the packages of an archive's index. The error says what is wrong with it.
    pub(super) fn add(
        &mut self,
        reader: impl BufRead,
        archive: Archive,
        architecture: Architecture,
    ) -> Result<(), String> {
        let mut stanzas = Stanzas::new(reader);
        let next = |stanzas: &mut Stanzas<_>| {
            let wanted = |name: &str| FIELDS.contains(&name);
            stanzas
                .next_stanza(wanted)
                .map_err(|error: std::io::Error| error.to_string())
        };
        while let Some(stanza) = next(&mut stanzas)? {
            let is_ours = stanza
                .field("Architecture")
                .is_some_and(|name| name == "all" || name == architecture.name());
            if is_ours {
                self.insert(Package::from_stanza(&stanza, archive)?);
            }
        }
        Ok(())
    }

    /// Several archives can have the same version: the first counts.
    fn insert(&mut self, package: Package) {
        let position = self.packages.len();
        let versions = self.by_name.entry(package.name.clone()).or_default();
        let same = |known: &usize| self.packages[*known].version == package.version;
        if versions.iter().any(same) {
            return;
        }
        versions.push(position);
        for provided in &package.provides {
            let providers = self
                .by_provided
                .entry(provided.name.as_str().into())
                .or_default();
            providers.push(position);
        }
        self.packages.push(package);
    }

    pub(super) fn package(&self, position: usize) -> &Package {
        &self.packages[position]
    }

    /// Versions of the package `name`, newest first.
    pub(super) fn versions(&self, name: &str) -> Vec<usize> {
        let mut versions = self.by_name.get(name).cloned().unwrap_or_default();
        versions.sort_by(|left, right| {
            version::compare(
                &self.packages[*right].version,
                &self.packages[*left].version,
            )
        });
        versions
    }

    /// The newest version of each package that provides `name`, the most common packages first.
    pub(super) fn providers(&self, name: &str) -> Vec<usize> {
        let providers = self.by_provided.get(name).into_iter().flatten().copied();
        let mut newest: Vec<usize> = providers
            .filter(|position| {
                self.versions(&self.packages[*position].name).first() == Some(position)
            })
            .collect();
        newest.sort_by(|left, right| {
            let key = |position: &usize| {
                let package = &self.packages[*position];
                (package.priority, &package.name)
            };
            key(left).cmp(&key(right))
        });
        newest
    }

    /// The newest versions of the packages that every system must have, sorted by name.
    pub(super) fn essential(&self) -> Vec<usize> {
        let mut names: Vec<&str> = self
            .packages
            .iter()
            .filter(|package| package.is_essential)
            .map(|package| &*package.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
            .iter()
            .filter_map(|name| self.versions(name).first().copied())
            .collect()
    }
}

impl Package {
    fn from_stanza(stanza: &Stanza, archive: Archive) -> Result<Self, String> {
        let optional = |name: &str| stanza.field(name).unwrap_or_default();
        let name = optional("Package");
        let required = |field: &str| {
            stanza
                .field(field)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("package `{name}` has no `{field}`"))
        };
        let wrong = |field: &str| format!("package `{name}` has a malformed `{field}`");
        let path = required("Filename")?;
        let sha256 = required("SHA256")?;
        if !relation::is_package_name(name) {
            return Err(wrong("Package"));
        }
        if !is_plain_path(path) {
            return Err(wrong("Filename"));
        }
        if !is_sha256(sha256) {
            return Err(wrong("SHA256"));
        }
        Ok(Self {
            name: name.into(),
            version: required("Version")?.into(),
            archive,
            is_essential: optional("Essential") == "yes",
            priority: Priority::parse(optional("Priority")),
            depends: joined([optional("Pre-Depends"), optional("Depends")]),
            conflicts: joined([optional("Conflicts"), optional("Breaks")]),
            provides: relation::parse_flat(optional("Provides")).map_err(|_| wrong("Provides"))?,
            path: path.into(),
            size: required("Size")?.parse().map_err(|_| wrong("Size"))?,
            sha256: sha256.into(),
        })
    }

    /// The version of `name` that this package provides, if it does.
    #[expect(
        clippy::option_option,
        reason = "provided or not, with a version or without"
    )]
    pub(super) fn provided(&self, name: &str) -> Option<Option<&str>> {
        let provided = self
            .provides
            .iter()
            .find(|provided| provided.name == name)?;
        Some(
            provided
                .constraint
                .as_ref()
                .map(|constraint| constraint.version.as_str()),
        )
    }
}

impl Priority {
    fn parse(text: &str) -> Self {
        match text {
            "required" => Self::Required,
            "important" => Self::Important,
            "standard" => Self::Standard,
            _ => Self::Optional,
        }
    }
}

fn joined(fields: [&str; 2]) -> Box<str> {
    let present: Vec<&str> = fields
        .into_iter()
        .filter(|field| !field.is_empty())
        .collect();
    present.join(", ").into()
}

/// A path that an index may name: below the archive, nothing that changes the meaning of an address.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+~-:%".contains(&byte);
    path.bytes().all(is_plain) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Index, String> {
        let mut index = Index::default();
        index.add(text.as_bytes(), Archive::Main, Architecture::Amd64)?;
        Ok(index)
    }

    fn stanza(changed: &str, value: &str) -> String {
        let sum = "ab".repeat(32);
        let fields = [
            ("Package", "a"),
            ("Version", "1"),
            ("Architecture", "amd64"),
            ("Filename", "pool/a_1_amd64.deb"),
            ("Size", "10"),
            ("SHA256", &sum),
        ];
        let line = |(name, usual): (&str, &str)| {
            format!("{name}: {}\n", if name == changed { value } else { usual })
        };
        fields.into_iter().map(line).collect()
    }

    #[test]
    fn packages_of_other_architectures_are_left_out() {
        assert_eq!(read(&stanza("", "")).unwrap().versions("a").len(), 1);
        assert_eq!(
            read(&stanza("Architecture", "all"))
                .unwrap()
                .versions("a")
                .len(),
            1
        );
        assert_eq!(
            read(&stanza("Architecture", "i386"))
                .unwrap()
                .versions("a")
                .len(),
            0
        );
    }

    #[test]
    fn entries_that_could_lead_elsewhere_are_refused() {
        for (field, value) in [
            ("Package", "../a"),
            ("Filename", "../a.deb"),
            ("Filename", "/etc/passwd"),
            ("Filename", "pool//a.deb"),
            ("Filename", "pool/a.deb?x=y"),
            ("Filename", ""),
            ("SHA256", "abc"),
            (
                "SHA256",
                "../../../../../../../../../../../../../../../../../../../../../x",
            ),
            ("Size", "-1"),
            ("Version", ""),
        ] {
            let error = read(&stanza(field, value)).unwrap_err();
            assert!(
                error.contains(field) || error.contains('`'),
                "{field} {value}: {error}"
            );
        }
    }

    #[test]
    fn the_newest_version_comes_first_and_the_first_archive_counts() {
        let mut index = read(&stanza("Version", "1.9")).unwrap();
        let later = format!(
            "{}\n{}",
            stanza("Version", "1.10"),
            stanza("Version", "1.9")
        );
        index
            .add(later.as_bytes(), Archive::Security, Architecture::Amd64)
            .unwrap();
        let found: Vec<_> = index
            .versions("a")
            .into_iter()
            .map(|position| {
                (
                    &*index.package(position).version,
                    index.package(position).archive,
                )
            })
            .collect();
        assert_eq!(found, [("1.10", Archive::Security), ("1.9", Archive::Main)]);
    }
}
