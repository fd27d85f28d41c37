//! What `model` in cog.yaml and the variables for it name: the repository that image and index are pushed to.
//!
//! Pure: the variables and the time are given.

use cog_config::{Config, DEFAULT_REGISTRY};
use cog_errors::Hint;
use cog_image::ImageRef;

/// The whole reference, in place of everything else.
pub(crate) const COG_MODEL: &str = "COG_MODEL";
/// The registry, in place of that of `model`.
pub(crate) const COG_MODEL_REGISTRY: &str = "COG_MODEL_REGISTRY";
/// The repository, in place of that of `model`.
pub(crate) const COG_MODEL_REPO: &str = "COG_MODEL_REPO";
/// The tag, in place of the time.
pub(crate) const COG_MODEL_TAG: &str = "COG_MODEL_TAG";

/// Tags that begin so are for images and weights that belong to a model.
const RESERVED: &str = "cog-";

/// A model as it is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelReference {
    /// With a tag, or pinned.
    pub(crate) reference: ImageRef,
    /// Whether somebody chose the tag, as opposed to the time.
    pub(crate) has_chosen_tag: bool,
}

/// Why there is no usable reference.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ModelReferenceError {
    #[error("invalid {COG_MODEL} value: {0}")]
    Model(String),
    #[error("invalid {name} \"{value}\": {reason}")]
    Variable {
        name: &'static str,
        value: String,
        reason: String,
    },
    #[error("invalid model \"{value}\": {reason}")]
    Config { value: String, reason: String },
    #[error("'image' in cog.yaml cannot be combined with COG_MODEL* env vars")]
    Image,
}

impl Hint for ModelReferenceError {
    fn hint(&self) -> Option<String> {
        matches!(self, Self::Image).then(|| {
            format!(
                "rename 'image' to 'model' in cog.yaml, or unset {COG_MODEL}, {COG_MODEL_REGISTRY}, {COG_MODEL_REPO} \
                 and {COG_MODEL_TAG}"
            )
        })
    }
}

impl ModelReference {
    /// None if neither cog.yaml nor the environment names a repository. `registry` is where models are that name none;
    /// `now` gives the tag of one that has none.
    pub(crate) fn resolve(
        config: &Config,
        registry: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
        now: impl FnOnce() -> String,
    ) -> Result<Option<Self>, ModelReferenceError> {
        let set = |name| variable(name).filter(|value: &String| !value.is_empty());
        let resolved = match set(COG_MODEL) {
            Some(whole) => Some(of_whole(&whole, now)?),
            None => of_parts(config, registry, set, now)?,
        };
        if resolved.is_some() && config.image.is_some() {
            return Err(ModelReferenceError::Image);
        }
        Ok(resolved)
    }

    /// Where the image itself is pushed to.
    pub(crate) fn image(&self) -> Option<String> {
        let tag = self.reference.tag()?;
        Some(format!("{}:cog-image.{tag}", repository(&self.reference)))
    }
}

/// `host/path`, as it is shown: Docker's own registry by the name that its clients show.
pub(crate) fn repository(reference: &ImageRef) -> String {
    let registry = match reference.registry() {
        "docker.io" => "index.docker.io",
        other => other,
    };
    format!("{registry}/{}", reference.repository())
}

fn of_whole(
    text: &str,
    now: impl FnOnce() -> String,
) -> Result<ModelReference, ModelReferenceError> {
    let invalid = |reason: &str| ModelReferenceError::Model(reason.to_owned());
    let reference: ImageRef = text.parse().map_err(|error| invalid(&why(&error)))?;
    if reference.digest().is_some() {
        return Ok(ModelReference {
            reference,
            has_chosen_tag: false,
        });
    }
    let last = text.rsplit('/').next().unwrap_or(text);
    match last.split_once(':') {
        Some((_, tag)) if tag.starts_with(RESERVED) => Err(invalid(&reserved())),
        Some(_) => Ok(ModelReference {
            reference,
            has_chosen_tag: true,
        }),
        None => {
            let tagged = format!("{text}:{}", now());
            Ok(ModelReference {
                reference: tagged.parse().map_err(|error| invalid(&why(&error)))?,
                has_chosen_tag: false,
            })
        }
    }
}

fn of_parts(
    config: &Config,
    default_registry: Option<&str>,
    set: impl Fn(&'static str) -> Option<String>,
    now: impl FnOnce() -> String,
) -> Result<Option<ModelReference>, ModelReferenceError> {
    let variable = |name, value: &str, reason: String| ModelReferenceError::Variable {
        name,
        value: value.to_owned(),
        reason,
    };
    let model = match &config.model {
        Some(model) => {
            let of_config = |reason| ModelReferenceError::Config {
                value: model.clone(),
                reason,
            };
            let parsed = model.parse::<ImageRef>();
            Some(parsed.map_err(|error| of_config(why(&error)))?)
        }
        None => None,
    };
    let repository = match (set(COG_MODEL_REPO), &model) {
        (Some(repository), _) => {
            let is_bare = !repository.contains([':', '@']);
            if !is_bare
                || format!("host.invalid/{repository}")
                    .parse::<ImageRef>()
                    .is_err()
            {
                let reason = "must be a bare repository path (no host, tag, or digest)";
                return Err(variable(COG_MODEL_REPO, &repository, reason.to_owned()));
            }
            repository
        }
        (None, Some(model)) => model.repository().to_owned(),
        (None, None) => return Ok(None),
    };
    let registry = match (set(COG_MODEL_REGISTRY), &model) {
        (Some(registry), _) => {
            let known = format!("{registry}/name").parse::<ImageRef>();
            let is_docker = matches!(registry.as_str(), "docker.io" | "index.docker.io");
            if !known.is_ok_and(|known| known.registry() == registry || is_docker) {
                let reason = "must be a bare host (no path, tag, or digest)";
                return Err(variable(COG_MODEL_REGISTRY, &registry, reason.to_owned()));
            }
            registry
        }
        (None, Some(model)) => model.registry().to_owned(),
        (None, None) => default_registry.unwrap_or(DEFAULT_REGISTRY).to_owned(),
    };
    let chosen = set(COG_MODEL_TAG);
    if let Some(tag) = &chosen {
        if tag.starts_with(RESERVED) {
            return Err(variable(COG_MODEL_TAG, tag, reserved()));
        }
        let tagged = format!("host.invalid/name:{tag}").parse::<ImageRef>();
        let is_tag = tagged.is_ok_and(|parsed| parsed.tag() == Some(tag));
        if !is_tag || tag.contains('@') {
            let reason = "a tag has at most 128 letters, digits, `_`, `.` and `-`, and starts with none of the last two";
            return Err(variable(COG_MODEL_TAG, tag, reason.to_owned()));
        }
    }
    let has_chosen_tag = chosen.is_some();
    let tag = chosen.unwrap_or_else(now);
    let text = format!("{registry}/{repository}:{tag}");
    let reference = text.parse().map_err(|error| ModelReferenceError::Config {
        value: text.clone(),
        reason: why(&error),
    })?;
    Ok(Some(ModelReference {
        reference,
        has_chosen_tag,
    }))
}

fn reserved() -> String {
    format!("\"{RESERVED}\" is a reserved prefix — choose a different tag")
}

fn why(error: &cog_image::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "20260102T030405Z";

    fn resolve(
        model: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<String>, ModelReferenceError> {
        let config = Config {
            model: model.map(str::to_owned),
            ..Config::default()
        };
        resolve_config(&config, variables)
    }

    fn resolve_config(
        config: &Config,
        variables: &[(&str, &str)],
    ) -> Result<Option<String>, ModelReferenceError> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(found.1.to_owned())
        };
        let resolved = ModelReference::resolve(config, None, variable, || NOW.to_owned())?;
        Ok(resolved.map(|model| model.reference.to_string()))
    }

    #[test]
    fn the_whole_reference_counts_alone() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (value, expected) in [
            (
                "localhost:5000/foo/bar".to_owned(),
                format!("localhost:5000/foo/bar:{NOW}"),
            ),
            (
                "localhost:5000/foo/bar:v3".to_owned(),
                "localhost:5000/foo/bar:v3".to_owned(),
            ),
            (
                format!("localhost:5000/foo/bar@{digest}"),
                format!("localhost:5000/foo/bar@{digest}"),
            ),
            (
                "user/model".to_owned(),
                format!("docker.io/user/model:{NOW}"),
            ),
        ] {
            let others = [(COG_MODEL, value.as_str()), (COG_MODEL_TAG, "-bad")];
            assert_eq!(resolve(Some("a/b"), &others), Ok(Some(expected)));
        }
        for value in ["UPPER/case", "a b", "x:cog-image.v1"] {
            let error = resolve(None, &[(COG_MODEL, value)])
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("invalid COG_MODEL value: "), "{error}");
        }
    }

    #[test]
    fn parts_come_from_the_environment_or_the_file() {
        let table = [
            (None, vec![], None),
            (
                None,
                vec![(COG_MODEL_TAG, "cog-x"), (COG_MODEL_REGISTRY, "a/b")],
                None,
            ),
            (Some("user/model"), vec![], Some("docker.io/user/model:NOW")),
            (
                Some("user/model"),
                vec![(COG_MODEL_REGISTRY, "staging.io")],
                Some("staging.io/user/model:NOW"),
            ),
            (
                None,
                vec![(COG_MODEL_REPO, "user/model")],
                Some("r8.im/user/model:NOW"),
            ),
            (
                Some("localhost:5000/a/b"),
                vec![(COG_MODEL_TAG, "v1")],
                Some("localhost:5000/a/b:v1"),
            ),
            (
                Some("localhost:5000/a/b"),
                vec![(COG_MODEL_REPO, "c")],
                Some("localhost:5000/c:NOW"),
            ),
            (
                Some("a/b"),
                vec![(COG_MODEL_REGISTRY, "index.docker.io")],
                Some("docker.io/a/b:NOW"),
            ),
            (
                Some("a/b"),
                vec![(COG_MODEL_REGISTRY, "127.0.0.1:5000")],
                Some("127.0.0.1:5000/a/b:NOW"),
            ),
        ];
        for (model, variables, expected) in table {
            let expected = expected.map(|text| text.replace("NOW", NOW));
            assert_eq!(resolve(model, &variables), Ok(expected), "{variables:?}");
        }
    }

    #[test]
    fn mistakes_name_their_variable() {
        for (name, value, reason) in [
            (COG_MODEL_TAG, "cog-x", "\"cog-\" is a reserved prefix"),
            (COG_MODEL_TAG, "-bad-tag", "a tag has at most"),
            (COG_MODEL_TAG, "a b", "a tag has at most"),
            (COG_MODEL_TAG, "a@b", "a tag has at most"),
            (COG_MODEL_TAG, "a/b", "a tag has at most"),
            (
                COG_MODEL_REGISTRY,
                "https://a.io",
                "must be a bare host (no path, tag, or digest)",
            ),
            (COG_MODEL_REGISTRY, "a.io/b", "must be a bare host"),
            (COG_MODEL_REGISTRY, "a.io@x", "must be a bare host"),
            (COG_MODEL_REGISTRY, "host", "must be a bare host"),
            (
                COG_MODEL_REPO,
                "a/b:v1",
                "must be a bare repository path (no host, tag, or digest)",
            ),
            (COG_MODEL_REPO, "a@b", "must be a bare repository path"),
            (COG_MODEL_REPO, "A/b", "must be a bare repository path"),
        ] {
            let error = resolve(Some("a/b"), &[(name, value)])
                .unwrap_err()
                .to_string();
            let expected = format!("invalid {name} \"{value}\": {reason}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn an_image_is_no_model() {
        let config = Config {
            image: Some("x".into()),
            ..Config::default()
        };
        assert_eq!(resolve_config(&config, &[]), Ok(None));
        for variable in [(COG_MODEL, "a/b"), (COG_MODEL_REPO, "a/b")] {
            let error = resolve_config(&config, &[variable]).unwrap_err();
            assert_eq!(error, ModelReferenceError::Image);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn the_image_of_a_model_has_a_tag_of_its_own() {
        let config = Config {
            model: Some("user/model".into()),
            ..Config::default()
        };
        let model = ModelReference::resolve(&config, None, |_| None, || "v1".to_owned())
            .unwrap()
            .unwrap();
        let image = model.image().unwrap();
        assert_eq!(image, "index.docker.io/user/model:cog-image.v1");
        assert!(image.parse::<ImageRef>().is_ok());
    }
}
