//! Why no document can be made.

use std::fmt;

/// What kind of mistake it is; the message says the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The source cannot be read as Python at all.
    Parse,
    /// The reference names nothing in its file.
    PredictorNotFound,
    /// The class has no method to serve.
    MethodNotFound,
    /// The method says not what it returns.
    MissingReturnType,
    /// A parameter has no annotation.
    MissingTypeAnnotation,
    /// A type that no input or output can have.
    UnsupportedType,
    /// `default_factory=`.
    DefaultFactoryNotSupported,
    /// A decorator or bound that can't be.
    InvalidConstraint,
    /// A reference not of the form `file.py:Name`.
    InvalidPredictRef,
    /// An optional output.
    OptionalOutput,
    /// Pieces that are not text.
    ConcatIteratorNotStr,
    /// Choices that are computed.
    ChoicesNotResolvable,
    /// A default that is computed.
    DefaultNotResolvable,
    /// A type from a package that is not looked into.
    UnresolvableType,
    /// `accept=` on something that is no file.
    AcceptOnNonFileType,
    /// Anything else.
    Other,
}

/// A document can't be made of this source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// For programs.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// What it is about, where that is known: the message has the words that others look for.
    pub place: Option<Place>,
}

/// A line of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the project has it.
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    /// What is there.
    pub what: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl SchemaError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            place: None,
        }
    }

    /// The same with its place, unless it has one.
    pub(crate) fn at(mut self, place: impl FnOnce() -> Place) -> Self {
        self.place.get_or_insert_with(place);
        self
    }

    pub(crate) fn unsupported(what: impl AsRef<str>) -> Self {
        Self::new(
            ErrorKind::UnsupportedType,
            format!("unsupported type: {}", what.as_ref()),
        )
    }

    pub(crate) fn prefixed(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}{}", self.message);
        self
    }
}

pub(crate) type Result<T> = std::result::Result<T, SchemaError>;
