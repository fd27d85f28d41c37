//! Requirement files with the places of their lines, what each names of the project's files, and the files that they
//! include. Reading those is the caller's job, as is everything that is done with what is named.

use std::collections::BTreeSet;

use super::{is_archive, is_url, without_comment};

/// How deep files may include files, and how many lines they may have together.
const MAX_DEPTH: usize = 16;
const MAX_LINES: usize = 20_000;

/// Options with a file or folder of the project.
const FILE_OPTIONS: [(&str, &str, MakeKind); 4] = [
    ("-r", "--requirement", LineKind::Include),
    ("-c", "--constraint", LineKind::Constraints),
    ("-f", "--find-links", LineKind::Links),
    ("-e", "--editable", LineKind::Editable),
];

type MakeKind = fn(String) -> LineKind;

/// A requirement line and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequirementLine {
    /// The line, without its comment; continued lines are one.
    pub text: String,
    /// The file, from the project's folder.
    pub file: String,
    /// The line in it, from 1.
    pub number: usize,
    /// What it names.
    pub kind: LineKind,
}

/// What a line names. Paths are as written, and start at the folder of the file that the line stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKind {
    /// A package from an index or a URL.
    Package,
    /// An option that names no file: `--extra-index-url …`, `-f https://…`.
    Option,
    /// `-r FILE`: more requirements.
    Include(String),
    /// `-c FILE`: limits for the versions of packages.
    Constraints(String),
    /// `-f FOLDER`: a folder with wheels and archives.
    Links(String),
    /// `-e FOLDER`: a folder with a package that is used where it is. `.` is often the project itself.
    Editable(String),
    /// `./FOLDER`: a folder with a package.
    Folder(String),
    /// A wheel or source archive.
    Archive(String),
    /// A `file:` URL, alone, behind a name or behind an option.
    FileUrl(String),
}

/// The lines of a file and of all that it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Requirements and options, in order; those of an included file stand for the line that includes it.
    pub lines: Vec<RequirementLine>,
    /// Constraints, in order.
    pub constraints: Vec<RequirementLine>,
}

/// Files that can't be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// An included file is outside of the project.
    #[error("`{path}` in line {number} of {file} is outside of the project directory")]
    Outside {
        /// As written.
        path: String,
        /// Where it is named.
        file: String,
        /// The line there.
        number: usize,
    },
    /// A file includes itself.
    #[error("`{path}` in line {number} of {file} includes itself")]
    Loop {
        /// As written.
        path: String,
        /// Where it is named.
        file: String,
        /// The line there.
        number: usize,
    },
    /// Too deep, or too much.
    #[error("the requirement files have too many lines, or include each other too deeply")]
    TooMany,
    /// A file can't be read.
    #[error("could not read {file}{}", named_in.as_ref().map(|(file, number)| format!(", named in line {number} of {file}")).unwrap_or_default())]
    Unreadable {
        /// The file, from the project's folder.
        file: String,
        /// Where it is named; the first is named in cog.yaml.
        named_in: Option<(String, usize)>,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The lines of the text of `file`.
pub fn numbered_lines(text: &str, file: &str) -> Vec<RequirementLine> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    let mut first = 1;
    for (index, line) in text.lines().enumerate() {
        if joined.is_empty() {
            first = index + 1;
        }
        if let Some(continued) = line.strip_suffix('\\') {
            joined.push_str(continued);
            continue;
        }
        joined.push_str(line);
        push(&mut lines, &joined, file, first);
        joined.clear();
    }
    push(&mut lines, &joined, file, first);
    lines
}

/// The lines of `file`, from the project's folder, and of what it includes. `read` gives the text of a file by such a
/// path.
pub fn expand(
    file: &str,
    read: &mut dyn FnMut(&str) -> std::io::Result<String>,
) -> Result<Expanded, ExpandError> {
    let mut expander = Expander {
        read,
        expanded: Expanded::default(),
        open: BTreeSet::new(),
    };
    expander.file(file, None, Role::Requirements)?;
    Ok(expander.expanded)
}

/// What a line names.
pub fn line_kind(line: &str) -> LineKind {
    for (short, long, kind) in FILE_OPTIONS {
        let Some(value) = option_value(line, short, long) else {
            continue;
        };
        return match value {
            value if is_file_url(value) => LineKind::FileUrl(value.to_owned()),
            value if is_url(value) && short == "-e" => LineKind::Package,
            value if is_url(value) => LineKind::Option,
            value => kind(value.to_owned()),
        };
    }
    if line.starts_with('-') {
        return LineKind::Option;
    }
    let target = line
        .split_once('@')
        .map_or(line, |(_, url)| url.trim_start());
    if is_file_url(line) || is_file_url(target) {
        return LineKind::FileUrl(line.to_owned());
    }
    if is_url(line) || is_url(target) {
        return LineKind::Package;
    }
    let path = line.split([';', ' ']).next().unwrap_or_default();
    let is_folder = path == "."
        || path == ".."
        || path.starts_with("./")
        || path.starts_with("../")
        || path.starts_with('/');
    match line {
        line if is_archive(line) => LineKind::Archive(line.to_owned()),
        _ if is_archive(path) => LineKind::Archive(path.to_owned()),
        _ if is_folder => LineKind::Folder(path.to_owned()),
        _ => LineKind::Package,
    }
}

fn push(lines: &mut Vec<RequirementLine>, line: &str, file: &str, number: usize) {
    let text = without_comment(line);
    if !text.is_empty() {
        lines.push(RequirementLine {
            text: text.to_owned(),
            file: file.to_owned(),
            number,
            kind: line_kind(text),
        });
    }
}

fn option_value<'line>(line: &'line str, short: &str, long: &str) -> Option<&'line str> {
    let long_value = line
        .strip_prefix(long)
        .filter(|rest| rest.starts_with(['=', ' ', '\t']));
    let short_value = || line.strip_prefix(short).filter(|_| !line.starts_with("--"));
    let value = long_value.or_else(short_value)?;
    Some(value.trim_start_matches(['=', ' ', '\t']).trim_end())
}

fn is_file_url(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        let scheme = scheme.rsplit('+').next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("file")
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Requirements,
    Constraints,
}

struct Expander<'a> {
    read: &'a mut dyn FnMut(&str) -> std::io::Result<String>,
    expanded: Expanded,
    /// The files that are being read.
    open: BTreeSet<String>,
}

impl Expander<'_> {
    fn file(
        &mut self,
        file: &str,
        named_in: Option<&RequirementLine>,
        role: Role,
    ) -> Result<(), ExpandError> {
        let text = (self.read)(file).map_err(|source| ExpandError::Unreadable {
            file: file.to_owned(),
            named_in: named_in.map(|line| (line.file.clone(), line.number)),
            source,
        })?;
        self.open.insert(file.to_owned());
        for line in numbered_lines(&text, file) {
            match &line.kind {
                LineKind::Include(path) => self.include(&line, path, role)?,
                LineKind::Constraints(path) => self.include(&line, path, Role::Constraints)?,
                _ => self.add(line, role)?,
            }
        }
        self.open.remove(file);
        Ok(())
    }

    fn include(
        &mut self,
        line: &RequirementLine,
        path: &str,
        role: Role,
    ) -> Result<(), ExpandError> {
        let (file, number) = (line.file.clone(), line.number);
        let path = path.to_owned();
        let Some(target) = beside(&file, &path) else {
            return Err(ExpandError::Outside { path, file, number });
        };
        if self.open.contains(&target) {
            return Err(ExpandError::Loop { path, file, number });
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(ExpandError::TooMany);
        }
        self.file(&target, Some(line), role)
    }

    fn add(&mut self, line: RequirementLine, role: Role) -> Result<(), ExpandError> {
        let list = match role {
            Role::Requirements => &mut self.expanded.lines,
            Role::Constraints => &mut self.expanded.constraints,
        };
        list.push(line);
        if self.expanded.lines.len() + self.expanded.constraints.len() > MAX_LINES {
            return Err(ExpandError::TooMany);
        }
        Ok(())
    }
}

/// The path beside `file` that `path` leads to, from the project's folder; nothing if it leads out of it.
fn beside(file: &str, path: &str) -> Option<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    if path.starts_with('/') {
        return None;
    }
    // A file that cog.yaml names by an absolute path.
    let root = if file.starts_with('/') { "/" } else { "" };
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(format!("{root}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn expanded(files: &[(&str, &str)]) -> Result<Expanded, ExpandError> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        expand("requirements.txt", &mut |path| {
            files
                .get(path)
                .map(|&text| text.to_owned())
                .ok_or_else(missing)
        })
    }

    fn error(files: &[(&str, &str)]) -> String {
        expanded(files).expect_err("it is wrong").to_string()
    }

    #[test]
    fn lines_name_files() {
        let path = |path: &str| path.to_owned();
        for (line, kind) in [
            ("torch==2.0", LineKind::Package),
            ("name @ https://x/y.whl", LineKind::Package),
            ("git+https://x/y.git@v1", LineKind::Package),
            ("-e git+https://x/y.git#egg=y", LineKind::Package),
            ("https://x/y.whl", LineKind::Package),
            ("--extra-index-url https://x", LineKind::Option),
            ("--pre -f https://x", LineKind::Option),
            ("-f https://x", LineKind::Option),
            ("-rhttps://x/r.txt", LineKind::Option),
            ("--requirements-like", LineKind::Option),
            ("-r other.txt", LineKind::Include(path("other.txt"))),
            ("-rother.txt", LineKind::Include(path("other.txt"))),
            ("--requirement=a/b.txt", LineKind::Include(path("a/b.txt"))),
            ("--requirement\ta/b.txt", LineKind::Include(path("a/b.txt"))),
            ("-c c.txt", LineKind::Constraints(path("c.txt"))),
            ("--find-links ./wheels", LineKind::Links(path("./wheels"))),
            ("-f wheels", LineKind::Links(path("wheels"))),
            ("-e .", LineKind::Editable(path("."))),
            ("-e ./pkg[x]", LineKind::Editable(path("./pkg[x]"))),
            ("--editable=pkg", LineKind::Editable(path("pkg"))),
            ("./pkg", LineKind::Folder(path("./pkg"))),
            (
                "./pkg ; python_version > '3'",
                LineKind::Folder(path("./pkg")),
            ),
            (".", LineKind::Folder(path("."))),
            ("./a b.whl", LineKind::Archive(path("./a b.whl"))),
            ("dist/a.TAR.gz", LineKind::Archive(path("dist/a.TAR.gz"))),
            (
                "torch==custom.whl",
                LineKind::Archive(path("torch==custom.whl")),
            ),
            ("a.whl --hash=sha256:0", LineKind::Archive(path("a.whl"))),
            (
                "file:///x/y.whl",
                LineKind::FileUrl(path("file:///x/y.whl")),
            ),
            ("name @ FILE:x", LineKind::FileUrl(path("name @ FILE:x"))),
            ("-e file:///x", LineKind::FileUrl(path("file:///x"))),
            ("-e git+file:///x", LineKind::FileUrl(path("git+file:///x"))),
        ] {
            assert_eq!(line_kind(line), kind, "{line}");
        }
    }

    #[test]
    fn lines_know_their_place() {
        let lines = numbered_lines(
            "# a\ntorch==\\\r\n  # no\nb\\\n==1\n\n-e .  # c\nd \\",
            "r.txt",
        );
        let places: Vec<(usize, &str)> = lines
            .iter()
            .map(|line| (line.number, line.text.as_str()))
            .collect();
        assert_eq!(places, [(2, "torch=="), (4, "b==1"), (7, "-e ."), (8, "d")]);
    }

    #[test]
    fn included_files_stand_for_their_line() {
        let expanded = expanded(&[
            (
                "requirements.txt",
                "a\n-r deps/more.txt\nb\n-c limits.txt\n",
            ),
            ("deps/more.txt", "c\n-r ../last.txt\n-f ./wheels\n"),
            ("last.txt", "d\n"),
            ("limits.txt", "e<2\n-r last.txt\n"),
        ])
        .expect("it fits");
        let texts = |lines: &[RequirementLine]| -> Vec<String> {
            lines
                .iter()
                .map(|line| format!("{}:{} {}", line.file, line.number, line.text))
                .collect()
        };
        assert_eq!(
            texts(&expanded.lines),
            [
                "requirements.txt:1 a",
                "deps/more.txt:1 c",
                "last.txt:1 d",
                "deps/more.txt:3 -f ./wheels",
                "requirements.txt:3 b",
            ]
        );
        assert_eq!(
            texts(&expanded.constraints),
            ["limits.txt:1 e<2", "last.txt:1 d"]
        );
    }

    #[test]
    fn files_that_can_not_be_put_together_are_named() {
        assert_eq!(
            error(&[("requirements.txt", "a\n-r ../x.txt\n")]),
            "`../x.txt` in line 2 of requirements.txt is outside of the project directory"
        );
        assert!(error(&[("requirements.txt", "-r /etc/x.txt\n")]).contains("outside"));
        assert_eq!(
            error(&[
                ("requirements.txt", "-r a.txt\n"),
                ("a.txt", "\n-r ./requirements.txt")
            ]),
            "`./requirements.txt` in line 2 of a.txt includes itself"
        );
        assert_eq!(
            error(&[("requirements.txt", "-r a.txt\n")]),
            "could not read a.txt, named in line 1 of requirements.txt"
        );
        assert_eq!(error(&[]), "could not read requirements.txt");
    }

    #[test]
    fn files_beside_an_absolute_one_are_absolute() {
        assert_eq!(beside("/x/r.txt", "../y.txt").as_deref(), Some("/y.txt"));
        assert_eq!(beside("/r.txt", "../y.txt"), None);
        assert_eq!(
            beside("a/r.txt", "./b//y.txt").as_deref(),
            Some("a/b/y.txt")
        );
    }

    #[test]
    fn growth_has_an_end() {
        let many = "-r b.txt\n".repeat(300);
        let lines = "x\n".repeat(300);
        let said = error(&[("requirements.txt", &many), ("b.txt", &lines)]);
        assert!(said.contains("too many lines"), "{said}");
        let mut files: Vec<(String, String)> = (0..40)
            .map(|index| (format!("{index}.txt"), format!("-r {}.txt\n", index + 1)))
            .collect();
        files.push(("requirements.txt".to_owned(), "-r 0.txt\n".to_owned()));
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        assert!(error(&files).contains("too deeply"));
    }
}
