//! Why no document can be made.

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
}

impl SchemaError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
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
