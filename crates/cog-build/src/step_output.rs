//! What a step made.

use cog_debian::ListedPackage;
use cog_image::{Layer, StepRecord};
use cog_python::freeze::Freeze;
use serde::{Deserialize, Serialize};

/// The layers of a step, and what labels and locks tell of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutput {
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Python packages that are installed with them.
    pub packages: Vec<Freeze>,
    /// Packages of the distribution that are installed with them, sorted.
    pub system: Vec<ListedPackage>,
}

/// What a record holds besides the layers.
#[derive(Serialize, Deserialize)]
struct Facts {
    packages: Vec<Freeze>,
    system: Vec<ListedPackage>,
}

impl StepOutput {
    /// The output of a step that installs no packages.
    pub(crate) fn layer(layer: Layer) -> Self {
        Self {
            layers: vec![layer],
            ..Self::default()
        }
    }

    /// Nothing if the record is of another kind or time: then the step has to be done again.
    pub(crate) fn from_record(record: StepRecord) -> Option<Self> {
        // Records of steps that installed nothing of the distribution were a list once.
        let facts = if record.facts.is_array() {
            Facts {
                packages: serde_json::from_value(record.facts).ok()?,
                system: Vec::new(),
            }
        } else {
            serde_json::from_value(record.facts).ok()?
        };
        Some(Self {
            layers: record.layers,
            packages: facts.packages,
            system: facts.system,
        })
    }

    pub(crate) fn to_record(&self) -> StepRecord {
        let facts = Facts {
            packages: self.packages.clone(),
            system: self.system.clone(),
        };
        StepRecord {
            layers: self.layers.clone(),
            facts: serde_json::to_value(facts).expect("names and versions are text"),
        }
    }
}
