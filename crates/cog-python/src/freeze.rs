//! What `pip freeze` says about an installed distribution, read from its metadata.

use serde::{Deserialize, Serialize};

/// Name, version and origin of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// The name as its author writes it.
    pub name: String,
    /// The version.
    pub version: String,
    /// The URL it was installed from, in pip's form, if not from an index.
    pub origin: Option<String>,
}

/// What pip leaves out of its list, because it comes with an environment.
const UNLISTED: [&str; 4] = ["pip", "setuptools", "wheel", "distribute"];

/// The text that `pip freeze` prints for `distributions`.
pub fn text<'a>(distributions: impl IntoIterator<Item = &'a Freeze>) -> String {
    let mut lines: Vec<(String, String)> = distributions
        .into_iter()
        .filter(|one| !UNLISTED.contains(&one.name.to_ascii_lowercase().as_str()))
        .map(|one| (one.name.to_lowercase(), line(one)))
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line + "\n").collect()
}

fn line(freeze: &Freeze) -> String {
    match &freeze.origin {
        Some(origin) => format!("{} @ {origin}", freeze.name),
        None => format!("{}=={}", freeze.name, freeze.version),
    }
}

/// Reads the headers of a `METADATA` file and the content of `direct_url.json`.
pub fn parse(metadata: &str, direct_url: Option<&str>) -> Option<Freeze> {
    let headers = || metadata.lines().take_while(|line| !line.is_empty());
    let header = |name: &str| {
        headers().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.eq_ignore_ascii_case(name) && !value.trim().is_empty())
                .then(|| value.trim().to_owned())
        })
    };
    Some(Freeze {
        name: header("Name")?,
        version: header("Version")?,
        origin: direct_url.and_then(origin),
    })
}

#[derive(Deserialize)]
struct DirectUrl {
    url: String,
    vcs_info: Option<VcsInfo>,
    archive_info: Option<ArchiveInfo>,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct VcsInfo {
    vcs: String,
    commit_id: String,
}

#[derive(Deserialize)]
struct ArchiveInfo {
    hash: Option<String>,
}

fn origin(direct_url: &str) -> Option<String> {
    let direct: DirectUrl = serde_json::from_str(direct_url).ok()?;
    let mut url = crate::resolution::public_url(&direct.url);
    if let Some(vcs) = direct.vcs_info {
        url = format!("{}+{url}@{}", vcs.vcs, vcs.commit_id);
    }
    let hash = direct.archive_info.and_then(|archive| archive.hash);
    let fragments: Vec<String> = hash
        .into_iter()
        .chain(
            direct
                .subdirectory
                .map(|path| format!("subdirectory={path}")),
        )
        .collect();
    if !fragments.is_empty() {
        url = format!("{url}#{}", fragments.join("&"));
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_pip_does() {
        let one = |name: &str, version: &str| Freeze {
            name: name.to_owned(),
            version: version.to_owned(),
            origin: None,
        };
        let list = [
            one("requests", "2"),
            one("pip", "26"),
            one("PyYAML", "6"),
            one("attrs", "1"),
        ];
        assert_eq!(text(&list), "attrs==1\nPyYAML==6\nrequests==2\n");
    }

    #[test]
    fn origins_are_written_in_pips_form() {
        let metadata = "Metadata-Version: 2.1\nName: A\nVersion: 1\n\nVersion: 2";
        let table = [
            (
                r#"{"url":"file:///tmp/a.whl","archive_info":{"hash":"sha256=00"}}"#,
                "A @ file:///tmp/a.whl#sha256=00",
            ),
            (
                r#"{"url":"https://u:p@h/a.git","vcs_info":{"vcs":"git","commit_id":"abc"},"subdirectory":"x"}"#,
                "A @ git+https://h/a.git@abc#subdirectory=x",
            ),
            (
                r#"{"url":"https://h/a.whl","archive_info":{}}"#,
                "A @ https://h/a.whl",
            ),
        ];
        for (direct_url, expected) in table {
            let freeze = parse(metadata, Some(direct_url)).expect("complete");
            assert_eq!(line(&freeze), expected);
        }
        assert_eq!(line(&parse(metadata, None).expect("complete")), "A==1");
        assert_eq!(parse("Name: A\n\nVersion: 1", None), None);
    }
}
