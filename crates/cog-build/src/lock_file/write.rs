//! The text of a lock file: TOML, with a line for whatever changes alone, so that a diff says what changed.

use std::fmt::{self, Display, Write as _};

use cog_debian::{ListedPackage, LockedPackage};
use cog_python::resolution::{IndexFile, Origin as PythonOrigin, Pinned};

use super::{Decided, LockFile, PlatformLock, SystemPins, VERSION};
use crate::base::{Origin, PinnedBase};
use crate::lock::PackageSource;

const HEADER: &str = "\
# What images of this project are made of. `cog lock` writes this file, and builds take what it says: keep it with the
# project, and change it with `cog lock`, not by hand.
";

impl LockFile {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        let mut table = Table(&mut text);
        table.number("version", VERSION);
        table.text("cog", &self.cog);
        table.begin("[project]");
        table.text("python", &self.inputs.python);
        table.list("bases", &self.inputs.bases);
        table.list("requirements", &self.inputs.requirements);
        table.optional_list("constraints", &self.inputs.constraints);
        table.optional_list("files", &self.inputs.files);
        table.optional_list("system_packages", &self.inputs.system_packages);
        for one in &self.decisions {
            table.decision("[[decision]]", one);
        }
        for platform in &self.platforms {
            table.platform(platform);
        }
        text
    }
}

/// Writes fields of tables.
struct Table<'a>(&'a mut String);

impl Table<'_> {
    fn platform(&mut self, platform: &PlatformLock) {
        self.begin("[[platform]]");
        self.text("name", &platform.architecture.to_string());
        self.text(
            "python_packages",
            match platform.python.source {
                PackageSource::Wheels => "wheels",
                PackageSource::SourceDistributions => "source_distributions",
            },
        );
        for one in &platform.decisions {
            self.decision("[[platform.decision]]", one);
        }
        self.base(&platform.base);
        self.system("[platform.implied_packages]", &platform.implied);
        self.system("[platform.system_packages]", &platform.named);
        for one in &platform.python.distributions {
            self.distribution(one);
        }
    }

    fn decision(&mut self, title: &str, one: &Decided) {
        self.begin(title);
        self.text("subject", &one.subject);
        self.text("value", &one.value);
        self.text("reason", &one.reason);
    }

    fn base(&mut self, base: &PinnedBase) {
        self.begin("[platform.base]");
        match &base.origin {
            Origin::Image { reference, digest } => {
                self.text("image", reference);
                self.text("digest", &digest.to_string());
            }
            Origin::Debian(archive) => {
                self.text("debian", archive.suite.codename());
                if let Some(date) = &archive.date {
                    self.text("date", date);
                }
                let names = archive.archives.iter().map(|one| Quoted(one.name()));
                self.lines("archives", names);
                self.lines("packages", archive.packages.iter().map(InArchive));
            }
        }
        if let Some(python) = &base.python {
            self.begin("[platform.base.python]");
            self.text("version", &python.version);
            self.text("sha256", &python.sha256);
        }
    }

    fn system(&mut self, title: &str, pins: &SystemPins) {
        if pins.names.is_empty() {
            return;
        }
        self.begin(title);
        self.list("names", &pins.names);
        self.lines("packages", pins.packages.iter().map(Listed));
    }

    fn distribution(&mut self, one: &Pinned) {
        self.begin("[[platform.python]]");
        self.text("name", &one.name);
        if let Some(version) = &one.version {
            self.text("version", version);
        }
        match &one.origin {
            PythonOrigin::Index { files } => self.lines("files", files.iter().map(OfIndex)),
            PythonOrigin::Archive {
                url,
                hashes,
                size,
                subdirectory,
            } => {
                self.text("url", url);
                self.optional_list("hashes", hashes);
                if let Some(size) = size {
                    self.number("size", size);
                }
                self.optional("subdirectory", subdirectory.as_deref());
            }
            PythonOrigin::Git {
                url,
                commit,
                subdirectory,
            } => {
                self.text("git", url);
                self.text("commit", commit);
                self.optional("subdirectory", subdirectory.as_deref());
            }
            PythonOrigin::Local { path, hashes } => {
                self.text("path", path);
                self.optional_list("hashes", hashes);
            }
        }
    }

    fn begin(&mut self, title: &str) {
        let _ = writeln!(self.0, "\n{title}");
    }

    fn text(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name} = {}", Quoted(value));
    }

    fn number(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} = {value}");
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn list(&mut self, name: &str, values: &[String]) {
        self.lines(name, values.iter().map(|value| Quoted(value)));
    }

    fn optional_list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.list(name, values);
        }
    }

    /// A list with a line for each value.
    fn lines(&mut self, name: &str, values: impl Iterator<Item = impl Display>) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            let _ = writeln!(self.0, "{name} = []");
            return;
        }
        let _ = writeln!(self.0, "{name} = [");
        for value in values {
            let _ = writeln!(self.0, "    {value},");
        }
        self.0.push_str("]\n");
    }
}

/// A string of TOML, on one line.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for one in self.0.chars() {
            match one {
                '"' | '\\' => write!(f, "\\{one}")?,
                one if one.is_control() => write!(f, "\\u{:04X}", u32::from(one))?,
                one => f.write_char(one)?,
            }
        }
        f.write_char('"')
    }
}

struct Listed<'a>(&'a ListedPackage);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListedPackage {
            name,
            version,
            sha256,
        } = self.0;
        let [name, version, sha256] = [name, version, sha256].map(|text| Quoted(text));
        write!(
            f,
            "{{ name = {name}, version = {version}, sha256 = {sha256} }}"
        )
    }
}

struct InArchive<'a>(&'a LockedPackage);

impl Display for InArchive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = self.0;
        let [name, version, sha256, path] = [
            &*package.name,
            &package.version,
            &package.sha256,
            &package.path,
        ]
        .map(Quoted);
        write!(
            f,
            "{{ name = {name}, version = {version}, archive = {}, path = {path}, size = {}, sha256 = {sha256} }}",
            Quoted(package.archive.name()),
            package.size,
        )
    }
}

struct OfIndex<'a>(&'a IndexFile);

impl Display for OfIndex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.0;
        write!(f, "{{ name = {}", Quoted(&file.name()))?;
        if let Some(size) = file.size {
            write!(f, ", size = {size}")?;
        }
        if !file.hashes.is_empty() {
            let hashes: Vec<String> = file
                .hashes
                .iter()
                .map(|hash| Quoted(hash).to_string())
                .collect();
            write!(f, ", hashes = [{}]", hashes.join(", "))?;
        }
        f.write_str(" }")
    }
}
