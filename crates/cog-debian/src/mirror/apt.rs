//! Reads the configuration of the host's `apt`: which mirrors it uses, and whether it minds their age.

use std::path::{Path, PathBuf};

use crate::stanza::{Stanza, Stanzas};

/// Names that Debian's suites have had and will have; of other distributions' suites nothing is used.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
];

/// What a source is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Main,
    Security,
}

/// One address of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Without slash at the end.
    pub(super) uri: String,
    pub(super) is_any_age: bool,
    /// Whether updates that do not wait for a point release are part of it.
    pub(super) has_updates: bool,
    role: Role,
    /// How sure it is that this is the Debian archive and not somebody else's packages for Debian.
    likelihood: u8,
}

/// The most likely mirror; of equal ones the first.
pub(super) fn best(sources: &[Source], role: Role) -> Option<&Source> {
    let likelihoods = sources.iter().filter(|source| source.role == role);
    likelihoods.rev().max_by_key(|source| source.likelihood)
}

/// All sources of Debian packages, in the order in which `apt` reads them. Files that cannot be read or understood
/// are as good as absent: there is always the public archive.
pub(super) fn sources(root: &Path) -> Vec<Source> {
    let folder = root.join("etc/apt");
    let mut files = vec![folder.join("sources.list")];
    files.extend(sorted_files(&folder.join("sources.list.d")));
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs_err::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => text
                .lines()
                .filter_map(one_line)
                .for_each(|entry| entry.add(root, &mut found)),
            Some("sources") => stanzas(&text).for_each(|entry| entry.add(root, &mut found)),
            _ => {}
        }
    }
    found
}

fn sorted_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// A source as it is written, in either of the two formats.
#[derive(Debug, Default)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: String,
    is_any_age: bool,
}

/// `deb [option=value …] uri suite component …`.
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let option = |name: &str| {
        let mut pairs = options
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: option("signed-by").unwrap_or_default().to_owned(),
        is_any_age: option("check-valid-until").is_some_and(is_no),
    })
}

fn stanzas(text: &str) -> impl Iterator<Item = Entry> {
    let mut stanzas = Stanzas::new(text.as_bytes());
    std::iter::from_fn(move || stanzas.next_stanza(|_| true).ok().flatten())
        .filter_map(|stanza| from_stanza(&stanza))
}

fn from_stanza(stanza: &Stanza) -> Option<Entry> {
    let words = |name: &str| -> Vec<String> {
        let value = stanza.field(name).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let is_used = words("Types").iter().any(|kind| kind == "deb")
        && !stanza.field("Enabled").is_some_and(is_no);
    is_used.then(|| Entry {
        uris: words("URIs"),
        suites: words("Suites"),
        components: words("Components"),
        signed_by: stanza.field("Signed-By").unwrap_or_default().to_owned(),
        is_any_age: stanza.field("Check-Valid-Until").is_some_and(is_no),
    })
}

impl Entry {
    fn add(&self, root: &Path, found: &mut Vec<Source>) {
        let Some(role) = self.suites.iter().find_map(|suite| role(suite)) else {
            return;
        };
        if !self.components.iter().any(|component| component == "main") {
            return;
        }
        let uris = self.uris.iter().flat_map(|uri| resolve(root, uri));
        found.extend(uris.map(|uri| Source {
            likelihood: self.likelihood(&uri),
            is_any_age: self.is_any_age,
            has_updates: self.suites.iter().any(|suite| suite.ends_with("-updates")),
            uri,
            role,
        }));
    }

    fn likelihood(&self, uri: &str) -> u8 {
        if self.signed_by.contains("debian-archive") {
            2
        } else {
            let last = uri.rsplit('/').next().unwrap_or_default();
            u8::from(last.contains("debian"))
        }
    }
}

fn role(suite: &str) -> Option<Role> {
    let (name, role) = match suite.split_once(['-', '/']) {
        None => (suite, Role::Main),
        Some((name, "security" | "updates" | "security/updates"))
            if suite.contains("security") || suite.contains('/') =>
        {
            (name, Role::Security)
        }
        Some((name, "updates")) => (name, Role::Main),
        Some(_) => return None,
    };
    SUITES.contains(&name).then_some(role)
}

/// Addresses that we can use; `mirror+file:` names a file with a list of them, best first.
fn resolve(root: &Path, uri: &str) -> Vec<String> {
    let listed = |path: &str| {
        let path = root.join(path.trim_start_matches('/'));
        let text = fs_err::read_to_string(path).unwrap_or_default();
        let first_words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        first_words.map(str::to_owned).collect()
    };
    let uris: Vec<String> = match uri.strip_prefix("mirror+file:") {
        Some(path) => listed(path),
        None => vec![uri.to_owned()],
    };
    uris.into_iter()
        .filter(|uri| uri.starts_with("http://") || uri.starts_with("https://"))
        .map(|uri| uri.trim_end_matches('/').to_owned())
        .collect()
}

fn is_no(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "no" | "false" | "0" | "off" | "without" | "disable"
    )
}

/// Whether `apt` refuses release files that have expired, which is the default.
pub(super) fn checks_valid_until(root: &Path) -> bool {
    let folder = root.join("etc/apt");
    let mut files = sorted_files(&folder.join("apt.conf.d"));
    files.push(folder.join("apt.conf"));
    let mut texts = files
        .iter()
        .rev()
        .filter_map(|file| fs_err::read_to_string(file).ok());
    let value = texts.find_map(|text| setting(&text, "acquire::check-valid-until"));
    !value.is_some_and(|value| is_no(&value))
}

/// The last value of the setting `name`, in lower case, in a file of `apt`'s nested `Scope { Name "value"; };` format.
fn setting(text: &str, name: &str) -> Option<String> {
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut found = None;
    for token in tokens(text) {
        match token.as_str() {
            "{" => {
                scopes.push(words.first().cloned().unwrap_or_default());
                words.clear();
            }
            "}" => {
                scopes.pop();
                words.clear();
            }
            ";" => {
                if let [key, value] = words.as_slice() {
                    let path = scopes.iter().chain([key]).map(String::as_str);
                    if path
                        .collect::<Vec<_>>()
                        .join("::")
                        .eq_ignore_ascii_case(name)
                    {
                        found = Some(value.clone());
                    }
                }
                words.clear();
            }
            _ => words.push(token),
        }
    }
    found
}

/// Words without their quotes, braces and semicolons. Comments start with `//`, `#` or `/*`.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") || first == '#' {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if "{};".contains(first) {
            tokens.push(first.to_string());
            1
        } else if first == '"' {
            let inner = &rest[1..];
            let end = inner.find('"').unwrap_or(inner.len());
            tokens.push(inner[..end].to_owned());
            (end + 2).min(rest.len())
        } else {
            let is_end = |character: char| character.is_whitespace() || "{};\"".contains(character);
            let end = rest.find(is_end).unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        };
        rest = rest[length..].trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use crate::mirror::{Age, Mirror};
    use crate::suite::Archive;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("etc/apt").join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        root
    }

    fn addresses(files: &[(&str, &str)]) -> Option<(String, Option<String>)> {
        let mirror = Mirror::of_host(host(files).path())?;
        let address = |archive| mirror.address(archive).map(str::to_owned);
        Some((address(Archive::Main)?, address(Archive::Security)))
    }

    #[test]
    fn both_formats_are_read() {
        let old = "# deb http://no.example/debian bookworm main\n\
            deb-src http://src.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/x/debian-archive-keyring.gpg] http://a.example/debian/ bookworm main contrib\n\
            deb http://b.example/debian-security bookworm-security main # why not\n";
        let new = "Types: deb deb-src\nURIs: http://a.example/debian\nSuites: stable stable-updates\n\
            Components: main\n\nTypes: deb\nURIs: http://b.example/debian-security\n\
            Suites: stable-security\nComponents: main\n";
        let expected = Some((
            "http://a.example/debian".to_owned(),
            Some("http://b.example/debian-security".to_owned()),
        ));
        assert_eq!(addresses(&[("sources.list", old)]), expected);
        assert_eq!(
            addresses(&[("sources.list.d/debian.sources", new)]),
            expected
        );
    }

    #[test]
    fn other_peoples_packages_are_not_the_archive() {
        let other = "deb http://apt.example bookworm main\n";
        let debian = "deb http://mirror.example/debian bookworm main\n";
        assert_eq!(
            addresses(&[
                ("sources.list.d/a.list", other),
                ("sources.list.d/b.list", debian)
            ]),
            Some(("http://mirror.example/debian".to_owned(), None))
        );
        for foreign in [
            "deb http://archive.example/ubuntu noble main\n",
            "deb http://apt.example/pg bookworm-pgdg main\n",
            "deb http://download.example/debian bookworm stable\n",
            "deb file:///srv/debian bookworm main\n",
            "deb cdrom:[Debian]/ bookworm main\n",
            "deb\n",
        ] {
            assert_eq!(addresses(&[("sources.list", foreign)]), None, "{foreign}");
        }
        let disabled = "Types: deb\nURIs: http://a.example/debian\nSuites: sid\nComponents: main\nEnabled: no\n";
        assert_eq!(addresses(&[("sources.list.d/a.sources", disabled)]), None);
        assert_eq!(addresses(&[("sources.list.d/a.list.save", debian)]), None);
    }

    #[test]
    fn mirror_lists_are_followed() {
        let sources = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\nComponents: main\n";
        let list = "https://cloud.example/debian\nhttps://second.example/debian\n";
        assert_eq!(
            addresses(&[
                ("sources.list.d/debian.sources", sources),
                ("mirrors/debian.list", list)
            ]),
            Some(("https://cloud.example/debian".to_owned(), None))
        );
    }

    #[test]
    fn the_host_may_ignore_the_age_of_its_mirror() {
        let source = (
            "sources.list",
            "deb http://a.example/debian bookworm main\n",
        );
        let age = |conf: &str| {
            Mirror::of_host(host(&[source, ("apt.conf.d/99own", conf)]).path())
                .unwrap()
                .age()
        };
        assert_eq!(age(""), Age::Limited);
        assert_eq!(age("Acquire::Check-Valid-Until \"false\";"), Age::Any);
        assert_eq!(
            age("# x\nacquire\n{ Retries 3; check-valid-until no; };"),
            Age::Any
        );
        assert_eq!(
            age("// Acquire::Check-Valid-Until \"false\";"),
            Age::Limited
        );
        assert_eq!(
            age("/* Acquire::Check-Valid-Until \"false\"; */"),
            Age::Limited
        );
        assert_eq!(
            age("Other { Acquire::Check-Valid-Until \"false\"; };"),
            Age::Limited
        );
        assert_eq!(age("Acquire::Check-Valid-Until \"fal"), Age::Limited);
        let option = "deb [check-valid-until=no] http://a.example/debian bookworm main\n";
        assert_eq!(
            Mirror::of_host(host(&[("sources.list", option)]).path())
                .unwrap()
                .age(),
            Age::Any
        );
    }
}
