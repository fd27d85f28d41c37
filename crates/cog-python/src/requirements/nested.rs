//! Requirement files that name others.

use std::path::{Path, PathBuf};

use cog_files::text_at_most;

use super::artifact::{Project, open_beneath};
use super::classify::{self, Line, classify};
use super::{RequirementError, artifact};

/// Makes lines of the text of a requirements file, each with its number: how to read comments and continued lines is
/// known elsewhere.
pub type Reader = fn(&str) -> Vec<(usize, String)>;

/// How deep files may name each other, and how many lines they may have together: a file that is named twice by each of
/// a few others has millions of them.
const MAX_DEPTH: usize = 16;
const MAX_LINES: usize = 20_000;

/// More than anybody writes; it keeps a mistake from filling the memory.
const MAX_FILE: u64 = 16 << 20;

/// `lines` with the lines of the project's other requirement files in place of those that name them, and the paths in
/// these lines as seen from `base_dir`.
pub fn flatten(
    lines: &[String],
    base_dir: &Path,
    project_dir: &Path,
    reader: Reader,
) -> Result<Vec<String>, RequirementError> {
    all(lines, &Project::open(base_dir, project_dir)?, reader)
}

pub(super) fn all(
    lines: &[String],
    project: &Project,
    reader: Reader,
) -> Result<Vec<String>, RequirementError> {
    let mut walk = Walk {
        top: project,
        reader,
        open: Vec::new(),
        found: Vec::new(),
        count: 0,
    };
    for line in lines {
        walk.line(line, project)?;
    }
    Ok(walk.found)
}

/// The lines of the constraints file that is `written`, and of those that it names.
pub(super) fn constraints(
    written: &str,
    project: &Project,
    reader: Reader,
) -> Result<Vec<String>, RequirementError> {
    let mut pending = vec![(project.base.clone(), written.to_owned())];
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut found = Vec::new();
    while let Some((base, written)) = pending.pop() {
        let place = Project {
            root: project.root.clone(),
            base,
        };
        let file = place.locate(&written)?;
        if seen.contains(&file) {
            continue;
        }
        for (number, line) in read(&file, &written, &place, reader)? {
            let kind = classify(&line).map_err(|error| error.at(&written, number))?;
            match kind {
                Line::File(path) | Line::Constraints(path) => {
                    pending.push((folder_of(&file), path));
                }
                Line::Package(package) => found.push(package),
                Line::Sdk(_) => {}
                _ => return Err(RequirementError::UnsupportedPath(line).at(&written, number)),
            }
        }
        seen.push(file);
        if found.len() + pending.len() > MAX_LINES {
            return Err(RequirementError::TooManyLines);
        }
    }
    Ok(found)
}

struct Walk<'a> {
    top: &'a Project,
    reader: Reader,
    /// Files that are being read, outermost first.
    open: Vec<PathBuf>,
    found: Vec<String>,
    /// Lines that were seen, those that name files too.
    count: usize,
}

impl Walk<'_> {
    /// Takes a line of a file in the folder that `place` starts at.
    fn line(&mut self, line: &str, place: &Project) -> Result<(), RequirementError> {
        self.count += 1;
        if self.count > MAX_LINES {
            return Err(RequirementError::TooManyLines);
        }
        for line in with_files_alone(line) {
            match classify(&line) {
                Ok(Line::File(written)) => self.file(&written, place)?,
                _ => self.found.push(self.seen_from_top(&line, place)),
            }
        }
        Ok(())
    }

    /// Takes the lines of the file that is `written` in a file in the folder that `place` starts at.
    fn file(&mut self, written: &str, place: &Project) -> Result<(), RequirementError> {
        let file = place.locate(written)?;
        if self.open.contains(&file) {
            return Err(RequirementError::Loop(written.to_owned()));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(RequirementError::TooManyLines);
        }
        let lines = read(&file, written, place, self.reader)?;
        let inner = Project {
            root: place.root.clone(),
            base: folder_of(&file),
        };
        self.open.push(file);
        for (number, line) in lines {
            self.line(&line, &inner)
                .map_err(|error| error.at(written, number))?;
        }
        self.open.pop();
        Ok(())
    }

    /// `line` with its path, if it has one, as seen from the first file.
    fn seen_from_top(&self, line: &str, place: &Project) -> String {
        // The project itself, wherever that is written, as pip has it when it is started there.
        if place.base == self.top.base || line == "-e ." {
            return line.to_owned();
        }
        let moved = |path: &str| {
            let absolute = artifact::clean(&place.base.join(path));
            let inside = absolute.strip_prefix(&self.top.base).unwrap_or(&absolute);
            // Alone, the name of a folder would be that of a package.
            let path = inside.display();
            if inside.is_absolute() {
                path.to_string()
            } else {
                format!("./{path}")
            }
        };
        match classify(line) {
            Ok(Line::Artifact { path, .. }) => line.replacen(&path, &moved(&path), 1),
            Ok(Line::Folder { path, extras }) => format!("{}{extras}", moved(&path)),
            Ok(Line::Constraints(path)) => format!("-c {}", moved(&path)),
            Ok(Line::Links(path)) => format!("-f {}", moved(&path)),
            _ => line.to_owned(),
        }
    }
}

/// `line` as it is, or its options apart where one of them names something in the project.
fn with_files_alone(line: &str) -> Vec<String> {
    let parts = classify::options(line);
    let names_path = |part: &String| !matches!(classify(part), Ok(Line::Option(_)));
    if parts.iter().any(names_path) {
        parts
    } else {
        vec![line.to_owned()]
    }
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

fn read(
    file: &Path,
    written: &str,
    project: &Project,
    reader: Reader,
) -> Result<Vec<(usize, String)>, RequirementError> {
    let unreadable = |reason| RequirementError::UnreadableFile {
        path: written.to_owned(),
        reason,
    };
    let opened = open_beneath(&project.root, file).map_err(unreadable)?;
    let opened = opened.ok_or_else(|| RequirementError::WrongKind {
        path: written.to_owned(),
        expected: "file",
    })?;
    let text = text_at_most(opened, MAX_FILE).map_err(unreadable)?;
    Ok(reader(&text))
}
