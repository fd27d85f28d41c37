//! `pyproject.toml` and `uv.lock` as requirement lines. Nothing of the project is run for it: what only its build could
//! tell is refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::name;

/// The names of the files, which say how they are read.
pub(super) const PROJECT: &str = "pyproject.toml";
pub(super) const LOCK: &str = "uv.lock";

#[derive(Deserialize)]
struct Pyproject {
    project: Option<Project>,
    #[serde(default)]
    tool: Tool,
}

#[derive(Deserialize)]
struct Project {
    name: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    dynamic: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Tool {
    #[serde(default)]
    uv: Uv,
}

#[derive(Default, Deserialize)]
struct Uv {
    #[serde(default)]
    sources: BTreeMap<String, toml::Value>,
    #[serde(default)]
    index: Vec<Index>,
}

#[derive(Deserialize)]
struct Index {
    name: Option<String>,
    url: String,
    #[serde(default)]
    default: bool,
}

/// Where `tool.uv.sources` says that a package comes from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    index: Option<String>,
    git: Option<String>,
    rev: Option<String>,
    tag: Option<String>,
    branch: Option<String>,
    subdirectory: Option<String>,
    url: Option<String>,
    path: Option<String>,
    /// Images have no use for it.
    #[serde(rename = "editable")]
    _editable: Option<bool>,
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: Option<String>,
    #[serde(default)]
    source: BTreeMap<String, toml::Value>,
    #[serde(default, rename = "resolution-markers")]
    markers: Vec<String>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    hash: Option<String>,
}

/// The requirement lines of the project `text`, in the versions of `lock` where there is one. The error says what cannot be
/// understood.
pub(super) fn lines(text: &str, lock: Option<&str>) -> Result<Vec<String>, String> {
    let read: Pyproject = toml::from_str(text).map_err(|error| mistake(PROJECT, text, &error))?;
    let Some(project) = read.project else {
        return Err(format!("{PROJECT} has no `[project]` with `dependencies`"));
    };
    if project.dynamic.iter().any(|field| field == "dependencies") {
        return Err(format!(
            "{PROJECT} says that its `dependencies` are dynamic: only running its build would tell them"
        ));
    }
    let locked = lock.map(read_lock).transpose()?;
    let mut lines = indexes(&read.tool.uv);
    for dependency in &project.dependencies {
        let source = source_of(&read.tool.uv, dependency)?;
        lines.push(match (source, &locked) {
            (Some(line), _) => line,
            (None, Some(lock)) => lock.pinned(dependency),
            (None, None) => dependency.clone(),
        });
    }
    if let Some(lock) = &locked {
        let more = lock.indexes();
        let more = more.into_iter().filter(|line| !lines.contains(line));
        let more: Vec<String> = more.collect();
        lines.extend(more);
        lines.push(format!("-c {LOCK}"));
    }
    let itself = project.name.as_deref().map(normalised);
    lines.retain(|line| itself.is_none() || name(line).map(without_extras) != itself);
    Ok(lines)
}

/// The versions of a `uv.lock` as lines of a constraints file, if `text` is one.
pub(super) fn constraints(text: &str) -> Option<Vec<String>> {
    let is_one = text.starts_with("version = ") && text.contains("\n[[package]]\n");
    let lock = is_one.then(|| read_lock(text).ok()).flatten()?;
    let mut lines = Vec::new();
    for one in lock.package.iter().filter(|one| one.is_of_index()) {
        let Some(version) = &one.version else {
            continue;
        };
        let pin = format!("{}=={version}", one.name);
        let hashes = one.hashes();
        // Several versions of one package are for different Pythons or platforms.
        match one.markers.as_slice() {
            [] => lines.push(pin + &hashes),
            markers => lines.extend(
                markers
                    .iter()
                    .map(|marker| format!("{pin} ; {marker}{hashes}")),
            ),
        }
    }
    Some(lines)
}

fn read_lock(text: &str) -> Result<Lock, String> {
    toml::from_str(text).map_err(|error| mistake(LOCK, text, &error))
}

fn mistake(file: &str, text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.as_bytes().iter().take(start);
    let line = before.filter(|&&byte| byte == b'\n').count() + 1;
    format!(
        "{file}, line {line}: {}",
        error.message().replace('\n', ", ")
    )
}

impl Locked {
    fn is_of_index(&self) -> bool {
        self.source.contains_key("registry")
    }

    /// Options for the hashes of all its files; none unless all have one.
    fn hashes(&self) -> String {
        let files = self.sdist.iter().chain(&self.wheels);
        let option = |file: &File| Some(format!(" --hash={}", file.hash.as_ref()?));
        files
            .map(option)
            .collect::<Option<String>>()
            .unwrap_or_default()
    }
}

impl Lock {
    /// `dependency` in the only version that there is of it.
    fn pinned(&self, dependency: &str) -> String {
        let Some(written) = name(dependency) else {
            return dependency.to_owned();
        };
        let wanted = without_extras(written);
        let mut found = self
            .package
            .iter()
            .filter(|one| normalised(&one.name) == wanted);
        let version = match (found.next(), found.next()) {
            (Some(only), None) if only.is_of_index() => only.version.as_deref(),
            _ => None,
        };
        let marker = dependency.split_once(';').map(|(_, marker)| marker.trim());
        match (version, marker) {
            (Some(version), Some(marker)) => format!("{written}=={version} ; {marker}"),
            (Some(version), None) => format!("{written}=={version}"),
            (None, _) => dependency.to_owned(),
        }
    }

    /// Options for the indexes that packages come from, but for the public one.
    fn indexes(&self) -> Vec<String> {
        let registries = self
            .package
            .iter()
            .filter_map(|one| one.source.get("registry"));
        let mut urls: Vec<&str> = registries
            .filter_map(toml::Value::as_str)
            .filter(|url| url.contains("://") && !url.starts_with("https://pypi.org/"))
            .collect();
        urls.sort_unstable();
        urls.dedup();
        urls.into_iter()
            .map(|url| format!("--extra-index-url {url}"))
            .collect()
    }
}

/// Options for the indexes of `tool.uv.index`.
fn indexes(uv: &Uv) -> Vec<String> {
    let option = |index: &Index| {
        let option = if index.default {
            "--index-url"
        } else {
            "--extra-index-url"
        };
        format!("{option} {}", index.url)
    };
    uv.index.iter().map(option).collect()
}

/// The line for a dependency that has a source of its own.
fn source_of(uv: &Uv, dependency: &str) -> Result<Option<String>, String> {
    let Some(written) = name(dependency) else {
        return Ok(None);
    };
    let wanted = without_extras(written);
    let found = uv
        .sources
        .iter()
        .find(|(name, _)| normalised(name) == wanted);
    let Some((_, value)) = found else {
        return Ok(None);
    };
    let refused = || {
        format!(
            "{PROJECT} has a source for `{wanted}` in `tool.uv.sources` that is not understood here: only `index`, `git`, \
             `url` and `path` are"
        )
    };
    let source: Source = value.clone().try_into().map_err(|_| refused())?;
    let marker = dependency
        .split_once(';')
        .map_or(String::new(), |(_, marker)| format!(" ; {}", marker.trim()));
    Ok(Some(match source {
        Source {
            index: Some(index),
            git: None,
            url: None,
            path: None,
            ..
        } => {
            let is_known = |one: &Index| one.name.as_ref() == Some(&index);
            if !uv.index.iter().any(is_known) {
                return Err(refused());
            }
            return Ok(None);
        }
        Source {
            git: Some(git),
            url: None,
            path: None,
            rev,
            tag,
            branch,
            subdirectory,
            ..
        } => {
            let at = rev.or(tag).or(branch);
            let at = at.map_or(String::new(), |at| format!("@{at}"));
            let below = subdirectory.map_or(String::new(), |path| format!("#subdirectory={path}"));
            format!("{written} @ git+{git}{at}{below}{marker}")
        }
        Source {
            url: Some(url),
            git: None,
            path: None,
            ..
        } => format!("{written} @ {url}{marker}"),
        Source {
            path: Some(path), ..
        } if marker.is_empty() => {
            let extras = written.find('[').map_or("", |start| &written[start..]);
            format!("./{}{extras}", path.trim_start_matches("./"))
        }
        _ => return Err(refused()),
    }))
}

fn without_extras(name: &str) -> String {
    normalised(name.split('[').next().unwrap_or(name))
}

/// A name in the form that names are compared in.
fn normalised(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PYPROJECT: &str = r#"
[project]
name = "My.Model"
dependencies = [
    "torch>=2",
    "rich[jupyter]>=13 ; python_version > '3.8'",
    "helper",
    "my-model[extra]",
    "direct",
]

[tool.uv.sources]
torch = { index = "pytorch" }
helper = { git = "https://example.com/helper.git", tag = "v1", subdirectory = "python" }
direct = { path = "libs/direct", editable = true }

[[tool.uv.index]]
name = "pytorch"
url = "https://download.pytorch.org/whl/cu121"
"#;
    const UV_LOCK: &str = r#"version = 1
requires-python = ">=3.10"

[[package]]
name = "torch"
version = "2.3.1+cu121"
source = { registry = "https://download.pytorch.org/whl/cu121" }

[[package]]
name = "rich"
version = "13.7.1"
source = { registry = "https://pypi.org/simple" }
sdist = { url = "https://e.com/rich.tar.gz", hash = "sha256:01", size = 1 }
wheels = [{ url = "https://e.com/rich.whl", hash = "sha256:00", size = 1 }]

[[package]]
name = "numpy"
version = "1.26.4"
source = { registry = "https://pypi.org/simple" }
resolution-markers = ["python_full_version < '3.11'"]

[[package]]
name = "numpy"
version = "2.2.0"
source = { registry = "https://pypi.org/simple" }
resolution-markers = ["python_full_version >= '3.11'"]

[[package]]
name = "my-model"
version = "0.1.0"
source = { virtual = "." }
"#;

    #[test]
    fn dependencies_become_lines() {
        assert_eq!(
            lines(PYPROJECT, None).expect("it is understood"),
            [
                "--extra-index-url https://download.pytorch.org/whl/cu121",
                "torch>=2",
                "rich[jupyter]>=13 ; python_version > '3.8'",
                "helper @ git+https://example.com/helper.git@v1#subdirectory=python",
                "./libs/direct",
            ]
        );
    }

    #[test]
    fn a_lock_says_the_versions() {
        assert_eq!(
            lines(PYPROJECT, Some(UV_LOCK)).expect("they are understood"),
            [
                "--extra-index-url https://download.pytorch.org/whl/cu121",
                "torch==2.3.1+cu121",
                "rich[jupyter]==13.7.1 ; python_version > '3.8'",
                "helper @ git+https://example.com/helper.git@v1#subdirectory=python",
                "./libs/direct",
                "-c uv.lock",
            ]
        );
        assert_eq!(
            constraints(UV_LOCK).expect("it is one"),
            [
                "torch==2.3.1+cu121",
                "rich==13.7.1 --hash=sha256:01 --hash=sha256:00",
                "numpy==1.26.4 ; python_full_version < '3.11'",
                "numpy==2.2.0 ; python_full_version >= '3.11'",
            ]
        );
        assert_eq!(constraints("six<2\n"), None);
        assert_eq!(constraints("version = 1\n[[package]]\nname = 3\n"), None);
    }

    #[test]
    fn what_only_a_build_or_uv_itself_would_know_is_refused() {
        let refused = |text: &str| lines(text, None).expect_err(text);
        assert!(refused("[tool.poetry]\n").contains("no `[project]`"));
        assert!(refused("[project]\ndynamic = [\"dependencies\"]\n").contains("are dynamic"));
        assert_eq!(
            refused("[project]\ndependencies = \"six\"\n"),
            "pyproject.toml, line 2: invalid type: string \"six\", expected a sequence"
        );
        for source in [
            "{ workspace = true }",
            "[{ index = \"a\" }]",
            "{ index = \"a\" }",
        ] {
            let text =
                format!("[project]\ndependencies = [\"a_b\"]\n[tool.uv.sources]\na-b = {source}\n");
            assert!(refused(&text).contains("a source for `a-b`"), "{source}");
        }
        let lock = lines("[project]\ndependencies = []\n", Some("x"));
        assert!(lock.expect_err("it is none").starts_with("uv.lock, line 1"));
    }
}
