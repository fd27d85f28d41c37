//! The labels that make an image a Cog model.

use std::collections::BTreeMap;

use cog_image::Layer;

use crate::git::Revision;
use crate::sdk::VERSION;

/// What the labels tell.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The completed configuration as JSON.
    pub(crate) config: &'a str,
    /// The schema; empty if there is none.
    pub(crate) schema: &'a str,
    pub(crate) pip_freeze: &'a str,
    /// The base as people write it.
    pub(crate) base_name: &'a str,
    /// Layers of the base, lowest first.
    pub(crate) base_layers: &'a [Layer],
    pub(crate) revision: &'a Revision,
}

/// The labels, sorted by name.
pub(crate) fn labels(contents: &Contents<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut add = |name: &str, value: String| labels.insert(name.to_owned(), value);
    add("run.cog.version", VERSION.to_owned());
    add("run.cog.config", contents.config.to_owned());
    add("run.cog.openapi_schema", contents.schema.to_owned());
    add("run.cog.pip_freeze", contents.pip_freeze.to_owned());
    add("run.cog.has_init", "true".to_owned());
    if let Some(last) = contents.base_layers.last() {
        let index = contents.base_layers.len() - 1;
        add("run.cog.cog-base-image-name", contents.base_name.to_owned());
        add(
            "run.cog.cog-base-image-last-layer-sha",
            last.diff_id.to_string(),
        );
        add("run.cog.cog-base-image-last-layer-idx", index.to_string());
    }
    if let Some(revision) = &contents.revision.revision {
        add("org.opencontainers.image.revision", revision.clone());
    }
    if let Some(version) = &contents.revision.version {
        add("org.opencontainers.image.version", version.clone());
    }
    labels
}

#[cfg(test)]
mod tests {
    use cog_image::{Descriptor, DiffId, Digest};

    use super::*;

    #[test]
    fn labels_are_complete() {
        let layer = |text: &str| Layer {
            diff_id: DiffId::new(Digest::of(text.as_bytes())),
            blob: Descriptor::new("x", Digest::of(b""), 0),
            created_by: String::new(),
        };
        let base_layers = [layer("one"), layer("two")];
        let revision = Revision {
            revision: Some("abc".to_owned()),
            version: Some("v1-dirty".to_owned()),
        };
        let contents = Contents {
            config: "{}",
            schema: r#"{"openapi":"3.0.2"}"#,
            pip_freeze: "cog==1\n",
            base_name: "debian",
            base_layers: &base_layers,
            revision: &revision,
        };
        let labels = labels(&contents);
        let value = |name: &str| labels.get(name).map(String::as_str);
        assert_eq!(value("run.cog.version"), Some(VERSION));
        assert_eq!(value("run.cog.has_init"), Some("true"));
        assert_eq!(value("run.cog.cog-base-image-last-layer-idx"), Some("1"));
        let sha = value("run.cog.cog-base-image-last-layer-sha").expect("it is there");
        assert_eq!(sha, base_layers[1].diff_id.to_string());
        assert_eq!(value("org.opencontainers.image.version"), Some("v1-dirty"));
        assert_eq!(labels.len(), 10);
    }

    #[test]
    fn unknown_revisions_are_left_out() {
        let contents = Contents {
            config: "{}",
            schema: "",
            pip_freeze: "",
            base_name: "debian",
            base_layers: &[],
            revision: &Revision::default(),
        };
        let labels = labels(&contents);
        assert_eq!(
            labels.get("run.cog.openapi_schema").map(String::as_str),
            Some("")
        );
        assert_eq!(labels.len(), 5);
    }
}
