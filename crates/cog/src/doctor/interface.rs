//! `predict: predict.py:Predictor`, and the names that are used now.

use anyhow::{Context as _, bail};
use cog_schema::modernize;

use super::finding::Finding;
use super::subject::{Reference, Subject, put, regular};

const OLD_FIELD: &str = "predict";
const OLD_REFERENCE: &str = "predict.py:Predictor";
const OLD_FILE: &str = "predict.py";
const NEW_FIELD: &str = "run";
const NEW_REFERENCE: &str = "run.py:Runner";
const NEW_FILE: &str = "run.py";
const TRAIN: &str = "train";

pub(super) fn find(subject: &Subject) -> Vec<Finding> {
    let Some(reference) = subject.fields.text(OLD_FIELD) else {
        return leftover(subject).into_iter().collect();
    };
    let remediation = "Rename the class to Runner, its base to BaseRunner, its method to run() and the file to run.py";
    let field = Finding::warning("predict in cog.yaml is deprecated; use run with run.py:Runner")
        .at(subject.config_name(), subject.line(OLD_FIELD))
        .with_remediation(remediation);
    let mut found = vec![field];
    if reference == OLD_REFERENCE
        && let Some(source) = subject.source(OLD_FILE)
        && let Ok(Some(line)) = modernize::old_runner(&source, OLD_FILE)
    {
        let names = "predict.py uses deprecated Predictor/BasePredictor/predict() names";
        let names = Finding::warning(names).at(OLD_FILE, line);
        found.push(names.with_remediation(remediation));
    }
    found
}

/// The old file, where a migration was killed before its last step.
fn leftover(subject: &Subject) -> Option<Finding> {
    let is_migrated = subject.fields.text(NEW_FIELD) == Some(NEW_REFERENCE);
    let is_used = |reference: &Reference| reference.file == OLD_FILE;
    if !is_migrated || subject.references().iter().any(is_used) || !has_made_the_new(subject) {
        return None;
    }
    let found = Finding::warning("predict.py is left over: run.py was made of it");
    Some(found.at(OLD_FILE, None).with_remediation("Remove it"))
}

/// Whether the new file is what the old one becomes.
fn has_made_the_new(subject: &Subject) -> bool {
    let (old, new) = (subject.source(OLD_FILE), subject.source(NEW_FILE));
    let made = old.and_then(|old| modernize::to_runner(&old, OLD_FILE).ok());
    made.is_some() && made == new
}

/// The file, the class, its method and its base get the names that are used now. Whenever this is killed, the project works,
/// and the next time goes on from there.
pub(super) fn fix(subject: &Subject) -> anyhow::Result<()> {
    let (fields, config_name) = (&subject.fields, subject.config_name());
    if leftover(subject).is_some() {
        check_importers(subject)?;
        return Ok(subject.folder()?.remove_entry(OLD_FILE.as_ref())?);
    }
    if fields.text(NEW_FIELD).is_some() {
        bail!("{config_name} has `run`, too: remove the one that is not meant");
    }
    if fields.text(OLD_FIELD) != Some(OLD_REFERENCE) {
        bail!("Manual migration required: automatic migration only supports predict.py:Predictor");
    }
    if subject.has(NEW_FILE) && !has_made_the_new(subject) {
        bail!("cannot migrate predict.py to run.py because run.py already exists");
    }
    if !subject.has(OLD_FILE) {
        bail!("predict.py not found");
    }
    let folder = subject.folder()?;
    let (source, mode) = regular(&folder, OLD_FILE, OLD_FILE)?;
    let model = modernize::to_runner(&source, OLD_FILE)?;
    let (config, config_mode) = regular(&folder, config_name, config_name)?;
    let config = new_config(subject, &config)?;
    check_importers(subject)?;
    put(&folder, NEW_FILE, &model, mode)?;
    put(&folder, config_name, &config, config_mode)?;
    folder.remove_entry(OLD_FILE.as_ref())?;
    Ok(())
}

/// cog.yaml with the new reference; a trainer in the same file follows it.
fn new_config(subject: &Subject, text: &str) -> anyhow::Result<String> {
    if text != subject.text {
        bail!(
            "{} is being changed by somebody else",
            subject.config_name()
        );
    }
    let fields = &subject.fields;
    let renamed = fields.with_renamed(text, OLD_FIELD, NEW_FIELD, NEW_REFERENCE);
    let by_hand = |field| format!("`{field}` is written in a way that has to be changed by hand");
    let config = renamed.with_context(|| by_hand(OLD_FIELD))?;
    let fields = cog_config::Fields::of(&config);
    let Some(trainer) = fields
        .text(TRAIN)
        .and_then(|text| text.strip_prefix(OLD_FILE))
    else {
        return Ok(config);
    };
    if trainer == ":Predictor" {
        bail!("`train` names the class Predictor, too: rename both by hand");
    }
    if trainer.contains(['"', '\\']) {
        bail!(by_hand(TRAIN));
    }
    let trainer = format!("{NEW_FILE}{trainer}");
    let config = fields.with_value(&config, TRAIN, &trainer);
    config.with_context(|| by_hand(TRAIN))
}

/// Other files of the project would not find what they import.
fn check_importers(subject: &Subject) -> anyhow::Result<()> {
    for entry in subject.folder()?.entries()? {
        let name = entry.name.to_string_lossy();
        if !name.ends_with(".py") || name == OLD_FILE {
            continue;
        }
        let Some(source) = subject.source(&name) else {
            continue;
        };
        // What is no Python imports nothing.
        if let Some(line) = modernize::importers(&source, &name)
            .unwrap_or_default()
            .first()
        {
            bail!("{name}:{line} imports from predict.py: rename both by hand");
        }
    }
    Ok(())
}
