//! `RECORD`: the list of a distribution's files, with their hashes.

use std::path::{Component, Path};

/// One line of a `RECORD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Path relative to the folder of packages.
    pub path: String,
    /// Such as `sha256=…`; may be empty.
    pub hash: String,
    /// Bytes, as text; may be empty.
    pub size: String,
}

/// The rows of a `RECORD`, or the line that is not one.
pub fn parse(text: &str) -> Result<Vec<Row>, String> {
    if let Some(line) = unclosed_quote(text) {
        return Err(line.to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let rows = reader.records().map(|record| {
        let record = record.map_err(|error| error.to_string())?;
        let field = |number: usize| record.get(number).unwrap_or_default().to_owned();
        match field(0) {
            path if path.trim().is_empty() => Err(record.iter().collect::<Vec<_>>().join(",")),
            path => Ok(Row {
                path,
                hash: field(1),
                size: field(2),
            }),
        }
    });
    rows.collect()
}

/// The line at which a quote is opened that nothing closes. Readers of CSV take all that follows for one field.
fn unclosed_quote(text: &str) -> Option<&str> {
    let quotes = |text: &str| text.matches('"').count() % 2;
    (quotes(text) == 1)
        .then(|| text.lines().rfind(|line| quotes(line) == 1))
        .flatten()
}

/// The text of a `RECORD` with `rows`, which are sorted: uv's order is that of its unpacking.
pub fn write(mut rows: Vec<Row>) -> String {
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &rows {
        writer
            .write_record([&row.path, &row.hash, &row.size])
            .expect("memory takes all, and all rows have three fields");
    }
    let bytes = writer.into_inner().expect("memory takes all");
    String::from_utf8(bytes).expect("the fields are text")
}

/// Where `path`, relative to the folder `site_packages` of a prefix, is in the prefix. `None` if
/// it is outside of it.
pub fn resolve(site_packages: &Path, path: &str) -> Option<String> {
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
pub fn relative(site_packages: &str, path: &str) -> String {
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
