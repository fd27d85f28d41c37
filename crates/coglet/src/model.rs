//! The model that a worker serves: what the worker has said of it, and its document.
//!
//! It belongs to the worker that was set up with it. When another one takes its place, the document is read again, so
//! that code, document and what is derived from them are always of one generation.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cog_files::{Links, read_regular};

use crate::args::Mode;
use crate::protocol::{Loaded, Parameter};
use crate::validate::ModelSchema;

/// No model is described at such length.
const MAX_DOCUMENT: u64 = 64 << 20;

/// One generation of the model.
#[derive(Debug)]
pub(crate) struct Model {
    /// None where there is no document that can be read: inputs then go unchecked.
    schema: Option<Arc<ModelSchema>>,
    /// The parameters whose values are not plain JSON.
    pub(crate) signature: HashMap<String, Parameter>,
    /// Inputs that are shown to nobody.
    pub(crate) secrets: HashSet<String>,
}

impl Model {
    /// Of a worker that is set up, with the document in `file`. One that has not changed is not compiled again.
    pub(crate) fn read(loaded: &Loaded, file: &Path, before: Option<&Self>) -> Self {
        let schema = read_document(file, before);
        Self {
            secrets: secrets(loaded, schema.as_deref()),
            signature: loaded.signature.clone(),
            schema,
        }
    }

    /// Whether what one takes, the other takes in the same way.
    pub(crate) fn takes_the_same_as(&self, other: &Self) -> bool {
        let schemas = match (&self.schema, &other.schema) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.document == other.document,
            (None, None) => true,
            _ => false,
        };
        schemas && self.signature == other.signature
    }

    pub(crate) fn schema(&self) -> Option<&ModelSchema> {
        self.schema.as_deref()
    }

    /// The model's author has allowed event streams.
    pub(crate) fn can_be_watched(&self) -> bool {
        self.schema().is_some_and(|schema| schema.streams)
    }

    /// A handler declared to give a list gives one, whatever it returned.
    pub(crate) fn as_declared(&self, output: Bytes, mode: Mode) -> Bytes {
        let is_array = self
            .schema()
            .is_some_and(|schema| schema.output_is_array(mode));
        match output.first() {
            Some(b'[') => output,
            Some(b'n') if is_array => Bytes::from_static(b"[]"),
            Some(_) if is_array => [b"[", output.as_ref(), b"]"].concat().into(),
            _ => output,
        }
    }
}

/// A missing or broken document is no reason not to serve. It is told once.
fn read_document(file: &Path, before: Option<&Model>) -> Option<Arc<ModelSchema>> {
    let known = before.and_then(|model| model.schema.as_ref());
    let is_news = before.is_none() || known.is_some();
    let document = read_regular(file, Links::Followed, MAX_DOCUMENT)
        .inspect_err(|error| {
            if is_news {
                tracing::warn!("Inputs are not validated: {error}");
            }
        })
        .ok()?;
    if let Some(known) = known.filter(|known| known.document == document) {
        return Some(Arc::clone(known));
    }
    ModelSchema::parse(document.into())
        .inspect_err(|error| {
            if is_news {
                let file = file.display();
                tracing::warn!("Inputs are not validated: `{file}` is not JSON: {error}");
            }
        })
        .map(Arc::new)
        .ok()
}

/// Whether the model's code, in the file of `reference`, was changed after its document was made.
pub(crate) fn is_newer_than(reference: &str, document: &Path) -> bool {
    let source = reference
        .rsplit_once(':')
        .map_or(reference, |(file, _)| file);
    let changed = |path: &Path| fs_err::metadata(path).and_then(|file| file.modified()).ok();
    changed(Path::new(source)) > changed(document)
}

/// The inputs that one of these models, or more, shows to nobody.
pub(crate) fn secret_inputs<'a>(
    models: impl IntoIterator<Item = Option<&'a Arc<Model>>>,
) -> HashSet<String> {
    let models = models.into_iter().flatten();
    models
        .flat_map(|model| model.secrets.iter().cloned())
        .collect()
}

/// As the handler's annotations and the document have it.
fn secrets(loaded: &Loaded, schema: Option<&ModelSchema>) -> HashSet<String> {
    let annotated = loaded
        .signature
        .iter()
        .filter(|(_, kind)| **kind == Parameter::Secret)
        .map(|(name, _)| name.clone());
    let documented = schema.into_iter().flat_map(|schema| &schema.secrets);
    annotated.chain(documented.cloned()).collect()
}
