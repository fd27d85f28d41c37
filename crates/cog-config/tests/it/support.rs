//! Projects in a line of code.

use std::collections::BTreeMap;

use cog_config::{
    CompleteError, Completed, Config, Files, Loaded, Options, complete, requirements,
};

/// A project without a file system.
#[derive(Default)]
pub(crate) struct Project {
    yaml: String,
    files: BTreeMap<String, String>,
    options: Options,
}

impl Files for Project {
    fn exists(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }
}

impl Project {
    /// With this text as cog.yaml.
    pub(crate) fn new(yaml: &str) -> Self {
        Self {
            yaml: yaml.to_owned(),
            ..Self::default()
        }
    }

    /// With a GPU, these fields of `build` and these requirement lines.
    pub(crate) fn gpu(fields: &str, requirements: &[&str]) -> Self {
        Self::build(&format!("gpu: true, {fields}"), requirements)
    }

    /// Without a GPU.
    pub(crate) fn cpu(fields: &str, requirements: &[&str]) -> Self {
        Self::build(fields, requirements)
    }

    fn build(fields: &str, requirements: &[&str]) -> Self {
        let python = if fields.contains("python_version") {
            ""
        } else {
            "python_version: '3.11', "
        };
        let yaml = format!("build: {{{python}python_requirements: requirements.txt, {fields}}}\n");
        let mut project = Self::new(&yaml);
        let text = requirements.join("\n");
        project.files.insert("requirements.txt".to_owned(), text);
        project
    }

    pub(crate) fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    pub(crate) fn load(&self) -> Result<Loaded, cog_config::ConfigError> {
        cog_config::parse(&self.yaml, "cog.yaml", self)
    }

    pub(crate) fn config(&self) -> Config {
        match self.load() {
            Ok(loaded) => loaded.config,
            Err(error) => panic!("{}: {error}", self.yaml),
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.files.get("requirements.txt").cloned();
        requirements::lines(&text.unwrap_or_default())
    }

    pub(crate) fn complete(&self) -> Result<Completed, CompleteError> {
        complete(&self.config(), &self.lines(), &self.options)
    }

    pub(crate) fn completed(&self) -> Completed {
        match self.complete() {
            Ok(completed) => completed,
            Err(error) => panic!("{}{:?}: {error}", self.yaml, self.files),
        }
    }

    pub(crate) fn error(&self) -> String {
        match self.complete() {
            Ok(completed) => panic!("{} is {completed:?}", self.yaml),
            Err(error) => error.to_string(),
        }
    }

    /// What validation says.
    pub(crate) fn invalid(&self) -> String {
        match self.load() {
            Ok(loaded) => panic!("{} is {loaded:?}", self.yaml),
            Err(error) => error.to_string(),
        }
    }
}

/// CUDA and cuDNN, as `11.8/8`.
pub(crate) fn versions(completed: &Completed) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!("{}/{}", text(&completed.cuda), text(&completed.cudnn))
}

pub(crate) fn warnings(completed: &Completed) -> Vec<String> {
    completed.warnings.iter().map(ToString::to_string).collect()
}
