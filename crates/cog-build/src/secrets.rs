//! `--secret`: values that build commands may read and layers never hold.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// A `--secret` that cannot be understood or read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// `type` is neither `file` nor `env`.
    #[error("unsupported secret type \"{0}\"")]
    UnsupportedType(String),
    /// A field without `=`.
    #[error("invalid field \"{0}\" must be a key=value pair")]
    NotAPair(String),
    /// A field with an unknown key.
    #[error("unexpected key '{key}' in '{field}'")]
    UnexpectedKey {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
    },
    /// No `id`.
    #[error("secret \"{0}\" has no id: write it as `id=NAME,src=FILE`")]
    MissingId(String),
    /// A quote that is opened and not closed.
    #[error("secret \"{0}\" has an unclosed quote")]
    UnclosedQuote(String),
    /// Two secrets of the same name.
    #[error("secret `{0}` is given more than once")]
    Duplicate(String),
    /// The variable is not set.
    #[error("secret `{id}` needs the environment variable `{variable}`, which is not set")]
    VariableUnset {
        /// The secret's name.
        id: String,
        /// The variable.
        variable: String,
    },
    /// The file cannot be read.
    #[error("could not read secret `{id}`")]
    Unreadable {
        /// The secret's name.
        id: String,
        #[source]
        /// Why.
        source: std::io::Error,
    },
}

/// One `--secret`: its name and where its value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The name that a mount in `build.run` refers to.
    pub id: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Variable(String),
}

/// A secret's bytes. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Vec<u8>);

impl SecretValue {
    /// A value that is already there.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(value.into())
    }

    /// The bytes, for writing into a mount.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The fields of `text`. Readers of CSV take what follows an open quote for its content; here it is a slip.
fn split(text: &str) -> Result<csv::StringRecord, SecretError> {
    let unclosed = || SecretError::UnclosedQuote(text.to_owned());
    if text.matches('"').count() % 2 == 1 {
        return Err(unclosed());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let record = reader.records().next().transpose();
    Ok(record.map_err(|_| unclosed())?.unwrap_or_default())
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue(…)")
    }
}

impl Secret {
    /// Parses a `--secret` value: comma-separated `key=value` fields, quoted as in CSV.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let mut fields = Fields::default();
        for field in &split(text)? {
            fields.set(field)?;
        }
        fields.into_secret(text)
    }

    /// Parses all `--secret` values; a name may come once.
    pub fn parse_all<'a>(
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Self>, SecretError> {
        let mut secrets: Vec<Self> = Vec::new();
        for text in texts {
            let secret = Self::parse(text)?;
            if secrets.iter().any(|other| other.id == secret.id) {
                return Err(SecretError::Duplicate(secret.id));
            }
            secrets.push(secret);
        }
        Ok(secrets)
    }

    /// Reads the value; a relative file is looked for in `project_dir`.
    pub fn read(
        &self,
        project_dir: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<SecretValue, SecretError> {
        match &self.source {
            Source::File(path) => fs_err::read(project_dir.join(path))
                .map(SecretValue)
                .map_err(|source| SecretError::Unreadable {
                    id: self.id.clone(),
                    source,
                }),
            Source::Variable(name) => variable(name)
                .map(|value| SecretValue(value.into_encoded_bytes()))
                .ok_or_else(|| SecretError::VariableUnset {
                    id: self.id.clone(),
                    variable: name.clone(),
                }),
        }
    }
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    id: Option<String>,
    source: Option<String>,
    variable: Option<String>,
}

impl Fields {
    fn set(&mut self, field: &str) -> Result<(), SecretError> {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| SecretError::NotAPair(field.to_owned()))?;
        let slot = match key.to_ascii_lowercase().as_str() {
            "type" => {
                if !matches!(value, "file" | "env") {
                    return Err(SecretError::UnsupportedType(value.to_owned()));
                }
                &mut self.kind
            }
            "id" => &mut self.id,
            "source" | "src" => &mut self.source,
            "env" => &mut self.variable,
            _ => {
                return Err(SecretError::UnexpectedKey {
                    key: key.to_owned(),
                    field: field.to_owned(),
                });
            }
        };
        *slot = Some(value.to_owned());
        Ok(())
    }

    /// As Docker resolves it: an explicit variable wins; `type=env` with only a source names a
    /// variable; without a source the name itself is the variable, if set, or the file.
    fn into_secret(self, text: &str) -> Result<Secret, SecretError> {
        let id = self
            .id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| SecretError::MissingId(text.to_owned()))?;
        let is_env = self.kind.as_deref() == Some("env");
        let source = match (self.variable, self.source) {
            (Some(variable), _) => Source::Variable(variable),
            (None, Some(source)) if is_env => Source::Variable(source),
            (None, Some(source)) => Source::File(PathBuf::from(source)),
            (None, None) if is_env => Source::Variable(id.clone()),
            (None, None) => Source::File(PathBuf::from(&id)),
        };
        Ok(Secret { id, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str, path: &str) -> Secret {
        Secret {
            id: id.to_owned(),
            source: Source::File(path.into()),
        }
    }

    fn variable(id: &str, name: &str) -> Secret {
        Secret {
            id: id.to_owned(),
            source: Source::Variable(name.to_owned()),
        }
    }

    #[test]
    fn parses_every_form() {
        let table = [
            ("id=a,src=b.txt", file("a", "b.txt")),
            ("type=file,id=a,source=b.txt", file("a", "b.txt")),
            ("id=a,type=env,env=TOKEN", variable("a", "TOKEN")),
            ("id=a,env=TOKEN", variable("a", "TOKEN")),
            ("type=env,id=a,src=TOKEN", variable("a", "TOKEN")),
            ("type=env,id=TOKEN", variable("TOKEN", "TOKEN")),
            ("id=a", file("a", "a")),
            ("id=a,\"src=b, c.txt\"", file("a", "b, c.txt")),
            ("id=a,\"src=say \"\"hi\"\"\"", file("a", "say \"hi\"")),
            ("ID=a,SRC=x=y", file("a", "x=y")),
        ];
        for (text, expected) in table {
            assert_eq!(Secret::parse(text).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn rejects_with_the_documented_texts() {
        let table = [
            ("type=vault,id=a", "unsupported secret type \"vault\""),
            ("id", "invalid field \"id\" must be a key=value pair"),
            ("id=a,colour=red", "unexpected key 'colour' in 'colour=red'"),
            (
                "src=a",
                "secret \"src=a\" has no id: write it as `id=NAME,src=FILE`",
            ),
            ("id=\"a", "secret \"id=\"a\" has an unclosed quote"),
        ];
        for (text, expected) in table {
            assert_eq!(Secret::parse(text).expect_err(text).to_string(), expected);
        }
        let twice = Secret::parse_all(["id=a", "id=a,src=b"]).expect_err("the name repeats");
        assert_eq!(twice.to_string(), "secret `a` is given more than once");
    }

    #[test]
    fn reads_files_and_variables() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs_err::write(folder.path().join("s.txt"), "hidden").expect("written");
        let none = |_: &str| None;
        let value = file("a", "s.txt")
            .read(folder.path(), none)
            .expect("the file is there");
        assert_eq!(value.expose(), b"hidden");
        assert_eq!(format!("{value:?}"), "SecretValue(…)");
        let set = |name: &str| (name == "T").then(|| OsString::from("x"));
        assert_eq!(
            variable("a", "T")
                .read(folder.path(), set)
                .expect("set")
                .expose(),
            b"x"
        );
        let unset = variable("a", "U")
            .read(folder.path(), set)
            .expect_err("not set");
        assert!(
            unset.to_string().contains("`U`, which is not set"),
            "{unset}"
        );
        assert!(file("a", "missing").read(folder.path(), none).is_err());
    }
}
