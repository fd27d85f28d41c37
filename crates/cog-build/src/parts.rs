//! Which layers the project's files are in: a pure function of paths and sizes.
//!
//! What people change many times a day should be small, whatever lies beside it. So each large file is a part of its
//! own. What else there is in a folder and those in it is another, when that is large together, in the lowest folder for
//! which it holds. All that is small comes last, on top, and so does code.
//!
//! Where a file is depends on its size and on how much there is in the folders above it. One that comes or goes moves
//! others only where that crosses a limit. The number of parts is bounded; those beyond share a few, each always the
//! same one.
//!
//! Nothing here reads a file or knows layers.

use std::fmt;
use std::ops::Range;

use cog_image::Digest;

use crate::separated::SeparatedPath;

/// From here on something is a part of its own, in bytes: fewer are packed and sent in a moment, and a layer costs a
/// request and a mount. It is also what makes a Python package a layer of its own.
const LARGE: u64 = 8 * 1024 * 1024;

/// What each file costs beside its bytes, in bytes: it takes as long to open and list it as to pack that many. A thousand
/// files are large together.
const EACH: u64 = 8 * 1024;

/// The most parts of a project, the code included.
pub(crate) const MAX_PARTS: usize = 21;

/// Of so many parts one is shared by those that are too many.
const SHARED: usize = 5;

/// What people write, and change often. In a folder with very much else, it stays with the other code.
const CODE: [&str; 23] = [
    ".py", ".pyi", ".pyx", ".ipynb", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".md", ".sh", ".c",
    ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs", ".js", ".ts", ".html", ".css",
];

/// Files that share a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: PartName,
    /// Positions in the list that was split, in order.
    pub(crate) members: Vec<usize>,
    /// Whether somebody asked for it.
    pub(crate) origin: Origin,
}

/// What a part is called in the image's history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PartName {
    /// One file.
    File(String),
    /// A folder, or what of it is in no other part.
    Folder(String),
    /// The code of a folder that has very much of it.
    CodeOf(String),
    /// What lies beside cog.yaml and in small folders, and is no code.
    Other,
    /// Parts beyond the limit, by number.
    Shared(usize),
    /// All else.
    Code,
}

/// Why a part is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// `--separate-weights` asks for it.
    Separated,
    /// By the rule of this module.
    Rule,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names go to terminals, and may have anything in them.
        let shown = |path: &str| path.replace(char::is_control, "?");
        match self {
            Self::File(path) => write!(f, "source {}", shown(path)),
            Self::Folder(path) => write!(f, "source {}/", shown(path)),
            Self::CodeOf(path) => write!(f, "source {}/ (code)", shown(path)),
            Self::Other => f.write_str("source (files that are no code)"),
            Self::Shared(number) => write!(f, "source (shared {number})"),
            Self::Code => f.write_str("source"),
        }
    }
}

/// Splits `files`, sorted paths with sizes in bytes, into at most `limit` parts, lowest layer first. What is
/// `separated` is in parts of its own whatever its size. The last part is the code, even if there is none.
pub(crate) fn split(files: &[(&str, u64)], separated: &[SeparatedPath], limit: usize) -> Vec<Part> {
    let mut split = Split {
        files,
        taken: vec![false; files.len()],
        units: Vec::new(),
    };
    for path in separated {
        split.separate(path);
    }
    let rest = split.folder(0..files.len(), "");
    let mut code = rest.code.members;
    code.extend(rest.other.members);
    let mut parts = bounded(split.units, limit.saturating_sub(1), &mut code);
    code.sort_unstable();
    parts.push(Part {
        name: PartName::Code,
        members: code,
        origin: Origin::Rule,
    });
    parts
}

/// A split under way.
struct Split<'a> {
    files: &'a [(&'a str, u64)],
    taken: Vec<bool>,
    units: Vec<Unit>,
}

/// What would be a part, if there were no limit to their number.
struct Unit {
    part: Part,
    weight: u64,
}

/// Files that nothing was decided about yet.
#[derive(Default)]
struct Pile {
    members: Vec<usize>,
    weight: u64,
}

/// Of a folder and those in it.
#[derive(Default)]
struct Rest {
    code: Pile,
    other: Pile,
}

impl Split<'_> {
    fn separate(&mut self, path: &SeparatedPath) {
        let (name, range) = match path {
            SeparatedPath::Folder(path) => {
                let prefix = format!("{path}/");
                let start = self
                    .files
                    .partition_point(|(one, _)| *one < prefix.as_str());
                (
                    PartName::Folder(path.clone()),
                    start..self.end(start, &prefix),
                )
            }
            SeparatedPath::File(path) => {
                let start = self.files.partition_point(|(one, _)| *one < path.as_str());
                let is_there = self.files.get(start).is_some_and(|(one, _)| one == path);
                (
                    PartName::File(path.clone()),
                    start..start + usize::from(is_there),
                )
            }
        };
        let mut pile = Pile::default();
        for at in range.filter(|at| !self.taken[*at]) {
            pile.add(at, self.files[at].1);
        }
        pile.members.iter().for_each(|at| self.taken[*at] = true);
        self.unit(name, pile, Origin::Separated);
    }

    /// Decides about the files of a folder, those in `range`, whose paths begin with `prefix`. What is not large is left
    /// to the folder above.
    fn folder(&mut self, range: Range<usize>, prefix: &str) -> Rest {
        let mut rest = Rest::default();
        let mut at = range.start;
        while at < range.end {
            let (path, size) = self.files[at];
            let Some(slash) = path[prefix.len()..].find('/') else {
                if !self.taken[at] {
                    self.file(at, path, size, &mut rest);
                }
                at += 1;
                continue;
            };
            let inner = &path[..=prefix.len() + slash];
            let end = self.end(at, inner);
            rest.add(self.folder(at..end, inner));
            at = end;
        }
        let folder = prefix.trim_end_matches('/');
        if rest.other.is_large() {
            let name = match folder {
                "" => PartName::Other,
                folder => PartName::Folder(folder.to_owned()),
            };
            self.unit(name, std::mem::take(&mut rest.other), Origin::Rule);
        }
        if rest.code.is_large() && !folder.is_empty() {
            let name = PartName::CodeOf(folder.to_owned());
            self.unit(name, std::mem::take(&mut rest.code), Origin::Rule);
        }
        rest
    }

    fn file(&mut self, at: usize, path: &str, size: u64, rest: &mut Rest) {
        let mut own = Pile::default();
        own.add(at, size);
        if size >= LARGE {
            self.unit(PartName::File(path.to_owned()), own, Origin::Rule);
        } else if CODE.iter().any(|suffix| path.ends_with(suffix)) {
            rest.code.append(own);
        } else {
            rest.other.append(own);
        }
    }

    fn unit(&mut self, name: PartName, pile: Pile, origin: Origin) {
        if pile.members.is_empty() {
            return;
        }
        let mut members = pile.members;
        members.sort_unstable();
        self.units.push(Unit {
            part: Part {
                name,
                members,
                origin,
            },
            weight: pile.weight,
        });
    }

    /// Where the files end that begin with `prefix`, as the one at `start` does if there is any.
    fn end(&self, start: usize, prefix: &str) -> usize {
        start + self.files[start..].partition_point(|(path, _)| path.starts_with(prefix))
    }
}

impl Pile {
    fn add(&mut self, at: usize, size: u64) {
        self.members.push(at);
        self.weight = self.weight.saturating_add(size).saturating_add(EACH);
    }

    fn append(&mut self, mut other: Self) {
        self.members.append(&mut other.members);
        self.weight = self.weight.saturating_add(other.weight);
    }

    fn is_large(&self) -> bool {
        self.weight >= LARGE
    }
}

impl Rest {
    fn add(&mut self, other: Self) {
        self.code.append(other.code);
        self.other.append(other.other);
    }
}

/// The parts that `units` become, at most `limit`. The heaviest stay by themselves. Which of the shared parts another one
/// is in depends on its name alone, so that it does not matter to it what else there is.
fn bounded(mut units: Vec<Unit>, limit: usize, code: &mut Vec<usize>) -> Vec<Part> {
    let shared = (limit / SHARED).max(1);
    units.sort_by(|a, b| {
        let rank = |unit: &Unit| (unit.part.origin, std::cmp::Reverse(unit.weight));
        rank(a)
            .cmp(&rank(b))
            .then_with(|| a.part.name.cmp(&b.part.name))
    });
    let beyond = units.split_off(units.len().min(limit.saturating_sub(shared)));
    let mut parts: Vec<Part> = units.into_iter().map(|unit| unit.part).collect();
    parts.sort_by(|a, b| (a.origin, &a.name).cmp(&(b.origin, &b.name)));
    if limit == 0 {
        code.extend(beyond.into_iter().flat_map(|unit| unit.part.members));
        return parts;
    }
    let mut together = vec![Vec::new(); shared];
    for unit in beyond {
        together[place(&unit.part.name, shared)].extend(unit.part.members);
    }
    for (at, mut members) in together.into_iter().enumerate() {
        if members.is_empty() {
            continue;
        }
        members.sort_unstable();
        parts.push(Part {
            name: PartName::Shared(at + 1),
            members,
            origin: Origin::Rule,
        });
    }
    parts
}

/// Which of so many shared parts `name` belongs to, the same on every machine.
fn place(name: &PartName, shared: usize) -> usize {
    let digest = Digest::of(name.to_string().as_bytes()).hex();
    usize::from_str_radix(&digest[..6], 16).unwrap_or_default() % shared
}

#[cfg(test)]
mod tests;
