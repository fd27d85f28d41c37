//! From a configuration and its requirement lines to [`Completed`]: every default decided, by the tables alone.
//!
//! Pure: no file, network, clock or variable. What the outside world has to say (whether an image exists, which
//! wheels there are) comes later and changes none of these decisions; it only chooses among [`Completed::bases`].
//! Start reading at [`complete`].

mod base;
mod cuda;
mod error;
mod prebuilt;
mod rewrite;
mod torch_index;

use cog_errors::redact_url;
use serde::{Serialize, Serializer};

use crate::config::{Build, Config, PythonVersion};
use crate::requirements;

pub use base::{BaseCandidate, BaseKind, is_in_cog_base};
pub use error::{CompleteError, CompleteWarning};
pub use prebuilt::{Prebuilt, PrebuiltFilter, prebuilt_images};

/// The Python of projects that name none.
const DEFAULT_PYTHON: &str = "3.13";
/// The registry that has `cog-base`, unless another is named.
pub const DEFAULT_REGISTRY: &str = "r8.im";
/// The oldest SDK that models can ask for.
const OLDEST_SDK: [u64; 3] = [0, 16, 0];

/// What is chosen outside of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--use-cog-base-image`.
    pub cog_base: CogBase,
    /// `--use-cuda-base-image`.
    pub cuda_base: CudaBase,
    /// The registry that has `cog-base`.
    pub registry_host: String,
    /// Predictions at a time by the model's source (`@cog.concurrent`); the configuration goes before it.
    pub decorated_concurrency: Option<u32>,
}

/// Whether a prebuilt `cog-base` image is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CogBase {
    /// Where there is one that fits.
    #[default]
    Preferred,
    /// Always: that there is none is an error.
    Required,
    /// Never.
    Off,
}

/// Whether a GPU project is built on an image with CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CudaBase {
    /// Yes.
    #[default]
    Auto,
    /// On Python's own image instead.
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cog_base: CogBase::default(),
            cuda_base: CudaBase::default(),
            registry_host: DEFAULT_REGISTRY.to_owned(),
            decorated_concurrency: None,
        }
    }
}

/// A project with every default decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Completed {
    /// Its Python.
    pub python: Python,
    /// Whether the model needs a GPU.
    pub gpu: bool,
    /// CUDA: as written, or major and minor.
    pub cuda: Option<String>,
    /// cuDNN's major version.
    pub cudnn: Option<String>,
    /// The PyTorch that the requirements name.
    pub torch: Option<Framework>,
    /// The TensorFlow that the requirements name.
    pub tensorflow: Option<Framework>,
    /// The package index of PyTorch's wheels, where it isn't the default one.
    #[serde(serialize_with = "shown_url")]
    pub torch_index: Option<String>,
    /// What is installed: places to look first, then options and packages in the order of the project. Serialised
    /// without passwords in URLs.
    #[serde(serialize_with = "shown_lines")]
    pub requirements: Vec<String>,
    /// Images to build on, the best first. Which of those with a reference exist is for others to ask.
    pub bases: Vec<BaseCandidate>,
    /// Predictions at a time, if the project says so.
    pub concurrency: Option<u32>,
    /// The SDK that the project asks for.
    pub sdk_version: Option<String>,
    /// How it came to this, in order.
    pub decisions: Vec<Decision>,
    /// What the user should know, in order.
    #[serde(serialize_with = "error::as_texts")]
    pub warnings: Vec<CompleteWarning>,
}

/// A project's Python.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Python {
    /// As written: `3.11` or `3.11.4`.
    pub version: String,
    /// Without a patch: `3.11`.
    pub minor: String,
}

/// A framework that the requirements name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Framework {
    /// Its version as the project writes it; empty if it leaves it open.
    pub requested: String,
    /// The exact version that is installed, where a line pins it.
    pub pinned: Option<String>,
}

/// One decision and why it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What was decided: `python`, `cuda`, `cudnn`, `torch`, `torchvision`, `torch index`, `base`, …
    pub subject: &'static str,
    /// The value.
    pub value: String,
    /// Why, as a phrase.
    pub reason: String,
}

/// The PyTorch wheel that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchWheel {
    /// Its exact version.
    pub version: String,
    /// The CUDA that it is built for.
    pub cuda: Option<String>,
}

impl Completed {
    /// The configuration with what was completed filled in, as the image's label has it.
    pub fn fill_in(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let Some(build) = &mut config.build {
            build.cuda.clone_from(&self.cuda);
            build.cudnn.clone_from(&self.cudnn);
        }
        config.concurrency_max = self.concurrency;
        config
    }

    /// The PyTorch wheel that is installed, where a line pins it: built for the CUDA of its index, else for the
    /// configured one.
    pub fn torch_wheel(&self) -> Option<TorchWheel> {
        let version = self.torch.as_ref()?.pinned.clone()?;
        let cuda = self
            .torch_index
            .as_deref()
            .map_or_else(|| self.cuda.clone(), crate::cuda::cuda_of_index);
        Some(TorchWheel { version, cuda })
    }

    /// The base to build on by the tables: the first that there can be.
    pub fn base(&self) -> Result<&BaseCandidate, CompleteError> {
        let usable = self.bases.iter().find(|base| base.reference.is_some());
        usable.ok_or_else(|| CompleteError::NoBase {
            reason: self
                .bases
                .last()
                .map(|base| base.reason.clone())
                .unwrap_or_default(),
        })
    }
}

/// Decides everything that cog.yaml leaves open. `lines` are the requirement lines as [`Config::requirement_lines`]
/// gives them.
pub fn complete(
    config: &Config,
    lines: &[String],
    options: &Options,
) -> Result<Completed, CompleteError> {
    let mut notes = Notes::default();
    let build = config.build.clone().unwrap_or_default();
    let python = python(&build.python_version, &mut notes);
    let sdk_version = sdk_version(&build, &mut notes)?;
    let found = Found::in_lines(lines);
    let cuda::Cuda { cuda, cudnn } = cuda::complete(&build, &found, &mut notes)?;
    let rewritten = rewrite::rewrite(lines, build.gpu, cuda.as_deref(), &mut notes);
    let bases = base::candidates(
        &base::Wanted {
            python: &python,
            gpu: build.gpu,
            cuda: cuda.as_deref(),
            cudnn: cudnn.as_deref(),
            torch: found.torch.as_deref(),
            system_packages: &build.system_packages,
        },
        options,
        &mut notes,
    )?;
    let concurrency = concurrency(config, options, &mut notes);
    let framework = |requested: Option<String>, name: &str| {
        requested.map(|requested| Framework {
            pinned: rewritten.pinned(name),
            requested,
        })
    };
    Ok(Completed {
        torch: framework(found.torch, "torch"),
        tensorflow: framework(found.tensorflow, "tensorflow"),
        python,
        gpu: build.gpu,
        cuda,
        cudnn,
        torch_index: rewritten.torch_index.clone(),
        requirements: rewritten.lines,
        bases,
        concurrency,
        sdk_version,
        decisions: notes.decisions,
        warnings: notes.warnings,
    })
}

/// The frameworks in the requirements, with their versions as written.
struct Found {
    torch: Option<String>,
    tensorflow: Option<String>,
}

impl Found {
    fn in_lines(lines: &[String]) -> Self {
        // Of a URL only what identifies the file is used and shown; the rest may be a password.
        let version = |name: &str| requirements::version_of(lines, name).map(redact_url);
        Self {
            torch: version("torch"),
            tensorflow: version("tensorflow"),
        }
    }
}

/// What is said along the way.
#[derive(Default)]
struct Notes {
    decisions: Vec<Decision>,
    warnings: Vec<CompleteWarning>,
}

impl Notes {
    fn decide(
        &mut self,
        subject: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) {
        self.decisions.push(Decision {
            subject,
            value: value.into(),
            reason: reason.into(),
        });
    }

    fn warn(&mut self, warning: CompleteWarning) {
        self.warnings.push(warning);
    }
}

fn shown_lines<S: Serializer>(lines: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let words = |line: &String| {
        let words = line.split(' ').map(|word| match word.split_once("://") {
            // An option may stand before the URL: `--index-url=https://…`.
            Some((before, _)) => {
                let scheme = before.rfind('=').map_or(0, |equals| equals + 1);
                format!("{}{}", &word[..scheme], redact_url(&word[scheme..]))
            }
            None => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    serializer.collect_seq(lines.iter().map(words))
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn shown_url<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(redact_url).serialize(serializer)
}

fn python(version: &PythonVersion, notes: &mut Notes) -> Python {
    if version.text.is_empty() {
        notes.decide(
            "python",
            DEFAULT_PYTHON,
            "cog.yaml has no `build.python_version`",
        );
        return Python {
            version: DEFAULT_PYTHON.to_owned(),
            minor: DEFAULT_PYTHON.to_owned(),
        };
    }
    notes.decide("python", &version.text, "`build.python_version`");
    Python {
        version: version.text.clone(),
        minor: format!("{}.{}", version.major, version.minor),
    }
}

/// An SDK that is older than what any server of today talks to is refused; what else is asked for is for the
/// builder to honour.
fn sdk_version(build: &Build, notes: &mut Notes) -> Result<Option<String>, CompleteError> {
    let Some(version) = build.sdk_version.as_deref().map(str::trim) else {
        return Ok(None);
    };
    if version.is_empty() {
        return Ok(None);
    }
    let parsed = version.parse::<pep440_rs::Version>();
    if parsed.is_ok_and(|version| version < pep440_rs::Version::new(OLDEST_SDK)) {
        return Err(CompleteError::OldSdk {
            version: version.to_owned(),
        });
    }
    notes.decide("sdk", version, "`build.sdk_version`");
    Ok(Some(version.to_owned()))
}

fn concurrency(config: &Config, options: &Options, notes: &mut Notes) -> Option<u32> {
    let (value, reason) = match (config.concurrency_max, options.decorated_concurrency) {
        (Some(max), _) => (max, "`concurrency.max`"),
        (None, Some(max)) => (max, "`@cog.concurrent` in the model's source"),
        (None, None) => return None,
    };
    notes.decide("concurrency", value.to_string(), reason);
    Some(value)
}
