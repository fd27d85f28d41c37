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
mod tests;
