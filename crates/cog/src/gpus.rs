//! Which GPUs a command gets: by its flag, else by what the project or the image says.

use std::collections::BTreeMap;

use cog_config::{LabelError, Labels};
use cog_engine::{Engine, GpuHost, GpuRequest, Gpus, Isolation};

use crate::args::GpuFlags;
use crate::session::{Project, Session};

/// Whether a model says that it needs GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Yes,
    No,
}

impl Wanted {
    pub(crate) fn by_project(project: &Project) -> Self {
        Self::from(project.config.gpu())
    }

    /// An image that does not say what it needs gets no GPUs by itself.
    pub(crate) fn by_labels(labels: &BTreeMap<String, String>) -> Result<Self, LabelError> {
        match Labels::of(labels).config() {
            Ok(config) => Ok(Self::from(config.gpu())),
            Err(LabelError::NoModel) => Ok(Self::No),
            Err(error) => Err(error),
        }
    }
}

impl From<bool> for Wanted {
    fn from(wanted: bool) -> Self {
        if wanted { Self::Yes } else { Self::No }
    }
}

/// The GPUs; says what should be known about them.
pub(crate) fn find(
    session: &Session<'_>,
    flags: &GpuFlags,
    engine: &dyn Engine,
    wanted: Wanted,
) -> anyhow::Result<Gpus> {
    let host = GpuHost::of_this_machine();
    let found = choose(&host, flags, engine.isolation(), wanted)?;
    for warning in found.gpus.warnings().iter().chain(&found.warning) {
        session.printer.warning(warning);
    }
    for note in found.gpus.notes() {
        session.printer.debug(note);
    }
    Ok(found.gpus)
}

#[derive(Debug, Default)]
struct Found {
    gpus: Gpus,
    warning: Option<String>,
}

/// A model that wants GPUs and finds none runs on the CPU, which is said; a flag is never overruled.
fn choose(
    host: &GpuHost,
    flags: &GpuFlags,
    isolation: Isolation,
    wanted: Wanted,
) -> anyhow::Result<Found> {
    let request = match (&flags.gpus, wanted) {
        (Some(text), _) => text.parse()?,
        (None, Wanted::Yes) => GpuRequest::All,
        (None, Wanted::No) => return Ok(Found::default()),
    };
    let found = match isolation {
        Isolation::Container => host.find(&request),
        Isolation::None => host.find_on_host(&request),
        // It says so if it has none.
        Isolation::Daemon => Ok(Gpus::of_daemon(request, flags.gpus.is_some())),
    };
    match found {
        Ok(gpus) => Ok(Found {
            gpus,
            warning: None,
        }),
        Err(error) if flags.gpus.is_none() && error.is_absence() => Ok(Found {
            gpus: Gpus::default(),
            warning: Some(format!(
                "Missing device driver, re-trying without GPU: {error}, so the model runs on the CPU"
            )),
        }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SPECIFICATION: &str = r#"{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "all",
        "containerEdits": {"deviceNodes": [{"path": "/dev/fake0", "hostPath": "/dev/zero"}]}}]}"#;

    fn flags(text: Option<&str>) -> GpuFlags {
        GpuFlags {
            gpus: text.map(str::to_owned),
        }
    }

    /// A machine with or without a device.
    fn host(root: &Path, specification: Option<&str>) -> GpuHost {
        if let Some(text) = specification {
            fs_err::write(root.join("gpu.json"), text).unwrap();
        }
        GpuHost::at(root, vec![root.to_owned()])
    }

    #[test]
    fn a_model_that_wants_gpus_runs_without_and_a_flag_insists() {
        let root = tempfile::tempdir().unwrap();
        let host = host(root.path(), None);
        for isolation in [Isolation::Container, Isolation::None] {
            let choose = |text, wanted| choose(&host, &flags(text), isolation, wanted);
            let found = choose(None, Wanted::Yes).unwrap();
            let warning = found.warning.unwrap();
            assert!(
                warning.starts_with("Missing device driver, re-trying without GPU"),
                "{warning}"
            );
            assert!(warning.contains("CPU") && found.gpus.is_empty());
            assert!(choose(None, Wanted::No).unwrap().warning.is_none());
            assert!(choose(Some("0"), Wanted::Yes).unwrap().warning.is_none());
            for insisted in ["all", "1"] {
                let error = choose(Some(insisted), Wanted::No).unwrap_err().to_string();
                assert_eq!(error, "no NVIDIA driver is loaded on this machine");
            }
            let error = choose(Some("some"), Wanted::No).unwrap_err().to_string();
            assert!(
                error.starts_with("invalid GPU specification: \"some\""),
                "{error}"
            );
        }
    }

    #[test]
    fn a_model_that_wants_gpus_gets_all() {
        let root = tempfile::tempdir().unwrap();
        let host = host(root.path(), Some(SPECIFICATION));
        let found = choose(&host, &flags(None), Isolation::Container, Wanted::Yes).unwrap();
        assert!(!found.gpus.is_empty() && found.warning.is_none());
        assert!(
            choose(&host, &flags(None), Isolation::Container, Wanted::No)
                .unwrap()
                .gpus
                .is_empty()
        );
    }
}
