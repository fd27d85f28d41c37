//! The project as checks see it, and how they change it.

use anyhow::{Context as _, bail};
use cog_config::{ConfigError, Fields, Loaded, ProjectFile};
use cog_files::{Folder, Links, read_regular_text};
use cog_schema::{Directory, SourceTree as _};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// More than anybody writes by hand.
const MAX_CONFIG: u64 = 16 << 20;

/// A project, read once.
pub(super) struct Subject {
    pub(super) file: ProjectFile,
    /// The text of cog.yaml.
    pub(super) text: String,
    pub(super) fields: Fields,
    pub(super) loaded: Result<Loaded, ConfigError>,
}

/// A reference of cog.yaml, as `file.py:Name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// The field it is in.
    pub(super) field: &'static str,
    pub(super) line: Option<usize>,
    pub(super) file: String,
    pub(super) name: String,
}

impl Reference {
    /// The methods of a class that it can lead to, the best first.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self.field {
            "train" => &["train"],
            _ => &["run", "predict"],
        }
    }
}

impl Subject {
    pub(super) fn read(file: &ProjectFile) -> anyhow::Result<Self> {
        let path = file.directory.join(&file.file_name);
        let text = read_regular_text(&path, Links::Followed, MAX_CONFIG)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        Ok(Self {
            file: file.clone(),
            fields: Fields::of(&text),
            loaded: cog_config::parse(&text, &file.file_name, file),
            text,
        })
    }

    pub(super) fn config_name(&self) -> &str {
        &self.file.file_name
    }

    /// The line of a field of cog.yaml.
    pub(super) fn line(&self, field: &str) -> Option<usize> {
        self.fields.location(field).map(|location| location.line)
    }

    /// The model and the trainer, as far as cog.yaml names them in the form that it should.
    pub(super) fn references(&self) -> Vec<Reference> {
        let filled = |field: &&str| self.fields.text(field).is_some_and(|text| !text.is_empty());
        let model = ["run", "predict"].into_iter().find(filled);
        let trainer = ["train"].into_iter().find(filled);
        let reference = |field: &'static str| {
            let (file, name) = self.fields.text(field)?.split_once(".py:")?;
            let is_reference = !file.is_empty() && !name.is_empty() && !name.contains(':');
            is_reference.then(|| Reference {
                field,
                line: self.line(field),
                file: format!("{}.py", file.strip_prefix("./").unwrap_or(file)),
                name: name.to_owned(),
            })
        };
        let fields = model.into_iter().chain(trainer);
        fields.filter_map(reference).collect()
    }

    /// The files that references name, each once, with their texts as far as there are any.
    pub(super) fn sources(&self) -> Vec<(String, String)> {
        let mut sources: Vec<(String, String)> = Vec::new();
        for Reference { file, .. } in self.references() {
            if sources.iter().any(|(known, _)| *known == file) {
                continue;
            }
            if let Some(text) = self.source(&file) {
                sources.push((file, text));
            }
        }
        sources
    }

    /// The text of a Python file of the project.
    pub(super) fn source(&self, file: &str) -> Option<String> {
        Directory::new(&self.file.directory)
            .read(file)
            .ok()
            .flatten()
    }

    /// Whether anything has this name in the project's folder.
    pub(super) fn has(&self, name: &str) -> bool {
        self.file.directory.join(name).symlink_metadata().is_ok()
    }

    /// The project's folder. A model could have written into it, so no link in there is followed when it is changed.
    pub(super) fn folder(&self) -> anyhow::Result<Folder> {
        Ok(Folder::open(&self.file.directory)?)
    }

    /// Gives a file of the project other content; it keeps its permissions, and is there whole or as it was.
    pub(super) fn rewrite(
        &self,
        file: &str,
        change: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let (parent, name) = match file.rsplit_once('/') {
            Some((parent, name)) => (self.folder()?.enter(parent)?, name),
            None => (Some(self.folder()?), file),
        };
        let parent = parent.with_context(|| format!("{file} is in a folder that is a link"))?;
        let (content, mode) = regular(&parent, name, file)?;
        let changed = change(&content)?;
        if changed != content {
            put(&parent, name, &changed, mode)?;
        }
        Ok(())
    }
}

/// A file's text and permissions.
pub(super) fn regular(folder: &Folder, name: &str, shown: &str) -> anyhow::Result<(String, u32)> {
    let Some((content, mode)) = folder.read_entry(name.as_ref())? else {
        bail!("{shown} is a link, or no file: change what it leads to by hand");
    };
    let text = String::from_utf8(content);
    let text = text.with_context(|| format!("{shown} is not UTF-8 text: change it by hand"))?;
    Ok((text, mode))
}

/// Writes a file beside the one whose place it then takes.
pub(super) fn put(folder: &Folder, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let temporary = format!("{}{}", beside(name), std::process::id());
    let written = clear_away(folder, name)
        .and_then(|()| folder.write_entry(temporary.as_ref(), text.as_bytes(), mode))
        .and_then(|()| folder.rename(&temporary, name));
    if written.is_err() {
        let _ = folder.remove_entry(temporary.as_ref());
    }
    written.with_context(|| format!("could not write {name}"))
}

/// How the names of files begin that are to take the place of `name`. The number of their process follows.
fn beside(name: &str) -> String {
    format!(".{name}.")
}

/// Removes what was written for the place of `name` by processes that were killed.
fn clear_away(folder: &Folder, name: &str) -> std::io::Result<()> {
    let beginning = beside(name);
    for entry in folder.entries()? {
        let number = entry
            .name
            .to_str()
            .and_then(|name| name.strip_prefix(&beginning));
        let number = number.and_then(|number| number.parse().ok().filter(|number| *number > 0));
        let writer = number.and_then(Pid::from_raw);
        if writer.is_some_and(|writer| test_kill_process(writer) == Err(Errno::SRCH)) {
            // What cannot be removed is in nobody's way.
            let _ = folder.remove_entry(&entry.name);
        }
    }
    Ok(())
}

/// For what is not part of a project.
pub(super) fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
impl Subject {
    /// A project in this folder.
    pub(super) fn in_folder(directory: &std::path::Path) -> Self {
        let file = cog_config::find(directory, "cog.yaml").expect("the project has a cog.yaml");
        Self::read(&file).expect("it can be read")
    }
}
