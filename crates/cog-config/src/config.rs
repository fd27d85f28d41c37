//! The configuration as values.

use std::path::{Path, PathBuf};

use cog_files::read_project_file;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::{labels, requirements};

/// A `cog.yaml`, checked. As JSON it is what the label `run.cog.config` holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The image's environment; absent if the file has no `build`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// Name of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Repository of image and weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model as `file.py:Name`, from `run` or the older `predict`.
    #[serde(rename = "predict", skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// The trainer as `file.py:Name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Predictions at a time.
    #[serde(
        rename = "concurrency",
        with = "labels::concurrency",
        skip_serializing_if = "Option::is_none"
    )]
    pub concurrency_max: Option<u32>,
    /// Variables of the image, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<EnvironmentVariable>,
    /// Managed weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<Weights>,
}

/// What an image is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    /// Whether the model needs a GPU.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gpu: bool,
    /// The Python version.
    #[serde(skip_serializing_if = "PythonVersion::is_unset")]
    pub python_version: PythonVersion,
    /// The requirements file as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python_requirements: Option<String>,
    /// Requirement lines (older form).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub python_packages: Vec<String>,
    /// Commands of the build, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<RunCommand>,
    /// Debian packages, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub system_packages: Vec<String>,
    /// Commands that run after those (older form).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_install: Vec<String>,
    /// CUDA version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
    /// cuDNN major version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cudnn: Option<String>,
    /// Version of the SDK that the reference would install.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk_version: Option<String>,
}

/// A Python version: `3.11` or `3.11.4`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PythonVersion {
    /// Such as 3.
    pub major: u32,
    /// Such as 11.
    pub minor: u32,
    /// As written, without blanks around it.
    pub text: String,
}

/// A command of the build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "labels::RunForm")]
pub struct RunCommand {
    /// For `/bin/sh -c`.
    pub command: String,
    /// Secrets that it sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
}

/// A secret for a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Always `secret`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which secret.
    pub id: String,
    /// Path in the container.
    pub target: String,
}

/// A variable of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct EnvironmentVariable {
    /// Its name.
    pub name: String,
    /// Its value, exactly as written after the first `=`.
    pub value: String,
}

/// An entry of `weights`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weights {
    /// Unique name.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    /// Where the files come from; at least one.
    #[serde(rename = "source", with = "labels::sources")]
    pub sources: Vec<WeightSource>,
}

/// One source of weights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightSource {
    /// Where from.
    pub uri: String,
    /// Patterns of files to take; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

impl PythonVersion {
    fn is_unset(&self) -> bool {
        self.text.is_empty()
    }
}

impl Config {
    /// Whether the model needs a GPU.
    pub fn gpu(&self) -> bool {
        self.build.as_ref().is_some_and(|build| build.gpu)
    }

    /// The Python version as written.
    pub fn python_version(&self) -> Option<&str> {
        self.build
            .as_ref()
            .map(|build| build.python_version.text.as_str())
    }

    /// Debian packages to install.
    pub fn system_packages(&self) -> &[String] {
        self.build
            .as_ref()
            .map_or(&[], |build| &build.system_packages)
    }

    /// The commands of the build in the order they run: `run`, then `pre_install`.
    pub fn commands(&self) -> Vec<RunCommand> {
        let Some(build) = &self.build else {
            return Vec::new();
        };
        let older = build.pre_install.iter().map(|command| RunCommand {
            command: command.clone(),
            mounts: Vec::new(),
        });
        build.run.iter().cloned().chain(older).collect()
    }

    /// The variables of `environment` as names and values, in order.
    pub fn variables(&self) -> Vec<(String, String)> {
        let pair = |one: &EnvironmentVariable| (one.name.clone(), one.value.clone());
        self.environment.iter().map(pair).collect()
    }

    /// The requirement lines, and the directory that relative paths in them start at.
    pub fn requirement_lines(
        &self,
        project_dir: &Path,
    ) -> Result<(Vec<String>, PathBuf), ConfigError> {
        let Some(build) = &self.build else {
            return Ok((Vec::new(), project_dir.to_owned()));
        };
        match &build.python_requirements {
            None => Ok((
                requirements::lines(&build.python_packages.join("\n")),
                project_dir.to_owned(),
            )),
            Some(file) => {
                let path = project_dir.join(file);
                let text = read_project_file(project_dir, Path::new(file)).map_err(|source| {
                    ConfigError::Unreadable {
                        path: file.into(),
                        source,
                    }
                })?;
                let directory = path.parent().unwrap_or(project_dir).to_owned();
                let beside = |name: &str| {
                    read_project_file(project_dir, &Path::new(file).with_file_name(name)).ok()
                };
                let lines = requirements::lines_of(file, &text, beside);
                let lines = lines.map_err(|reason| ConfigError::Requirements { reason })?;
                Ok((lines, directory))
            }
        }
    }

    /// The configuration as the label `run.cog.config` holds it: JSON without blanks, unset fields left out.
    pub fn to_label(&self) -> String {
        labels::config_text(self)
    }
}
