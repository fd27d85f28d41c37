//! What can be wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use cog_errors::Hint;

/// A place in the file: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub location: Option<Location>,
    /// What to do about it, as a phrase.
    pub hint: Option<String>,
}

/// The deprecated field whose successor is a file.
pub(crate) const PYTHON_PACKAGES: &str = "build.python_packages";

/// Something that works but should be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A field that has a successor.
    Deprecated {
        /// The field.
        field: &'static str,
        /// What to use.
        replacement: &'static str,
    },
    /// A field that means nothing.
    Unknown {
        /// Its dotted path.
        field: String,
        /// Where.
        location: Location,
        /// The field that may be meant.
        meant: Option<String>,
    },
    /// A file that says nothing.
    Empty {
        /// The file.
        file_name: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deprecated { field, replacement } => {
                write!(
                    formatter,
                    "deprecated field \"{field}\": use \"{replacement}\" instead"
                )?;
                match *field {
                    PYTHON_PACKAGES => {
                        formatter.write_str(", with the lines in a requirements.txt")
                    }
                    _ => Ok(()),
                }
            }
            Self::Unknown {
                field,
                location: Location { line, .. },
                meant,
            } => {
                write!(
                    formatter,
                    "unknown field \"{}\" in line {line} is ignored",
                    cog_errors::plain(field)
                )?;
                match meant {
                    Some(meant) => write!(formatter, ": did you mean `{meant}`?"),
                    None => Ok(()),
                }
            }
            Self::Empty { file_name } => write!(formatter, "{file_name} is empty"),
        }
    }
}

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such file.
    #[error("{file_name} not found in {} (or in any parent directories)", directory.display())]
    NotFound {
        /// The name that was looked for.
        file_name: String,
        /// Where the search began.
        directory: PathBuf,
    },
    /// The file, or one it names, can't be read.
    #[error("could not read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that `build.python_requirements` names is of a kind whose requirements are not understood.
    #[error("invalid build.python_requirements: {reason}")]
    Requirements {
        /// What is wrong with the file.
        reason: String,
    },
    /// It is no YAML.
    #[error("failed to parse {file_name}: invalid YAML: {detail}{}", place(file_name, *location))]
    Syntax {
        /// The file.
        file_name: String,
        /// The parser's explanation.
        detail: String,
        /// Where.
        location: Option<Location>,
    },
    /// It says things that can't be; one a line.
    #[error("{}", list(file_name, problems))]
    Invalid {
        /// The file.
        file_name: String,
        /// The mistakes, in the order of the rules.
        problems: Vec<Problem>,
        /// Fields that are ignored, one of which may be what is missing.
        ignored: Vec<Warning>,
    },
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<String> {
        let (problems, ignored) = match self {
            Self::Invalid {
                problems, ignored, ..
            } => (problems, ignored),
            Self::Requirements { .. } => {
                let hint = "`uv export --no-emit-project --output-file requirements.txt` makes a requirements file of it";
                return Some(hint.to_owned());
            }
            _ => return None,
        };
        let hints = problems.iter().filter_map(|one| one.hint.clone());
        let hints: Vec<String> = hints
            .chain(ignored.iter().map(ToString::to_string))
            .collect();
        (!hints.is_empty()).then(|| hints.join("\n  "))
    }
}

fn place(file_name: &str, location: Option<Location>) -> String {
    location
        .map(|Location { line, column }| format!(" ({file_name}:{line}:{column})"))
        .unwrap_or_default()
}

fn list(file_name: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}{}", problem.message, place(file_name, problem.location)))
        .collect();
    lines.join("\n")
}
