//! What an image says of itself in its labels: written from values, and read back to them.
//!
//! [`ImageLabels`] is what is written. [`Labels`] reads the labels of an image one by one, as one that is broken is no
//! harm to those who need another. Images come from anywhere: what is read has its types and nothing more.

mod config;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;

pub(crate) use config::{RunForm, concurrency, sources, write as config_text};

const VERSION: &str = "run.cog.version";
const CONFIG: &str = "run.cog.config";
const SCHEMA: &str = "run.cog.openapi_schema";
const FREEZE: &str = "run.cog.pip_freeze";
const HAS_INIT: &str = "run.cog.has_init";
const BASE_NAME: &str = "run.cog.cog-base-image-name";
const BASE_LAYER: &str = "run.cog.cog-base-image-last-layer-sha";
const BASE_INDEX: &str = "run.cog.cog-base-image-last-layer-idx";
const REVISION: &str = "org.opencontainers.image.revision";
const IMAGE_VERSION: &str = "org.opencontainers.image.version";
const PUSH_ID: &str = "run.cog.push_id";
/// Where images of long ago have their configuration.
const OLD_CONFIG: &str = "org.cogmodel.config";

/// What the labels of an image say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageLabels {
    /// The version of the program that made it.
    pub version: String,
    /// The completed configuration.
    pub config: Config,
    /// The text of the model's OpenAPI document; none if the image was made without.
    pub schema: Option<String>,
    /// The Python packages in it, one a line.
    pub pip_freeze: String,
    /// Where its base ends.
    pub base: Option<BaseLayer>,
    /// Which state of the source it was made from.
    pub revision: Revision,
    /// Tells images apart that were made to be pushed; others have none.
    pub push_id: Option<String>,
}

/// The uppermost layer of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseLayer {
    /// The base as people write it.
    pub name: String,
    /// The layer's diff ID.
    pub diff_id: String,
    /// Its place among the image's layers, from 0.
    pub index: usize,
}

/// A state of the source as Git names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// The commit.
    pub commit: Option<String>,
    /// The tag that it has or comes after, and whether there are changes.
    pub description: Option<String>,
}

/// Why a label cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The image was not made by us, nor by the reference.
    #[error("image is not a Cog model")]
    NoModel,
    /// It is a model, but the label is missing or empty.
    #[error("the image's label `{label}` is missing or empty; build the image again")]
    Missing {
        /// Its name.
        label: &'static str,
    },
    /// What it holds is no JSON, or other JSON than it should be.
    #[error("the image's label `{label}` can't be read; build the image again")]
    Unreadable {
        /// Its name.
        label: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// What it holds is no number.
    #[error("the image's label `{label}` is no number; build the image again")]
    NoNumber {
        /// Its name.
        label: &'static str,
        /// What is wrong.
        source: std::num::ParseIntError,
    },
}

/// The labels of an image, to be read.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a>(&'a BTreeMap<String, String>);

impl ImageLabels {
    /// The labels, by their names.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut add = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
        add(VERSION, &self.version);
        add(CONFIG, &config_text(&self.config));
        add(SCHEMA, self.schema.as_deref().unwrap_or_default());
        add(FREEZE, &self.pip_freeze);
        add(HAS_INIT, "true");
        if let Some(base) = &self.base {
            add(BASE_NAME, &base.name);
            add(BASE_LAYER, &base.diff_id);
            add(BASE_INDEX, &base.index.to_string());
        }
        if let Some(commit) = &self.revision.commit {
            add(REVISION, commit);
        }
        if let Some(description) = &self.revision.description {
            add(IMAGE_VERSION, description);
        }
        if let Some(push_id) = &self.push_id {
            add(PUSH_ID, push_id);
        }
        labels
    }
}

impl<'a> Labels<'a> {
    /// Those of an image's configuration.
    pub fn of(labels: &'a BTreeMap<String, String>) -> Self {
        Self(labels)
    }

    /// Whether a label of this name is one of those that are read here.
    pub fn knows(label: &str) -> bool {
        [
            VERSION,
            CONFIG,
            SCHEMA,
            FREEZE,
            HAS_INIT,
            BASE_NAME,
            BASE_LAYER,
            BASE_INDEX,
            REVISION,
            IMAGE_VERSION,
            OLD_CONFIG,
        ]
        .contains(&label)
    }

    /// All that they say.
    pub fn read(self) -> Result<ImageLabels, LabelError> {
        Ok(ImageLabels {
            config: self.config()?,
            version: self.version().unwrap_or_default().to_owned(),
            schema: self.filled(SCHEMA).map(str::to_owned),
            pip_freeze: self.pip_freeze().to_owned(),
            base: self.base()?,
            revision: self.revision(),
            push_id: self.filled(PUSH_ID).map(str::to_owned),
        })
    }

    /// The completed configuration of the model.
    pub fn config(self) -> Result<Config, LabelError> {
        let (label, text) = self.config_label().ok_or(LabelError::NoModel)?;
        parsed(label, text)
    }

    /// The model's OpenAPI document.
    pub fn schema(self) -> Result<Value, LabelError> {
        match self.filled(SCHEMA) {
            Some(text) => parsed(SCHEMA, text),
            None if self.is_model() => Err(LabelError::Missing { label: SCHEMA }),
            None => Err(LabelError::NoModel),
        }
    }

    /// The version of the program that made the image.
    pub fn version(self) -> Option<&'a str> {
        self.filled(VERSION)
    }

    /// The Python packages in it, one a line; empty if that is not known.
    pub fn pip_freeze(self) -> &'a str {
        self.filled(FREEZE).unwrap_or_default()
    }

    /// Where its base ends; none if that is not said.
    pub fn base(self) -> Result<Option<BaseLayer>, LabelError> {
        let (Some(name), Some(diff_id)) = (self.filled(BASE_NAME), self.filled(BASE_LAYER)) else {
            return Ok(None);
        };
        let label = BASE_INDEX;
        let text = self.filled(label).ok_or(LabelError::Missing { label })?;
        let index = text
            .parse()
            .map_err(|source| LabelError::NoNumber { label, source })?;
        Ok(Some(BaseLayer {
            name: name.to_owned(),
            diff_id: diff_id.to_owned(),
            index,
        }))
    }

    /// Which state of the source it was made from, as far as it is said.
    pub fn revision(self) -> Revision {
        Revision {
            commit: self.filled(REVISION).map(str::to_owned),
            description: self.filled(IMAGE_VERSION).map(str::to_owned),
        }
    }

    fn is_model(self) -> bool {
        self.config_label().is_some() || self.0.contains_key(SCHEMA)
    }

    fn config_label(self) -> Option<(&'static str, &'a str)> {
        let filled = |label| Some((label, self.filled(label)?));
        filled(CONFIG).or_else(|| filled(OLD_CONFIG))
    }

    fn filled(self, label: &str) -> Option<&'a str> {
        let text = self.0.get(label).map(String::as_str);
        text.filter(|text| !text.is_empty())
    }
}

fn parsed<T: DeserializeOwned>(label: &'static str, text: &str) -> Result<T, LabelError> {
    serde_json::from_str(text).map_err(|source| LabelError::Unreadable { label, source })
}

#[cfg(test)]
mod tests;
