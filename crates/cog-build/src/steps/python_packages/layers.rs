//! The layers of an environment. Each is remembered by what is in it, so that a changed requirement
//! neither reads nor compresses again what stayed.

use std::collections::HashSet;

use cog_image::{Entry, EntryKind, Layer, StepKey, StepRecord};

use super::compile::{CompileJob, Compiled, compile};
use super::skeleton::skeleton;
use super::{Packages, Staging};
use crate::architecture::Architecture;
use crate::context::{self, directory};
use crate::error::Result;
use crate::executor::Executor;
use crate::plan::{BasePackages, Bytecode, KeyBuilder, key, list};
use cog_python::distribution::{Distribution, File, Source};
use cog_python::groups;
use cog_python::requirements::{ARTIFACTS_DIR, normalise};
use cog_python::resolution::Pinned;
use cog_python::venv::VENV;

const RECIPE: u32 = 4;

/// Packages that no model imports: compiling them would take longer than all else of a small project.
const INSTALLERS: [&str; 3] = ["pip", "setuptools", "wheel"];

/// The rewritten requirements, for people who look into the image.
const REQUIREMENTS: &str = "tmp/requirements.txt";

/// Makes the layers of `distributions`, lowest first.
pub(super) fn make(
    executor: &Executor<'_>,
    packages: &Packages<'_>,
    staging: &Staging,
    distributions: &[Distribution],
) -> Result<Vec<Layer>> {
    let groups = groups::split(distributions, packages.step.layer_limit);
    let shared = groups.len() - 1;
    let mut slots = Vec::new();
    for (number, group) in groups.into_iter().enumerate() {
        let (extra, extra_id) = if number == shared {
            (frame(packages, staging), frame_id(packages))
        } else {
            (Vec::new(), String::new())
        };
        let key = group_key(executor, packages, &group)
            .field("frame", extra_id)
            .finish();
        let known = executor
            .recorded(&key)?
            .and_then(|mut record| record.layers.pop());
        slots.push(Slot {
            key,
            group,
            extra,
            layer: known,
        });
    }
    let missing = slots.iter().filter(|slot| slot.layer.is_none());
    let job = CompileJob {
        interpreter: &packages.step.interpreter,
        base: packages.base,
        packages: missing
            .flat_map(|slot| &slot.group)
            .filter(|one| !INSTALLERS.contains(&&*normalise(&one.freeze.name)))
            .map(|one| one.files.as_slice())
            .collect(),
        root: staging.root(),
        bytecode: packages.step.bytecode,
    };
    if job.bytecode == Bytecode::Absent && !job.packages.is_empty() {
        executor.notice(&why_absent(executor));
    }
    let compiled = compile(executor, &job)?;
    let total = slots.len();
    let filled = slots.into_iter().enumerate().map(|(number, slot)| {
        executor.doing(&format!(
            "layer {} of {total}: {}",
            number + 1,
            slot.title()
        ));
        slot.fill(executor, &compiled)
    });
    filled.collect()
}

/// Why nothing is compiled.
fn why_absent(executor: &Executor<'_>) -> String {
    if executor.here.is_none() {
        return "no container can run here: Python packages are not compiled ahead".to_owned();
    }
    format!(
        "Python packages for {} are not compiled ahead: the base has no image for {} with the same Python, which would do it",
        executor.architecture,
        Architecture::host()
    )
}

/// A layer that is there or to be made.
struct Slot<'a> {
    key: StepKey,
    group: Vec<&'a Distribution>,
    extra: Vec<Entry>,
    layer: Option<Layer>,
}

impl Slot<'_> {
    fn title(&self) -> String {
        match self.group.as_slice() {
            [one] if one.size >= groups::LARGE => {
                format!("{} {}", one.freeze.name, one.freeze.version)
            }
            _ => "python packages".to_owned(),
        }
    }

    fn fill(self, executor: &Executor<'_>, compiled: &Compiled) -> Result<Layer> {
        if let Some(layer) = self.layer {
            return Ok(layer);
        }
        let title = format!("cog: {}", self.title());
        let mut entries = self.extra;
        for distribution in &self.group {
            let compiled = compiled.of(&distribution.files)?;
            // Some wheels bring compiled files, made for other times and places of their sources.
            let replaced: HashSet<&str> = compiled.iter().map(|file| file.path.as_str()).collect();
            let own = distribution.files.iter();
            let kept = own.filter(|file| !replaced.contains(&*file.path)).cloned();
            entries.extend(kept.chain(compiled.iter().cloned()).map(entry));
        }
        let layer = executor
            .store
            .add_layer_from_entries(entries, &executor.layer_options(title))?;
        let record = StepRecord {
            layers: vec![layer.clone()],
            facts: serde_json::Value::Null,
        };
        executor.store.record_step(&self.key, &record)?;
        Ok(layer)
    }
}

/// What the layer of `group` depends on. The hashes of the wheels are part of it, not only those in
/// their `RECORD`s, because nobody checks that a `RECORD` tells the truth.
fn group_key(
    executor: &Executor<'_>,
    packages: &Packages<'_>,
    group: &[&Distribution],
) -> KeyBuilder {
    // What compiled files are like depends on the exact Python.
    let compiler = match packages.step.bytecode {
        Bytecode::Compiled => packages.base.compiler_id(),
        Bytecode::Absent => String::new(),
    };
    let key = key("python layer", RECIPE)
        .field("interpreter", &packages.step.interpreter.path)
        .field("compiler", compiler)
        .field("timestamp", executor.timestamp.to_string())
        .field("compression", format!("{:?}", executor.compression));
    let parts = group.iter().flat_map(|one| {
        let pin = packages
            .step
            .python
            .resolution
            .pin(&normalise(&one.freeze.name));
        let identity = pin.map(Pinned::identity).unwrap_or_default();
        [identity, one.fingerprint.clone()]
    });
    list(key, "distribution", parts)
}

/// Identifies what [`frame`] makes.
fn frame_id(packages: &Packages<'_>) -> String {
    let artifacts = packages.step.python.requirements.artifacts.iter();
    let hashes: Vec<&str> = artifacts.map(|artifact| artifact.sha256.as_str()).collect();
    let programs: Vec<String> = packages
        .step
        .programs
        .iter()
        .map(|one| format!("\n{}\n{}", one.name, one.text()))
        .collect();
    let below = match packages.step.below {
        BasePackages::Seen => "base seen",
        BasePackages::Hidden => "",
    };
    format!(
        "{}{}{below}{}",
        packages.step.python.requirements.text(),
        hashes.join(" "),
        programs.concat()
    )
}

/// What makes the environment one, and where its packages came from.
fn frame(packages: &Packages<'_>, staging: &Staging) -> Vec<Entry> {
    let mut entries = skeleton(&packages.step.interpreter, packages.step.below);
    let programs = packages.step.programs.iter();
    entries.extend(programs.map(|program| Entry {
        path: format!("{VENV}/bin/{}", program.name).into(),
        kind: EntryKind::Bytes(program.text().into_bytes()),
        mode: 0o755,
    }));
    entries.push(context::temporary_folder());
    entries.push(Entry {
        path: REQUIREMENTS.into(),
        kind: EntryKind::Bytes(packages.step.python.requirements.text().into_bytes()),
        mode: 0o644,
    });
    if !packages.step.python.requirements.artifacts.is_empty() {
        entries.push(directory(ARTIFACTS_DIR.trim_start_matches('/')));
    }
    for artifact in &packages.step.python.requirements.artifacts {
        entries.push(Entry {
            path: artifact.image_path().trim_start_matches('/').into(),
            kind: EntryKind::File(staging.artifacts().join(&artifact.project_path)),
            mode: 0o644,
        });
    }
    entries
}

/// `file` as an entry of a layer.
pub(crate) fn entry(file: File) -> Entry {
    let kind = match file.source {
        Source::Staged(path) => EntryKind::File(path),
        Source::Content(content) => EntryKind::Bytes(content),
    };
    let mode = if file.executable { 0o755 } else { 0o644 };
    Entry {
        path: file.path.into(),
        kind,
        mode,
    }
}
