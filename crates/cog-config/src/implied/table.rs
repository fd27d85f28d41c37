//! The tables of implied and renamed packages.

use std::sync::LazyLock;

use super::Stage;

/// What implies a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A program that is run.
    Program,
    /// A Python distribution that is installed.
    Distribution,
    /// A text in the model's source.
    Text,
    /// A program that needs no package where this Python distribution is required.
    Provides,
}

/// One implication.
#[derive(Debug)]
pub(super) struct Row {
    kind: Kind,
    pub(super) name: &'static str,
    /// Of a distribution, the versions that it is true of; all if empty.
    pub(super) versions: &'static str,
    /// For how long; of programs the place where they are run tells it.
    pub(super) stage: Stage,
    /// Names with blanks between.
    pub(super) packages: &'static str,
    /// What the distribution or text does, as a phrase.
    pub(super) reason: &'static str,
}

impl Row {
    pub(super) fn packages(&self) -> impl Iterator<Item = &'static str> {
        self.packages.split(' ')
    }
}

pub(super) fn all(kind: Kind) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.kind == kind)
}

pub(super) fn rows(kind: Kind, name: &str) -> impl Iterator<Item = &'static Row> {
    all(kind).filter(move |row| row.name == name)
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    lines(include_str!("../../data/implied-packages.csv"))
        .map(
            |[kind, name, versions, stage, packages, reason]: [&str; 6]| Row {
                kind: match kind {
                    "program" => Kind::Program,
                    "text" => Kind::Text,
                    "provides" => Kind::Provides,
                    _ => Kind::Distribution,
                },
                name,
                versions,
                stage: if stage == "run" {
                    Stage::Run
                } else {
                    Stage::Build
                },
                packages,
                reason,
            },
        )
        .collect()
});

/// The release before 64-bit times: its names don't end so.
const BEFORE_64_BIT_TIMES: &str = "bookworm";
const SUFFIX: &str = "t64";

/// The name that the release has instead of this one.
pub(super) fn renamed(package: &str, suite: &str) -> Option<String> {
    let mut rows = lines(include_str!("../../data/renamed-packages.csv"));
    let row = rows.find(|[named, suites, _]: &[&str; 3]| {
        *named == package && suites.split(' ').any(|one| one == suite)
    });
    // A name that only newer releases have.
    let newer = || {
        let name = package
            .strip_prefix("lib")
            .and(package.strip_suffix(SUFFIX));
        name.filter(|_| suite == BEFORE_64_BIT_TIMES)
    };
    row.map(|[_, _, name]| name)
        .or_else(newer)
        .map(str::to_owned)
}

/// What newer releases have instead of this package; where it is still there, it brings that too.
pub(super) fn successor(package: &str) -> Option<&'static str> {
    let mut rows = lines(include_str!("../../data/renamed-packages.csv"));
    let row = rows.find(|[named, ..]: &[&'static str; 3]| *named == package);
    row.map(|[_, _, name]| name)
}

/// The rows of a table, without its head.
fn lines<const CELLS: usize>(text: &'static str) -> impl Iterator<Item = [&'static str; CELLS]> {
    let lines = text.lines().skip(1).filter(|line| !line.is_empty());
    lines.map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        cells.try_into().expect("a table of this crate, tested")
    })
}
