//! Image configs: what a container made from an image starts with.
//!
//! Fields that this crate has no name for (health checks, shells) are kept as they came, so that an
//! image built on a base loses nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::manifest::{Descriptor, Platform, oci_layer_type, parse, to_json};
use crate::time;

/// What a container made from the image starts with, and what describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// Environment variables in order; later ones win.
    pub env: Vec<(String, String)>,
    /// Default arguments, or the command where there is no entry point.
    pub cmd: Option<Vec<String>>,
    /// What runs first; `cmd` is appended to it.
    pub entrypoint: Option<Vec<String>>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Labels; always written in the order of their keys.
    pub labels: BTreeMap<String, String>,
    /// Ports such as `5000/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Paths meant to be volumes.
    pub volumes: BTreeSet<String>,
    /// User name or id, and optional group, as in `1000:1000`.
    pub user: Option<String>,
    /// Signal that asks the container to stop.
    pub stop_signal: Option<String>,
    /// Time of creation in seconds since the epoch (`SOURCE_DATE_EPOCH`, else 0).
    pub created: i64,
    /// CPU architecture by Go's name.
    pub architecture: String,
    /// Operating system by Go's name.
    pub os: String,
    /// Further fields of the inner `config` object, kept as they came.
    pub extra: Map<String, Value>,
}

impl Default for ImageConfig {
    fn default() -> Self {
        let Platform {
            architecture, os, ..
        } = Platform::linux_amd64();
        Self {
            env: Vec::new(),
            cmd: None,
            entrypoint: None,
            working_dir: None,
            labels: BTreeMap::new(),
            exposed_ports: BTreeSet::new(),
            volumes: BTreeSet::new(),
            user: None,
            stop_signal: None,
            created: 0,
            architecture,
            os,
            extra: Map::new(),
        }
    }
}

impl ImageConfig {
    /// The value of environment variable `name`.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sets environment variable `name`, in place if it is there already.
    pub fn set_env(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.env.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.env.push((name, value)),
        }
    }

    /// The config document for an image with `layers`, as it is stored.
    pub(crate) fn to_document(&self, layers: &[Layer]) -> Vec<u8> {
        let created = time::rfc3339(self.created);
        let history = layers
            .iter()
            .map(|layer| History {
                created: Some(created.clone()),
                created_by: Some(layer.created_by.clone()),
                empty_layer: false,
            })
            .collect();
        to_json(&Document {
            created: Some(created),
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            config: Some(self.inner()),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: layers.iter().map(|layer| layer.diff_id).collect(),
            },
            history,
        })
    }

    fn inner(&self) -> Inner {
        let set = |items: &BTreeSet<String>| {
            (!items.is_empty()).then(|| {
                items
                    .iter()
                    .map(|item| (item.clone(), Value::Object(Map::new())))
                    .collect()
            })
        };
        let mut extra = self.extra.clone();
        extra.sort_keys();
        Inner {
            user: self.user.clone(),
            exposed_ports: set(&self.exposed_ports),
            env: Some(
                self.env
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect(),
            ),
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
            volumes: set(&self.volumes),
            working_dir: self.working_dir.clone(),
            labels: (!self.labels.is_empty()).then(|| self.labels.clone()),
            stop_signal: self.stop_signal.clone(),
            extra,
        }
    }
}

/// A parsed config document: the config, and for each layer its diff id and history line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedConfig {
    pub(crate) config: ImageConfig,
    pub(crate) diff_ids: Vec<DiffId>,
    pub(crate) created_by: Vec<String>,
}

impl ParsedConfig {
    /// Parses the config document `bytes`, which `what` names in errors.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let document: Document = parse(bytes, what)?;
        let mut created_by: Vec<String> = document
            .history
            .into_iter()
            .filter(|line| !line.empty_layer)
            .map(|line| line.created_by.unwrap_or_default())
            .collect();
        // History is optional and advisory: a list of another length says nothing about the layers.
        created_by.resize(document.rootfs.diff_ids.len(), String::new());
        let mut config = document.config.unwrap_or_default().into_config();
        config.architecture = document.architecture;
        config.os = document.os;
        config.created = document
            .created
            .as_deref()
            .and_then(time::parse_rfc3339)
            .unwrap_or(0);
        Ok(Self {
            config,
            diff_ids: document.rootfs.diff_ids,
            created_by,
        })
    }

    /// Pairs the diff ids with a manifest's layer descriptors, whose types become OCI's.
    pub(crate) fn layers(&self, blobs: &[Descriptor], what: &str) -> Result<Vec<Layer>> {
        if blobs.len() != self.diff_ids.len() {
            return Err(Error::Unsupported {
                what: what.to_owned(),
                reason: format!(
                    "its manifest lists {} layers and its config {}",
                    blobs.len(),
                    self.diff_ids.len()
                ),
            });
        }
        blobs
            .iter()
            .zip(&self.diff_ids)
            .zip(&self.created_by)
            .map(|((blob, diff_id), created_by)| {
                let media_type =
                    oci_layer_type(&blob.media_type).ok_or_else(|| Error::Unsupported {
                        what: what.to_owned(),
                        reason: format!("a layer of type `{}`", blob.media_type),
                    })?;
                Ok(Layer {
                    diff_id: *diff_id,
                    blob: Descriptor {
                        media_type: media_type.to_owned(),
                        ..blob.clone()
                    },
                    created_by: created_by.clone(),
                })
            })
            .collect()
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    architecture: String,
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Inner>,
    rootfs: RootFs,
    #[serde(default, deserialize_with = "null_as_default")]
    history: Vec<History>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    #[serde(default, skip_serializing_if = "empty")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exposed_ports: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volumes: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "empty")]
    working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "empty")]
    stop_signal: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

impl Inner {
    fn into_config(self) -> ImageConfig {
        let keys = |map: Option<Map<String, Value>>| {
            map.unwrap_or_default()
                .into_iter()
                .map(|(key, _)| key)
                .collect()
        };
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let pair = |text: String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        ImageConfig {
            env: self.env.unwrap_or_default().into_iter().map(pair).collect(),
            cmd: self.cmd,
            entrypoint: self.entrypoint,
            working_dir: filled(self.working_dir),
            labels: self.labels.unwrap_or_default(),
            exposed_ports: keys(self.exposed_ports),
            volumes: keys(self.volumes),
            user: filled(self.user),
            stop_signal: filled(self.stop_signal),
            extra: self.extra,
            ..ImageConfig::default()
        }
    }
}

// serde hands over a reference to the field.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn empty(text: &Option<String>) -> bool {
    text.as_deref().is_none_or(str::is_empty)
}

/// Go writes empty lists as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "null_as_default")]
    diff_ids: Vec<DiffId>,
}

#[derive(Serialize, Deserialize)]
struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::manifest::OCI_LAYER_ZSTD;

    fn layer(text: &str) -> Layer {
        let digest = Digest::of(text.as_bytes());
        Layer {
            diff_id: DiffId::new(digest),
            blob: Descriptor::new(OCI_LAYER_ZSTD, digest, 1),
            created_by: text.into(),
        }
    }

    #[test]
    fn document_round_trips_and_is_sorted() {
        let mut config = ImageConfig {
            created: 1_700_000_000,
            ..ImageConfig::default()
        };
        config.set_env("PATH", "/opt/venv/bin");
        config.set_env("A", "1=2");
        config.cmd = Some(vec!["coglet".into()]);
        config.working_dir = Some("/src".into());
        config
            .labels
            .extend([("z".into(), "1".into()), ("a".into(), "2".into())]);
        config.exposed_ports.insert("5000/tcp".into());
        config
            .extra
            .insert("Shell".into(), serde_json::json!(["/bin/sh"]));
        config
            .extra
            .insert("Healthcheck".into(), serde_json::json!({"Test": ["NONE"]}));
        let layers = [layer("base"), layer("source")];
        let bytes = config.to_document(&layers);
        let parsed = ParsedConfig::parse(&bytes, "config").unwrap();
        config.extra.sort_keys();
        assert_eq!(parsed.config, config);
        assert_eq!(parsed.created_by, ["base", "source"]);
        assert_eq!(
            parsed.layers(&layers.clone().map(|l| l.blob), "x").unwrap(),
            layers
        );
        assert_eq!(config.to_document(&layers), bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with(r#"{"created":"2023-11-14T22:13:20Z","architecture":"amd64""#),
            "{text}"
        );
        assert!(text.find("\"a\":\"2\"") < text.find("\"z\":\"1\""));
    }

    #[test]
    fn environment_is_replaced_in_place() {
        let mut config = ImageConfig::default();
        for (key, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            config.set_env(key, value);
        }
        assert_eq!(
            config.env,
            [("A".into(), "3".into()), ("B".into(), "2".into())]
        );
        assert_eq!(config.env_value("A"), Some("3"));
        assert_eq!(config.env_value("C"), None);
    }

    #[test]
    fn configs_of_other_tools_are_read() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"2024-02-29T12:00:00.123456789Z",
            "config":{"Env":["PATH=/bin","ODD"],"Entrypoint":null,"Cmd":["sh"],"Labels":null,"User":"",
            "Volumes":{"/data":{}},"ArgsEscaped":true},
            "history":[{"created_by":"ADD rootfs"},{"created_by":"CMD [\"sh\"]","empty_layer":true}],
            "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
        let parsed = ParsedConfig::parse(text.as_bytes(), "config").unwrap();
        assert_eq!(parsed.created_by, ["ADD rootfs"]);
        assert_eq!(parsed.config.created, 1_709_208_000);
        assert_eq!(parsed.config.user, None);
        assert_eq!(parsed.config.env[1], ("ODD".into(), String::new()));
        assert_eq!(parsed.config.extra["ArgsEscaped"], true);
        let mismatch = parsed.layers(&[], "image `a`").unwrap_err();
        assert_eq!(
            mismatch.to_string(),
            "image `a`: its manifest lists 0 layers and its config 1"
        );
    }

    #[test]
    fn scratch_images_have_null_lists() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{},"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        assert!(
            ParsedConfig::parse(text.as_bytes(), "config")
                .unwrap()
                .diff_ids
                .is_empty()
        );
    }
}
