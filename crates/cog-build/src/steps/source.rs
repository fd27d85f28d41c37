//! The project's files, and what coglet reads about them.

use std::path::Path;

use cog_image::{Entry, EntryKind, Layer};

use crate::context::{self, SOURCE_DIR, directory};
use crate::dockerignore::Dockerignore;
use crate::error::Result;
use crate::executor::Executor;

/// The name under which the image has its configuration.
const CONFIG_NAME: &str = "cog.yaml";

/// The layer with the project but for what is to `ignore`, the `schema`, and the configuration under the name
/// that the server looks for.
pub(crate) fn run(
    executor: &Executor<'_>,
    ignore: &Dockerignore,
    config_file_name: &str,
    schema: Option<&str>,
) -> Result<Layer> {
    let mut entries = context::entries(executor.project_dir, ignore)?;
    if config_file_name != CONFIG_NAME {
        let path = executor.project_dir.join(config_file_name);
        replace(&mut entries, CONFIG_NAME, EntryKind::File(path));
    }
    if let Some(schema) = schema {
        entries.extend(schema_entries(schema));
    }
    let options = executor.layer_options("cog: source");
    Ok(executor.store.add_layer_from_entries(entries, &options)?)
}

/// Its entries alone, for a project that is mounted.
pub(crate) fn schema_entries(schema: &str) -> Vec<Entry> {
    let folder = format!("{SOURCE_DIR}/.cog");
    let file = Entry {
        path: Path::new(&folder).join("openapi_schema.json"),
        kind: EntryKind::Bytes(schema.as_bytes().to_vec()),
        mode: 0o644,
    };
    vec![directory(&folder), file]
}

fn replace(entries: &mut Vec<Entry>, name: &str, kind: EntryKind) {
    let path = Path::new(SOURCE_DIR).join(name);
    entries.retain(|entry| entry.path != path);
    entries.push(Entry {
        path,
        kind,
        mode: 0o644,
    });
}
