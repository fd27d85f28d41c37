//! The project's files, and what coglet reads about them, as layers that a changed line leaves alone but for one.
//!
//! Which file is in which is said by `parts`. `seen` remembers what a part was like when its layer was made: one that
//! still is like that is not read, or at least not packed again.

mod devices;
mod seen;

use std::time::SystemTime;

use cog_files::read_project_bytes;
use cog_image::{Entry, EntryKind, Layer};

use crate::context::{self, Item, ItemKind, SOURCE_DIR, Tree, directory};
use crate::dockerignore::Dockerignore;
use crate::error::Result;
use crate::executor::Executor;
use crate::parts::{self, MAX_PARTS, Origin, Part, PartName};
use crate::reporter::{Event, Outcome};
use crate::separated::{SourceLayers, separated_items};
use devices::Devices;
use seen::{Before, Seen};

/// The name under which the image has its configuration.
const CONFIG_NAME: &str = "cog.yaml";

/// What the layers are made of, besides the project's files.
pub(crate) struct Source<'a> {
    /// What of them stays out.
    pub(crate) ignore: &'a Dockerignore,
    /// Where the configuration is, which the server looks for under one name.
    pub(crate) config_file_name: &'a str,
    pub(crate) schema: Option<&'a str>,
    pub(crate) layers: SourceLayers,
    /// The most layers that the image has room for.
    pub(crate) limit: usize,
}

/// A file or folder of the code layer that is not the project's.
struct Made {
    /// In the image, without leading slash.
    path: String,
    /// Nothing for a folder.
    content: Option<Vec<u8>>,
}

/// The layers, lowest first; the code is the last one.
pub(crate) fn run(executor: &Executor<'_>, source: &Source<'_>) -> Result<Vec<Layer>> {
    run_at(executor, source, SystemTime::now())
}

/// The same for a build at the time `now`.
fn run_at(executor: &Executor<'_>, source: &Source<'_>, now: SystemTime) -> Result<Vec<Layer>> {
    let Tree {
        mut items,
        special,
        environments,
    } = context::tree(executor.project_dir, source.ignore)?;
    tell_of_special(executor, &special)?;
    tell_of_environments(executor, &environments)?;
    tell_of_secrets(executor, &items)?;
    let mut made = vec![Made::folder(SOURCE_DIR)];
    if source.config_file_name != CONFIG_NAME {
        items.retain(|item| item.path != CONFIG_NAME);
        made.push(configuration(executor, source.config_file_name)?);
    }
    made.extend(source.schema.map(schema).into_iter().flatten());
    let separated = match source.layers {
        SourceLayers::BySize => Vec::new(),
        SourceLayers::SeparateWeights => separated_items(&items),
    };
    let files: Vec<(&str, u64)> = items
        .iter()
        .map(|item| (item.path.as_str(), item.size()))
        .collect();
    let parts = parts::split(&files, &separated, source.limit.min(MAX_PARTS));
    let devices = Devices::of(executor.project_dir, &items);
    let mut layers = Vec::new();
    let mut unchanged = Unchanged::default();
    for part in parts {
        let items: Vec<&Item> = part.members.iter().map(|at| &items[*at]).collect();
        let made = match part.name {
            PartName::Code => made.as_slice(),
            _ => &[],
        };
        let seen = Seen::new(executor, &part.name, &items, made, &devices, now);
        let (layer, outcome) = layer(executor, &part.name, &items, made, &seen)?;
        unchanged.count(&part, outcome);
        layers.push(layer);
    }
    unchanged.tell(executor);
    Ok(layers)
}

/// Names what the project has and the image has not, once for each project.
fn tell_of_special(executor: &Executor<'_>, paths: &[String]) -> Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let message = format!(
        "left out of the image, which has no pipes, sockets and devices: {}; a line in `.dockerignore` says that this is meant",
        named(paths)
    );
    executor.warn_once_in_project("special files", &message)
}

/// Names the virtual environments that the image has not, once for each project.
pub(crate) fn tell_of_environments(executor: &Executor<'_>, paths: &[String]) -> Result<()> {
    let Some(first) = paths.first() else {
        return Ok(());
    };
    let message = format!(
        "left out of the image, which has packages of its own: virtual environments ({}); the line `{}` in `.dockerignore` \
         says that this is meant, and `!{}` puts it into the image",
        named(paths),
        shown(first),
        shown(first)
    );
    executor.warn_once_in_project("virtual environments", &message)
}

/// Names files that by custom hold secrets, once for each project. Programs may read them, so they are in the image.
fn tell_of_secrets(executor: &Executor<'_>, items: &[Item]) -> Result<()> {
    let is_secret = |item: &&Item| item.path.rsplit('/').next() == Some(".env");
    let paths = items.iter().filter(is_secret);
    let paths: Vec<String> = paths.map(|item| item.path.clone()).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the image holds {}, and whoever has the image can read it: if there are secrets in it, list it in `.dockerignore` and \
         give them to the model when it is started, as with `-e NAME=VALUE`",
        named(&paths)
    );
    executor.warn_once_in_project("secrets in files", &message)
}

/// The first of `paths`, and how many there are besides.
fn named(paths: &[String]) -> String {
    const SHOWN: usize = 5;
    let first = paths.iter().take(SHOWN);
    let mut named: Vec<String> = first.map(|path| format!("`{}`", shown(path))).collect();
    if paths.len() > SHOWN {
        named.push(format!("{} others", paths.len() - SHOWN));
    }
    named.join(", ")
}

fn shown(path: &str) -> String {
    path.replace(char::is_control, "?")
}

/// The layer of a part, from the store if nothing of it changed.
fn layer(
    executor: &Executor<'_>,
    name: &PartName,
    items: &[&Item],
    made: &[Made],
    seen: &Seen,
) -> Result<(Layer, Outcome)> {
    let store = executor.store;
    let options = executor.layer_options(format!("cog: {name}"));
    let entries = || {
        let files = items.iter().map(|item| entry(executor, item));
        made.iter().map(Made::entry).chain(files).collect()
    };
    if let Some(Before { layer, is_certain }) = seen.before(executor)? {
        let read = if is_certain { "not read" } else { "read again" };
        if !is_certain {
            executor.doing(&format!("reading {name}"));
        }
        if is_certain || store.diff_id_of_entries(entries(), &options)? == layer.diff_id {
            let message = format!("{name} is unchanged, and was {read}");
            let message = message.as_str();
            executor.reporter.report(Event::Detail { message });
            if !is_certain {
                seen.remember(executor, &layer)?;
            }
            return Ok((layer, Outcome::Cached));
        }
    }
    executor.doing(&format!("packing {name}"));
    let layer = store.add_layer_from_entries(entries(), &options)?;
    seen.remember(executor, &layer)?;
    Ok((layer, Outcome::Built))
}

fn entry(executor: &Executor<'_>, item: &Item) -> Entry {
    let (kind, mode) = match &item.kind {
        ItemKind::Folder => (EntryKind::Directory, 0o755),
        ItemKind::Symlink(target) => (EntryKind::Symlink(target.clone()), 0o777),
        // Only whether it can be executed counts: the rest depends on the host's umask.
        ItemKind::File(status) => {
            let mode = if status.mode & 0o111 == 0 {
                0o644
            } else {
                0o755
            };
            let kind = EntryKind::FileIn {
                folder: executor.project_dir.to_owned(),
                path: item.path.clone().into(),
            };
            (kind, mode)
        }
    };
    Entry {
        path: format!("{SOURCE_DIR}/{}", item.path).into(),
        kind,
        mode,
    }
}

/// What became of the parts that `--separate-weights` asks for.
#[derive(Default)]
struct Unchanged {
    separated: usize,
    unchanged: usize,
}

impl Unchanged {
    fn count(&mut self, part: &Part, outcome: Outcome) {
        if part.origin == Origin::Separated {
            self.separated += 1;
            self.unchanged += usize::from(outcome == Outcome::Cached);
        }
    }

    /// In the published tool's words.
    fn tell(&self, executor: &Executor<'_>) {
        if self.separated > 0 && self.separated == self.unchanged {
            executor.notice("Weights unchanged, skip rebuilding and use cached image...");
        }
    }
}

/// The project's configuration under the name that the server looks for.
fn configuration(executor: &Executor<'_>, file_name: &str) -> Result<Made> {
    let content = read_project_bytes(executor.project_dir, file_name.as_ref());
    let content = content.map_err(|source| {
        let path = executor.project_dir.join(file_name);
        let text = format!("failed to read `{}`: {source}", path.display());
        std::io::Error::new(source.kind(), text)
    })?;
    let path = format!("{SOURCE_DIR}/{CONFIG_NAME}");
    Ok(Made::file(path, content))
}

fn schema(schema: &str) -> [Made; 2] {
    let folder = format!("{SOURCE_DIR}/.cog");
    let file = format!("{folder}/openapi_schema.json");
    [Made::folder(folder), Made::file(file, schema.into())]
}

impl Made {
    fn folder(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            content: None,
        }
    }

    fn file(path: String, content: Vec<u8>) -> Self {
        Self {
            path,
            content: Some(content),
        }
    }

    fn entry(&self) -> Entry {
        match &self.content {
            None => directory(&self.path),
            Some(content) => Entry {
                path: self.path.clone().into(),
                kind: EntryKind::Bytes(content.clone()),
                mode: 0o644,
            },
        }
    }
}

#[cfg(test)]
mod tests;
