//! What a step made.

use cog_image::{Layer, StepRecord};
use cog_python::freeze::Freeze;
use serde::{Deserialize, Serialize};

/// The layers of a step, and what labels tell of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutput {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Python packages that are installed with them.
    pub packages: Vec<Freeze>,
}

impl StepOutput {
    /// The output of a step that installs no Python packages.
    pub(crate) fn layer(layer: Layer) -> Self {
        Self {
            layers: vec![layer],
            packages: Vec::new(),
        }
    }

    /// Nothing if the record is of another kind or time: then the step has to be done again.
    pub(crate) fn from_record(record: StepRecord) -> Option<Self> {
        Some(Self {
            layers: record.layers,
            packages: serde_json::from_value(record.facts).ok()?,
        })
    }

    pub(crate) fn to_record(&self) -> StepRecord {
        StepRecord {
            layers: self.layers.clone(),
            facts: serde_json::to_value(&self.packages).expect("names and versions are text"),
        }
    }
}
