//! `cog inspect`: what an image is, what it consists of, and why each part is there.
//!
//! Reads the store, and for an image that is not in it the registry's documents: no layer is fetched. What an image
//! says of itself is anybody's text, so nothing in it reaches the terminal as control characters.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use cog_build::Architecture;
use cog_config::{BaseLayer, Config, Labels, Revision};
use cog_image::registry::{Lookup, Memory, RegistryError, RemoteImage};
use cog_image::{Digest, ImageConfig, ImageRef, Layer, Store, StoredImage, StoredIndex};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::images::{short, table};
use crate::args::InspectArgs;
use crate::image_argument;
use crate::outputs::pretty;
use crate::session::Session;
use crate::sizes::human_size;

pub(crate) fn inspect(session: &Session<'_>, args: &InspectArgs) -> anyhow::Result<()> {
    if args.sbom {
        return sbom(session, args);
    }
    let store = session.store()?;
    let name = image_argument::name(store, &args.image)?;
    let inspected = Inspected::find(store, &name, args.platform)?;
    let text = if args.json {
        format!("{}\n", pretty(&inspected)?)
    } else {
        inspected.text()
    };
    Ok(session
        .printer
        .result("the description of the image", text)?)
}

/// Only of images in the store: its files are needed.
fn sbom(session: &Session<'_>, args: &InspectArgs) -> anyhow::Result<()> {
    let store = session.store()?;
    let name = &image_argument::name(store, &args.image)?;
    let Some((image, _)) = stored(store, name, args.platform)? else {
        bail!(
            "image {name} is not in the local store: pull it first (`cog pull {name}`), its files are read"
        );
    };
    let document = cog_build::sbom(store, &image)?;
    Ok(session
        .printer
        .result("the image's SBOM", format!("{}\n", pretty(&document)?))?)
}

/// The image in the store, of several the one for `platform`, with the index that lists these.
fn stored(
    store: &Store,
    name: &str,
    platform: Option<Architecture>,
) -> anyhow::Result<Option<(StoredImage, Option<StoredIndex>)>> {
    let index = store.image_index(name)?;
    let listed = platform
        .zip(index.as_ref())
        .and_then(|(wanted, index)| index.for_platform(&wanted.platform()).cloned());
    let image = match listed {
        Some(image) => image,
        None => match store.image(name)? {
            Some(image) => image,
            None => return Ok(None),
        },
    };
    match platform {
        Some(wanted) if image.platform() != wanted.platform() => {
            let all = index.as_ref().map_or_else(
                || image.platform().to_string(),
                |index| Listed::of(index).platforms.join(" and "),
            );
            bail!("image {name} is for {all}, not for {wanted}")
        }
        _ => Ok(Some((image, index))),
    }
}

/// What the registry says of an image that is not in the store.
pub(super) fn in_registry(
    store: &Store,
    name: &str,
    platform: Option<Architecture>,
) -> anyhow::Result<RemoteImage> {
    let reference: ImageRef = name.parse()?;
    let platform = platform.unwrap_or_else(Architecture::host).platform();
    match store.lookup(&reference, &platform, Memory::Ignore)? {
        Lookup::Found(image) => Ok(*image),
        Lookup::NotFound(RegistryError::NotFound { .. }) => {
            bail!("image {name}: image not found")
        }
        Lookup::NotFound(error) | Lookup::Refused(error) | Lookup::Unreachable(error) => {
            Err(cog_image::Error::from(error))
                .with_context(|| format!("image {name} is not in the local store"))
        }
    }
}

/// All that is told of an image; its JSON is the command's.
#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    /// Of the manifest.
    digest: String,
    /// By its own account, in seconds since 1970.
    created: i64,
    platform: String,
    /// Absent for a name that has one image.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<Listed>,
    /// Bytes of all layers' blobs, each once.
    size: u64,
    /// Absent for an image that is no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Model>,
    config: Start,
    layers: Vec<Part>,
    /// The labels that `model` does not hold.
    labels: BTreeMap<String, String>,
}

/// The index under whose name the image is, for one of several platforms.
#[derive(Debug, Serialize)]
struct Listed {
    digest: String,
    platforms: Vec<String>,
}

/// What the image says of the model in it.
#[derive(Debug, Serialize)]
struct Model {
    /// Of the program that made the image.
    version: String,
    config: Config,
    /// The OpenAPI document; null if the image has none.
    schema: Value,
    /// Lines of `pip freeze`.
    packages: Vec<String>,
    base: Option<Base>,
    commit: Option<String>,
    source: Option<String>,
}

#[derive(Debug, Serialize)]
struct Base {
    name: String,
    /// How many of the lowest layers it is.
    layers: usize,
}

/// What a container starts with.
#[derive(Debug, Serialize)]
struct Start {
    env: Vec<String>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    ports: Vec<String>,
}

/// A layer.
#[derive(Debug, Serialize)]
struct Part {
    digest: String,
    diff_id: String,
    media_type: String,
    /// Bytes of the blob.
    size: u64,
    /// Whether the blob is in the store, or would be fetched from a registry.
    stored: bool,
    created_by: String,
}

impl Inspected {
    fn find(store: &Store, name: &str, platform: Option<Architecture>) -> anyhow::Result<Self> {
        if let Some((image, index)) = stored(store, name, platform)? {
            let digest = image.manifest.digest;
            let told = Self::of(store, image.name, digest, &image.config, &image.layers);
            return Ok(Self {
                index: index.as_ref().map(Listed::of),
                ..told
            });
        }
        let image = in_registry(store, name, platform)?;
        let name = name.parse::<ImageRef>()?.familiar();
        let (config, layers) = (&image.config, &image.layers);
        Ok(Self::of(store, name, image.digest, config, layers))
    }

    fn of(
        store: &Store,
        name: String,
        digest: Digest,
        config: &ImageConfig,
        layers: &[Layer],
    ) -> Self {
        let sizes: BTreeMap<Digest, u64> = layers
            .iter()
            .map(|layer| (layer.blob.digest, layer.blob.size))
            .collect();
        let part = |layer: &Layer| Part {
            digest: layer.blob.digest.to_string(),
            diff_id: layer.diff_id.to_string(),
            media_type: layer.blob.media_type.clone(),
            size: layer.blob.size,
            stored: store.has_blob(&layer.blob),
            created_by: layer.created_by.clone(),
        };
        let model = Model::of(Labels::of(&config.labels));
        let known = |label: &str| model.is_some() && Labels::knows(label);
        Self {
            name,
            digest: digest.to_string(),
            created: config.created,
            platform: format!("{}/{}", config.os, config.architecture),
            index: None,
            size: sizes.values().sum(),
            config: Start::of(config),
            layers: layers.iter().map(part).collect(),
            labels: config
                .labels
                .iter()
                .filter(|(label, _)| !known(label))
                .map(|(label, value)| (label.clone(), value.clone()))
                .collect(),
            model,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<10} {}", printable(value));
        };
        line("name", &self.name);
        line("digest", &self.digest);
        line("created", &date(self.created));
        line("platform", &self.platform);
        if let Some(Listed { digest, platforms }) = &self.index {
            line("index", &format!("{digest}, with {}", platforms.join(", ")));
        }
        line("size", &self.sum());
        if let Some(model) = &self.model {
            model.lines(&mut line);
        }
        let rows: Vec<[String; 3]> = self.layers.iter().map(Part::row).collect();
        let _ = write!(text, "\n{}", table(["LAYER", "SIZE", "WHAT IT IS"], &rows));
        text
    }

    fn sum(&self) -> String {
        let absent = self.layers.iter().filter(|layer| !layer.stored);
        let absent = match absent.count() {
            0 => String::new(),
            count => format!(", {count} of them only in a registry"),
        };
        let count = self.layers.len();
        let layers = if count == 1 { "layer" } else { "layers" };
        format!("{} in {count} {layers}{absent}", human_size(self.size))
    }
}

impl Listed {
    fn of(index: &StoredIndex) -> Self {
        let images = index.images.iter();
        Self {
            digest: index.descriptor.digest.to_string(),
            platforms: images.map(|image| image.platform().to_string()).collect(),
        }
    }
}

impl Model {
    /// None for an image that is no model. What of its labels can't be read is as if it were not there.
    fn of(labels: Labels<'_>) -> Option<Self> {
        let config = labels.config().ok()?;
        let Revision {
            commit,
            description,
        } = labels.revision();
        let base = labels.base().ok().flatten();
        Some(Self {
            version: labels.version().unwrap_or_default().to_owned(),
            config,
            schema: labels.schema().unwrap_or_default(),
            packages: labels.pip_freeze().lines().map(str::to_owned).collect(),
            base: base.map(|BaseLayer { name, index, .. }| Base {
                name,
                layers: index.saturating_add(1),
            }),
            commit,
            source: description,
        })
    }

    fn lines(&self, line: &mut impl FnMut(&str, &str)) {
        let mut given = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                line(name, value);
            }
        };
        given("made by", Some(&format!("cog {}", self.version)));
        given("base", self.base.as_ref().map(|base| base.name.as_str()));
        given("run", self.config.runner.as_deref());
        given("train", self.config.train.as_deref());
        given("commit", self.commit.as_deref());
        given("source", self.source.as_deref());
        let count = self.packages.len();
        let packages = if count == 1 { "package" } else { "packages" };
        let python = self.config.python_version().unwrap_or_default();
        given("python", Some(&format!("{python}, {count} {packages}")));
        let build = self.config.build.as_ref();
        given("cuda", build.and_then(|build| build.cuda.as_deref()));
        given("inputs", Some(&inputs(&self.schema)));
        given("output", Some(&output(&self.schema)));
    }
}

impl Start {
    fn of(config: &ImageConfig) -> Self {
        let variable = |(name, value): &(String, String)| format!("{name}={value}");
        Self {
            env: config.env.iter().map(variable).collect(),
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            ports: config.exposed_ports.iter().cloned().collect(),
        }
    }
}

impl Part {
    fn row(&self) -> [String; 3] {
        [
            short(&self.digest),
            human_size(self.size),
            printable(&self.created_by),
        ]
    }
}

/// The names of the inputs with their types, in the document's order.
fn inputs(schema: &Value) -> String {
    let properties = schema.pointer("/components/schemas/Input/properties");
    let Some(properties) = properties.and_then(Value::as_object) else {
        return String::new();
    };
    let mut fields: Vec<(&String, &Value)> = properties.iter().collect();
    fields.sort_by_key(|(_, field)| field.get("x-order").and_then(Value::as_u64));
    let fields: Vec<String> = fields
        .into_iter()
        .map(|(name, field)| format!("{name}: {}", kind(field)))
        .collect();
    fields.join(", ")
}

fn output(schema: &Value) -> String {
    let output = schema.pointer("/components/schemas/Output");
    output.map(kind).unwrap_or_default()
}

/// A type in a word or two.
fn kind(field: &Value) -> String {
    let text = |key: &str| field.get(key).and_then(Value::as_str);
    match (text("type"), text("format"), field.get("items")) {
        (Some("string"), Some("uri"), _) => "file".to_owned(),
        (Some("array"), _, Some(items)) => format!("list of {}", kind(items)),
        (Some(plain), ..) => plain.to_owned(),
        (None, ..) if field.get("allOf").is_some() => "choice".to_owned(),
        (None, ..) => "any".to_owned(),
    }
}

/// A date, or that there is none: who made the image cannot have made it at the epoch.
fn date(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) if seconds != 0 => time.to_string(),
        _ => "not dated".to_owned(),
    }
}

/// Without what a terminal would obey, and on one line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_told_in_words() {
        let schema = json!({"components": {"schemas": {
            "Input": {"properties": {
                "size": {"allOf": [{"$ref": "#/x"}], "x-order": 2},
                "image": {"type": "string", "format": "uri", "x-order": 0},
                "scales": {"type": "array", "items": {"type": "number"}, "x-order": 1},
            }},
            "Output": {"type": "array", "items": {"type": "string", "format": "uri"}},
        }}});
        assert_eq!(
            inputs(&schema),
            "image: file, scales: list of number, size: choice"
        );
        assert_eq!(output(&schema), "list of file");
        assert_eq!(
            (inputs(&Value::Null), output(&Value::Null)),
            Default::default()
        );
    }

    #[test]
    fn an_image_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}d"), "a [31mb c d");
    }

    #[test]
    fn the_epoch_is_no_date() {
        assert_eq!(date(0), "not dated");
        assert_eq!(date(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(date(i64::MAX), "not dated");
    }

    #[test]
    fn an_image_of_others_is_told_too() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let config = ImageConfig {
            labels: BTreeMap::from([("maintainer".into(), "me".into())]),
            ..ImageConfig::default()
        };
        store.put_image("plain:1", &config, &[]).unwrap();
        let inspected = Inspected::find(&store, "plain:1", None).unwrap();
        assert!(inspected.model.is_none());
        assert_eq!(inspected.labels["maintainer"], "me");
        assert!(inspected.text().contains("0B in 0 layers"));
    }
}
