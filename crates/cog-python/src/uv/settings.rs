//! What counts of the settings that the caller has for uv in files: where it fetches from and how, but nothing that would
//! change what it chooses. uv is not shown those files, but one of ours.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::explain::UvError;
use super::surroundings::variable;

/// Names the one file that uv takes settings from.
pub(super) const CONFIG_FILE: &str = "UV_CONFIG_FILE";

/// Says that it takes settings from none.
pub(super) const NO_CONFIG: &str = "UV_NO_CONFIG";

/// Settings that say where packages come from: with others, there are other packages to choose among.
const SOURCES: [&str; 7] = [
    "exclude-newer",
    "exclude-newer-package",
    "extra-index-url",
    "find-links",
    "index",
    "index-url",
    "no-index",
];

/// Settings that say how they are fetched, besides those that begin with [`TRANSPORT_GROUPS`].
const TRANSPORT: [&str; 11] = [
    "allow-insecure-host",
    "cache-dir",
    "https-proxy",
    "keyring-provider",
    "native-tls",
    "no-proxy",
    "offline",
    "pypy-install-mirror",
    "python-downloads-json-url",
    "python-install-mirror",
    "system-certs",
];

/// The same, in groups.
const TRANSPORT_GROUPS: [&str; 2] = ["concurrent-", "http-"];

/// The table with settings for the commands that are used here. It has the names of the others.
const PIP: &str = "pip";

/// Beginnings of settings that choose packages, or decide what of them is installed.
const CHOOSING: [&str; 18] = [
    "all-extras",
    "build-constraint",
    "config-settings",
    "constraint",
    "dependency-metadata",
    "exclude",
    "extra",
    "fork-strategy",
    "index-strategy",
    "no-binary",
    "no-build",
    "no-deps",
    "no-sources",
    "only-binary",
    "override",
    "prerelease",
    "resolution",
    "torch-backend",
];

/// The caller's settings for uv.
#[derive(Debug, Default)]
pub struct Settings {
    kept: Table,
    left_out: Vec<LeftOut>,
}

/// A setting that does not count.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub file: PathBuf,
}

impl Settings {
    /// From where uv would take them: the file that a variable names, else the user's and the system's.
    pub fn of_caller() -> Result<Self, UvError> {
        if let Some(named) = variable(CONFIG_FILE).map(PathBuf::from) {
            let named = std::path::absolute(&named).unwrap_or(named);
            let text = fs_err::read_to_string(&named);
            let text = text.map_err(|error| unreadable(&named, error.kind().to_string()))?;
            let mut settings = Self::default();
            settings.add(&named, &text)?;
            return Ok(settings);
        }
        if variable(NO_CONFIG).is_some_and(|value| is_true(&value)) {
            return Ok(Self::default());
        }
        Self::of_files([user_files(), system_files()])
    }

    /// The first file of each of `places` that there is; what comes first goes before.
    fn of_files(places: [Vec<PathBuf>; 2]) -> Result<Self, UvError> {
        let mut settings = Self::default();
        for place in places {
            for file in place {
                if let Some(text) = text_if_there(&file)? {
                    settings.add(&file, &text)?;
                    break;
                }
            }
        }
        Ok(settings)
    }

    fn add(&mut self, file: &Path, text: &str) -> Result<(), UvError> {
        let table: Table = toml::from_str(text).map_err(|error| {
            // Its own text shows the line, which may have a password.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            unreadable(file, format!("{} in line {line}", error.message()))
        })?;
        let mut kept = Table::new();
        for (name, value) in table {
            match value {
                Value::Table(table) if name == PIP => {
                    let mut inner = Table::new();
                    for (name, value) in table {
                        self.sort(file, (&name, PIP), value, &mut inner);
                    }
                    if !inner.is_empty() {
                        kept.insert(name, inner.into());
                    }
                }
                value => self.sort(file, (&name, ""), value, &mut kept),
            }
        }
        merge(&mut self.kept, kept);
        Ok(())
    }

    /// Puts a setting, which is in a `table` of the `file`, into `kept` if it counts.
    fn sort(&mut self, file: &Path, (name, table): (&str, &str), value: Value, kept: &mut Table) {
        if is_kept(name) {
            let folder = file.parent().unwrap_or(Path::new("/"));
            kept.insert(name.to_owned(), absolute(name, value, folder));
        } else {
            let dot = if table.is_empty() { "" } else { "." };
            self.left_out.push(LeftOut {
                name: format!("{table}{dot}{name}"),
                file: file.to_owned(),
            });
        }
    }

    /// What does not count.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Whether the setting or variable `name` would choose packages.
    pub fn chooses(name: &str) -> bool {
        let name = name.trim_start_matches("UV_").to_lowercase();
        let name = name.replace('_', "-");
        let name = name.strip_prefix("pip.").unwrap_or(&name);
        CHOOSING.iter().any(|beginning| name.starts_with(beginning)) || name.contains("hashes")
    }

    /// All that says where packages come from, to be compared. There may be passwords in it.
    pub fn sources(&self) -> String {
        let mut sources = Table::new();
        for (name, value) in &self.kept {
            match value {
                Value::Table(table) if name == PIP => {
                    let table = table.iter().filter(|(name, _)| is_source(name));
                    let table = table.map(|(name, value)| (name.clone(), value.clone()));
                    sources.insert(name.clone(), Value::Table(table.collect()));
                }
                value if is_source(name) => {
                    sources.insert(name.clone(), value.clone());
                }
                _ => {}
            }
        }
        sources.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
        written(&sources)
    }

    /// What counts, as a file of uv's; nothing if nothing does.
    pub fn text(&self) -> Option<String> {
        Some(written(&self.kept)).filter(|text| !text.is_empty())
    }

    /// The same for where the caller's files are not.
    pub fn text_elsewhere(&self) -> Option<String> {
        let mut kept = self.kept.clone();
        drop_local(&mut kept);
        if let Some(Value::Table(pip)) = kept.get_mut(PIP) {
            drop_local(pip);
        }
        Some(written(&kept)).filter(|text| !text.is_empty())
    }
}

fn user_files() -> Vec<PathBuf> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".config"));
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home);
    folder
        .map(|folder| folder.join("uv/uv.toml"))
        .into_iter()
        .collect()
}

fn system_files() -> Vec<PathBuf> {
    let folders = variable("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".into());
    let folders = std::env::split_paths(&folders).chain(["/etc".into()]);
    folders.map(|folder| folder.join("uv/uv.toml")).collect()
}

/// The text of `file`, unless there is none, or none for this user.
fn text_if_there(file: &Path) -> Result<Option<String>, UvError> {
    use ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match fs_err::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if [NotFound, NotADirectory, PermissionDenied].contains(&error.kind()) => {
            Ok(None)
        }
        Err(error) => Err(unreadable(file, error.kind().to_string())),
    }
}

fn unreadable(path: &Path, reason: String) -> UvError {
    UvError::Settings {
        path: path.to_owned(),
        reason,
    }
}

/// As uv reads variables that are true or false.
fn is_true(value: &OsString) -> bool {
    let value = value.to_string_lossy().to_lowercase();
    ["1", "true", "t", "yes", "y", "on"].contains(&value.as_str())
}

fn is_source(name: &str) -> bool {
    SOURCES.contains(&name)
}

fn is_kept(name: &str) -> bool {
    let in_group = |group: &&str| name.starts_with(*group);
    is_source(name) || TRANSPORT.contains(&name) || TRANSPORT_GROUPS.iter().any(in_group)
}

/// Adds what `more` has to `table`, as uv does: lists are put together, and of two values the first one counts.
fn merge(table: &mut Table, more: Table) {
    for (name, value) in more {
        match (table.get_mut(&name), value) {
            (Some(Value::Table(here)), Value::Table(value)) => merge(here, value),
            (Some(Value::Array(here)), Value::Array(value)) => here.extend(value),
            (Some(_), _) => {}
            (None, value) => {
                table.insert(name, value);
            }
        }
    }
}

/// The value of `name` with places that count from `folder`, if it has places.
fn absolute(name: &str, value: Value, folder: &Path) -> Value {
    if !is_place(name) {
        return value;
    }
    match value {
        Value::String(place) if is_local(&place) && !place.starts_with("file:") => {
            Value::String(folder.join(place).to_string_lossy().into_owned())
        }
        Value::Array(all) => {
            let all = all.into_iter();
            Value::Array(all.map(|one| absolute(name, one, folder)).collect())
        }
        Value::Table(mut index) => {
            if let Some(url) = index.remove("url") {
                index.insert("url".to_owned(), absolute(name, url, folder));
            }
            Value::Table(index)
        }
        other => other,
    }
}

/// Whether the setting `name` names indexes or folders.
fn is_place(name: &str) -> bool {
    ["extra-index-url", "find-links", "index", "index-url"].contains(&name)
}

/// Whether an index is a folder of this machine.
fn is_local(place: &str) -> bool {
    place.starts_with("file:") || !place.contains("://")
}

/// Takes away the indexes that are folders.
fn drop_local(table: &mut Table) {
    let is_local = |value: &Value| {
        let place = value.as_str().or_else(|| value.get("url")?.as_str());
        place.is_some_and(is_local)
    };
    for (name, value) in table.iter_mut() {
        if let Value::Array(all) = value
            && is_place(name)
        {
            all.retain(|one| !is_local(one));
        }
    }
    table.retain(|name, value| !is_place(name) || !is_local(value));
}

/// The settings as TOML, each in a line.
fn written(table: &Table) -> String {
    let mut text = String::new();
    for (name, value) in table {
        let _ = writeln!(text, "{} = {}", string(name), inline(value));
    }
    text
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(inline).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Table(table) => {
            let pair =
                |(name, value): (&String, &Value)| format!("{} = {}", string(name), inline(value));
            let all: Vec<String> = table.iter().map(pair).collect();
            format!("{{ {} }}", all.join(", "))
        }
    }
}

/// The strings of JSON are strings of TOML too, but for a character that TOML wants to be escaped.
fn string(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        resolution = "lowest"
        native-tls = true
        publish-url = "https://elsewhere"
        find-links = ["./links", "https://links/"]
        exclude-newer = 2024-01-02T03:04:05Z
        [[index]]
        name = "private"
        url = "https://me:secret@private/simple"
        [pip]
        prerelease = "allow"
        extra-index-url = ["https://extra/simple"]
    "#;

    fn settings(text: &str) -> Settings {
        let mut settings = Settings::default();
        settings.add(Path::new("/home/me/uv.toml"), text).unwrap();
        settings
    }

    #[test]
    fn where_and_how_to_fetch_counts_and_what_to_choose_does_not() {
        let settings = settings(TEXT);
        let mut names: Vec<&str> = settings.left_out().iter().map(|one| &*one.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["pip.prerelease", "publish-url", "resolution"]);
        let chooses: Vec<bool> = names.into_iter().map(Settings::chooses).collect();
        assert_eq!(chooses, [true, false, true]);
        assert!(Settings::chooses("UV_EXCLUDE") && !Settings::chooses("UV_LINK_MODE"));

        let kept: Table = toml::from_str(&settings.text().unwrap()).unwrap();
        assert_eq!(
            kept["find-links"],
            vec!["/home/me/./links", "https://links/"].into()
        );
        assert_eq!(
            kept["index"][0]["url"].as_str(),
            Some("https://me:secret@private/simple")
        );
        assert_eq!(
            kept["pip"]["extra-index-url"],
            vec!["https://extra/simple"].into()
        );
        assert_eq!(kept["native-tls"].as_bool(), Some(true));
        assert!(kept["exclude-newer"].is_datetime());
        assert_eq!(kept.len(), 5);

        let sources = settings.sources();
        assert!(
            sources.contains("private") && !sources.contains("native-tls"),
            "{sources}"
        );
        let elsewhere: Table = toml::from_str(&settings.text_elsewhere().unwrap()).unwrap();
        assert_eq!(elsewhere["find-links"], vec!["https://links/"].into());
        assert_eq!(elsewhere["index"], kept["index"]);
    }

    #[test]
    fn nothing_is_no_file() {
        let settings = settings("resolution = \"lowest\"\n[pip]\nprerelease = \"allow\"\n");
        assert_eq!(settings.text(), None);
        assert_eq!(settings.sources(), "");
    }

    #[test]
    fn a_file_of_the_system_comes_after_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::write(&path, text).unwrap();
            path
        };
        let user = write(
            "user",
            "index-url = \"https://a\"\nextra-index-url = [\"https://b\"]\n",
        );
        let system = write(
            "system",
            "index-url = \"https://c\"\nextra-index-url = [\"https://d\"]\noffline = true\n",
        );
        let none = folder.path().join("none");
        let settings = Settings::of_files([vec![user], vec![none, system]]).unwrap();
        let kept: Table = toml::from_str(&settings.text().unwrap()).unwrap();
        assert_eq!(kept["index-url"].as_str(), Some("https://a"));
        assert_eq!(
            kept["extra-index-url"],
            vec!["https://b", "https://d"].into()
        );
        assert!(!settings.sources().contains("offline"));
    }

    #[test]
    fn a_file_that_is_broken_is_named_without_its_content() {
        let mut settings = Settings::default();
        let text = "offline = true\nindex-url = \"https://me:secret@a\" x\n";
        let error = settings
            .add(Path::new("/etc/uv/uv.toml"), text)
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("/etc/uv/uv.toml") && error.contains("line 2"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
