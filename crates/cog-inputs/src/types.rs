//! The types of JSON Schema, and the types that JSON texts have.

use serde_json::Value;

/// A type of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number without a fraction; `1.0` and `1e2` are some too.
    Integer,
    /// Any number.
    Number,
    /// Text.
    String,
    /// A list.
    Array,
    /// Names with values.
    Object,
}

impl Type {
    const ALL: [Self; 7] = [
        Self::Null,
        Self::Boolean,
        Self::Integer,
        Self::Number,
        Self::String,
        Self::Array,
        Self::Object,
    ];

    /// As a schema has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    /// The type of a JSON text without blanks around it. A number is a [`Type::Number`], whole or not.
    pub fn of(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// Whether a JSON text without blanks around it is of this type.
    pub fn is_of(self, text: &str) -> bool {
        let kind = Self::of(text);
        self == kind || (self == Self::Integer && kind == Self::Number && is_integer(text))
    }

    /// The types that a schema's `type` names; unknown names are left out.
    pub(crate) fn all_of(names: Option<&Value>) -> Vec<Self> {
        match names {
            Some(Value::Array(names)) => names.iter().filter_map(Self::parse).collect(),
            Some(name) => Self::parse(name).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn parse(name: &Value) -> Option<Self> {
        let name = name.as_str()?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

fn is_integer(text: &str) -> bool {
    let digits_only = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    digits_only
        || text
            .parse::<f64>()
            .is_ok_and(|number| number.is_finite() && number.fract() == 0.0)
}
