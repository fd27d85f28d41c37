//! `RECORD`: the list of a distribution's files, with their hashes.

use std::path::{Component, Path};

use crate::csv;

/// One line of a `RECORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Path relative to the folder of packages.
    pub(crate) path: String,
    /// Such as `sha256=…`; may be empty.
    pub(crate) hash: String,
    /// Bytes, as text; may be empty.
    pub(crate) size: String,
}

/// The rows of a `RECORD`, or the line that is not one.
pub(crate) fn parse(text: &str) -> Result<Vec<Row>, String> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(parse_row)
        .collect()
}

fn parse_row(line: &str) -> Result<Row, String> {
    let mut fields = csv::split(line).ok_or_else(|| line.to_owned())?.into_iter();
    let path = fields
        .next()
        .filter(|path| !path.is_empty())
        .ok_or_else(|| line.to_owned())?;
    Ok(Row {
        path,
        hash: fields.next().unwrap_or_default(),
        size: fields.next().unwrap_or_default(),
    })
}

/// The text of a `RECORD` with `rows`, which are sorted: uv's order is that of its unpacking.
pub(crate) fn write(mut rows: Vec<Row>) -> String {
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    rows.iter()
        .map(|row| csv::join(&[&row.path, &row.hash, &row.size]) + "\n")
        .collect()
}

/// Where `path`, relative to the folder `site_packages` of a prefix, is in the prefix. `None` if
/// it is outside of it.
pub(crate) fn resolve(site_packages: &Path, path: &str) -> Option<String> {
    let mut components: Vec<&str> = Vec::new();
    for component in site_packages
        .components()
        .chain(Path::new(path).components())
    {
        match component {
            Component::Normal(name) => components.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => {
                components.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!components.is_empty()).then(|| components.join("/"))
}

/// `path` in the prefix as seen from the folder `site_packages` of the same prefix.
pub(crate) fn relative(site_packages: &str, path: &str) -> String {
    match path
        .strip_prefix(site_packages)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(inside) => inside.to_owned(),
        None => "../".repeat(site_packages.split('/').count()) + path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    #[test]
    fn paths_stay_in_the_prefix() {
        let table = [
            ("six.py", Some("lib/python3.11/site-packages/six.py")),
            ("../../../bin/black", Some("bin/black")),
            ("./a/../b.py", Some("lib/python3.11/site-packages/b.py")),
            ("../../../../etc/passwd", None),
            ("/etc/passwd", None),
            ("../../..", None),
        ];
        for (path, expected) in table {
            assert_eq!(
                resolve(Path::new(SITE), path).as_deref(),
                expected,
                "{path}"
            );
        }
        assert_eq!(relative(SITE, "bin/black"), "../../../bin/black");
        assert_eq!(
            relative(SITE, "lib/python3.11/site-packages/a/b.py"),
            "a/b.py"
        );
        assert_eq!(
            relative(SITE, "lib/python3.11/site-packages2"),
            "../../../lib/python3.11/site-packages2"
        );
    }

    #[test]
    fn rows_are_read_and_written() {
        let rows = parse("b.py,sha256=x,1\n\"a,b.py\",,\nRECORD,,\n").expect("valid");
        assert_eq!(rows.len(), 3);
        assert_eq!(write(rows), "RECORD,,\n\"a,b.py\",,\nb.py,sha256=x,1\n");
        assert_eq!(parse("a\n\"b"), Err("\"b".to_owned()));
        assert_eq!(parse("name").expect("short rows are fine")[0].size, "");
    }
}
