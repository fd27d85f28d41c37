//! The configuration as the JSON of its label. Keys come in a fixed order, unset fields are left out.
//!
//! What is written was checked when it was read from `cog.yaml`; what is read comes from an image that anyone may have
//! made, and is only given its types. Fields that are not known are left out. The keys are those of [`Config`]; here
//! is what is not as in the types.

use serde::{Deserialize, Serialize};

use crate::config::{Config, EnvironmentVariable, Mount, PythonVersion, RunCommand};

pub(crate) fn write(config: &Config) -> String {
    // What has only text for keys can be written as JSON.
    let text = serde_json::to_string(config).unwrap_or_default();
    // As the reference writes it: these three are escaped so that the text can stand in HTML.
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// Numbers that are none count as 0.
impl From<String> for PythonVersion {
    fn from(text: String) -> Self {
        let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
        Self {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next().unwrap_or(0),
            text,
        }
    }
}

impl From<PythonVersion> for String {
    fn from(version: PythonVersion) -> Self {
        version.text
    }
}

impl From<String> for EnvironmentVariable {
    fn from(text: String) -> Self {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        Self {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }
}

impl From<EnvironmentVariable> for String {
    fn from(variable: EnvironmentVariable) -> Self {
        format!("{}={}", variable.name, variable.value)
    }
}

/// A command of the build as it may be read: text, or with what it needs.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum RunForm {
    Text(String),
    Full {
        command: String,
        #[serde(default)]
        mounts: Vec<Mount>,
    },
}

impl From<RunForm> for RunCommand {
    fn from(form: RunForm) -> Self {
        let (command, mounts) = match form {
            RunForm::Text(command) => (command, Vec::new()),
            RunForm::Full { command, mounts } => (command, mounts),
        };
        Self { command, mounts }
    }
}

/// `concurrency`, which is a mapping with `max`.
pub(crate) mod concurrency {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Concurrency {
        max: Option<u32>,
    }

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "serde gives a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(max: &Option<u32>, to: S) -> Result<S::Ok, S::Error> {
        Concurrency { max: *max }.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
        let found = Option::<Concurrency>::deserialize(from)?;
        Ok(found.and_then(|concurrency| concurrency.max))
    }
}

/// One source of weights stands alone, several in a list.
pub(crate) mod sources {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Serialize};
    use crate::config::WeightSource;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sources {
        One(WeightSource),
        Several(Vec<WeightSource>),
    }

    pub(crate) fn serialize<S: Serializer>(all: &[WeightSource], to: S) -> Result<S::Ok, S::Error> {
        match all {
            [one] => one.serialize(to),
            several => several.serialize(to),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<WeightSource>, D::Error> {
        Ok(match Sources::deserialize(from)? {
            Sources::One(one) => vec![one],
            Sources::Several(several) => several,
        })
    }
}
