//! `cog push`: an image from the project, in a registry.

use anyhow::Context as _;
use cog_build::BuiltImage;
use cog_config::Config;
use cog_errors::Hint;
use cog_image::registry::RegistryError;
use cog_image::{Descriptor, ImageRef, Index, Platform, Pushing, StoredImage};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::build::{Order, SchemaChoice, platforms};
use crate::args::PushArgs;
use crate::image_argument;
use crate::model_reference::{COG_MODEL, COG_MODEL_TAG, ModelReference, repository};
use crate::outputs::pretty;
use crate::push_id::push_id;
use crate::session::Session;

/// What an index is called that lists images for several platforms, and what one of a model's images.
const INDEX: &str = "index";
const MODEL: &str = "model";
/// The registry of replicate.com.
const REPLICATE: &str = "r8.im";

/// What is pushed, and where to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// An image.
    Image(ImageRef),
    /// An image and an index that lists it, and could list more.
    Bundle(ModelReference),
}

/// Why something is not pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error(
        "To push images, you must either set the 'image' option in cog.yaml or pass an image name as an argument. \
         For example, 'cog push registry.example.com/your-username/model-name'"
    )]
    NoTarget,
    #[error("positional image argument not supported with 'model' config")]
    PositionalWithModel,
    #[error("cannot push to digest-pinned ref {0}")]
    Pinned(String),
    #[error("`{0}` is a registry, and names no repository in it")]
    NoRepository(String),
    #[error("image {0} is not in the local store")]
    NotStored(String),
    #[error(
        "Unable to find existing Replicate model for {0}. Go to replicate.com and create a new model before pushing."
    )]
    NoReplicateModel(String, #[source] cog_image::Error),
}

impl Hint for PushError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::PositionalWithModel => Some(format!(
                "set {COG_MODEL} to push elsewhere, or {COG_MODEL_TAG} for another tag"
            )),
            Self::Pinned(_) => Some("name a tag, or none".into()),
            Self::NoRepository(registry) => Some(format!("name one after it: `{registry}/NAME`")),
            Self::NoReplicateModel(..) => Some(
                "If the model already exists, you may be logged in as another user: run 'cog login' again, and \
                 as the same user, without or with 'sudo', as 'cog push'"
                    .into(),
            ),
            Self::NotStored(name) => Some(format!(
                "build it with `cog build -t {name}`, or give the name to an image with `cog tag IMAGE {name}`; without \
                 `--no-build` it is built and pushed"
            )),
            Self::NoTarget => None,
        }
    }
}

pub(crate) fn push(session: &Session<'_>, args: &PushArgs) -> anyhow::Result<()> {
    if args.image_flags.json {
        session.printer.account().open();
    }
    args.flags.bases.check()?;
    let (target, pushing, built) = if args.no_build {
        stored(session, args)?
    } else {
        made(session, args)?
    };
    let shown = target.reference().familiar();
    session.printer.info(&format!("Pushing to {shown}..."));
    let pushed = match &target {
        Target::Image(reference) => push_image(&pushing, &built, reference),
        Target::Bundle(model) => push_bundle(&pushing, &built, model),
    }
    .map_err(|error| explained(error, target.reference()))
    .context("failed to push image")?;
    for line in pushed
        .lines()
        .into_iter()
        .chain(replicate_lines(target.reference()))
    {
        session.printer.foreign(&line);
    }
    if args.image_flags.json {
        let document = as_json(session, &built, &target, &pushed);
        session.printer.result(
            "the report of the push",
            format!("{}\n", pretty(&document)?),
        )?;
    }
    Ok(())
}

/// The image of the project, and where it goes.
fn made(session: &Session<'_>, args: &PushArgs) -> anyhow::Result<(Target, Pushing, BuiltImage)> {
    let project = session.project(&args.flags.project)?;
    let model = session.model(&project)?;
    let target = Target::choose(model, args.image.as_deref(), &project.config)?;
    let pushing = session.store()?.pushing_to(target.reference())?;
    let name = target.build_name();
    let milliseconds = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let order = Order {
        flags: &args.flags,
        image: &args.image_flags,
        name: &name,
        push_id: Some(push_id(milliseconds)),
    };
    let built = order.build(session, project, SchemaChoice::ByFlags)?;
    Ok((target, pushing, built))
}

/// The image that the store has under the name that it goes to. Whoever names that needs no project.
fn stored(session: &Session<'_>, args: &PushArgs) -> anyhow::Result<(Target, Pushing, BuiltImage)> {
    let target = if let Some(image) = args.image.as_deref() {
        let name = image_argument::only_name(session.store()?, image)?;
        Target::choose(None, Some(&name), &Config::default())?
    } else {
        let project = session.project(&args.flags.project)?;
        Target::choose(session.model(&project)?, None, &project.config)?
    };
    let (store, name) = (session.store()?, target.build_name());
    let index = store.image_index(&name)?;
    let image = match &index {
        Some(index) => {
            let here = index.for_platform(&Platform::host());
            here.or(index.images.first()).cloned()
        }
        None => store.image(&name)?,
    };
    let image = image.ok_or_else(|| PushError::NotStored(name))?;
    let built = BuiltImage {
        image,
        index,
        schema: None,
    };
    let pushing = store.pushing_to(target.reference())?;
    Ok((target, pushing, built))
}

/// `cog push --json`.
fn as_json(session: &Session<'_>, built: &BuiltImage, target: &Target, pushed: &Pushed) -> Value {
    let done = session.printer.account().close();
    let bytes = ["sent", "mounted", "present"].map(|arrival| done.bytes(arrival));
    let [sent, mounted, present] = bytes;
    json!({
        "name": built.image.name,
        "digest": pushed.made.digest.to_string(),
        "created": built.image.config.created,
        "size": built.image.size(),
        "platforms": platforms(built),
        "reference": target.reference().familiar(),
        "pinned": pinned(&pushed.repository, &pushed.made),
        "index": pushed.index.as_ref().map(|index| index.digest.to_string()),
        "blobs": done.blobs,
        "sent_bytes": sent,
        "mounted_bytes": mounted,
        "present_bytes": present,
        "steps": done.steps,
        "warnings": done.warnings,
    })
}

/// What the registry has now.
struct Pushed {
    /// As people write it.
    repository: String,
    /// What was made: the image, or the index of those for several platforms.
    made: Descriptor,
    /// The images, by their manifests; one for each platform.
    images: Vec<Descriptor>,
    /// What lists them, if something does.
    index: Option<Descriptor>,
    /// What that is called.
    title: &'static str,
}

impl Pushed {
    fn lines(&self) -> Vec<String> {
        let pinned = |what: &Descriptor| pinned(&self.repository, what);
        let Some(index) = &self.index else {
            return vec![format!("  image  {}", pinned(&self.made))];
        };
        let last = self.images.len().saturating_sub(1);
        let line = |(number, image): (usize, &Descriptor)| {
            let branch = if number == last { "└─" } else { "├─" };
            let title = match &image.platform {
                Some(platform) if last > 0 => platform.shown(),
                _ => "image".to_owned(),
            };
            format!("  {branch} {title}   {}", pinned(image))
        };
        let mut lines = vec![format!("  {:<8}{}", self.title, pinned(index))];
        lines.extend(self.images.iter().enumerate().map(line));
        lines
    }
}

/// An image of an index as it is told.
fn listed(image: &StoredImage) -> Descriptor {
    Descriptor {
        platform: Some(image.platform()),
        ..image.manifest.clone()
    }
}

/// Pushes the image alone, or the images for several platforms with their index.
fn push_image(pushing: &Pushing, built: &BuiltImage, target: &ImageRef) -> anyhow::Result<Pushed> {
    let repository = repository_as_written(target);
    let Some(index) = &built.index else {
        let made = pushing.image(&built.image, target)?;
        return Ok(Pushed {
            repository,
            images: vec![made.clone()],
            made,
            index: None,
            title: INDEX,
        });
    };
    let made = pushing.images(index, target)?;
    Ok(Pushed {
        repository,
        index: Some(made.clone()),
        made,
        images: index.images.iter().map(listed).collect(),
        title: INDEX,
    })
}

/// Pushes the image under a tag of its own, and under the model's tag an index that lists it. Images for several platforms
/// are listed there, and have no tags.
fn push_bundle(
    pushing: &Pushing,
    built: &BuiltImage,
    model: &ModelReference,
) -> anyhow::Result<Pushed> {
    let target = &model.reference;
    let pinned_target = || PushError::Pinned(target.familiar());
    let alias = model.image().ok_or_else(pinned_target)?;
    let repository = repository(target);
    if let Some(index) = &built.index {
        let made = pushing.images(index, target)?;
        return Ok(Pushed {
            repository,
            index: Some(made.clone()),
            made,
            images: index.images.iter().map(listed).collect(),
            title: MODEL,
        });
    }
    let pushed = pushing.image(&built.image, &alias.parse()?)?;
    let index = Index {
        manifests: vec![pushed.clone()],
        ..Index::default()
    };
    let listed = pushing.index(&index, target)?;
    Ok(Pushed {
        repository,
        made: pushed.clone(),
        images: vec![pushed],
        index: Some(listed),
        title: MODEL,
    })
}

impl Target {
    fn choose(
        model: Option<ModelReference>,
        argument: Option<&str>,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let target = match (model, argument) {
            (Some(_), Some(_)) => return Err(PushError::PositionalWithModel.into()),
            (Some(model), None) => Self::Bundle(model),
            (None, argument) => {
                let name = argument.or(config.image.as_deref());
                let name = name.ok_or(PushError::NoTarget)?;
                image_argument::refuse_digest(name)?;
                Self::Image(name.parse()?)
            }
        };
        let reference = target.reference();
        if let Some(registry) = reference.mistaken_registry() {
            return Err(PushError::NoRepository(registry).into());
        }
        if reference.digest().is_some() {
            return Err(PushError::Pinned(reference.familiar()).into());
        }
        Ok(target)
    }

    fn reference(&self) -> &ImageRef {
        match self {
            Self::Image(reference) => reference,
            Self::Bundle(model) => &model.reference,
        }
    }

    /// What the image is called in the store. A new name for each push would keep every image for ever, so the time is no
    /// part of it.
    fn build_name(&self) -> String {
        match self {
            Self::Bundle(model) if !model.has_chosen_tag => repository(&model.reference),
            _ => self.reference().familiar(),
        }
    }
}

/// Says of an unknown model what to do about it.
fn explained(error: anyhow::Error, target: &ImageRef) -> anyhow::Error {
    if target.registry() != REPLICATE {
        return error;
    }
    match error.downcast::<cog_image::Error>() {
        Ok(
            error @ cog_image::Error::Registry(
                RegistryError::NotFound { .. } | RegistryError::NoRepository { .. },
            ),
        ) => PushError::NoReplicateModel(target.familiar(), error).into(),
        Ok(error) => error.into(),
        Err(error) => error,
    }
}

/// Where the model can be run.
fn replicate_lines(target: &ImageRef) -> Vec<String> {
    if target.registry() != REPLICATE {
        return Vec::new();
    }
    vec![
        "Run your model on Replicate:".to_owned(),
        format!("https://replicate.com/{}", target.repository()),
    ]
}

/// The repository as people write it.
fn repository_as_written(target: &ImageRef) -> String {
    let familiar = target.familiar();
    let tag = target.tag().map(|tag| format!(":{tag}"));
    match tag.and_then(|tag| familiar.strip_suffix(&tag)) {
        Some(repository) => repository.to_owned(),
        None => familiar,
    }
}

fn pinned(repository: &str, manifest: &Descriptor) -> String {
    format!("{repository}@{}", manifest.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> ModelReference {
        ModelReference {
            reference: text.parse().expect("a reference"),
            has_chosen_tag: true,
        }
    }

    #[test]
    fn targets_are_chosen_in_order() {
        let config = Config {
            image: Some("in/file".into()),
            ..Config::default()
        };
        let choose = |model, argument| {
            Target::choose(model, argument, &config).map_err(|error| error.to_string())
        };
        let image = |name: &str| Ok(Target::Image(name.parse().expect("a reference")));
        assert_eq!(choose(None, Some("by/hand")), image("by/hand"));
        assert_eq!(choose(None, None), image("in/file"));
        let bundle = Target::Bundle(model("a.io/b:1"));
        assert_eq!(choose(Some(model("a.io/b:1")), None), Ok(bundle));
        assert_eq!(
            choose(Some(model("a.io/b:1")), Some("by/hand")),
            Err("positional image argument not supported with 'model' config".into())
        );
        let error = Target::choose(None, None, &Config::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("To push images, you must either set the 'image' option in cog.yaml")
        );
        let digest = format!("a.io/b@sha256:{}", "0".repeat(64));
        assert_eq!(
            choose(None, Some(&digest)),
            Err(format!("cannot push to digest-pinned ref {digest}"))
        );
        assert_eq!(
            choose(None, Some("localhost:5000")),
            Err("`localhost:5000` is a registry, and names no repository in it".into())
        );
    }

    #[test]
    fn the_time_is_no_part_of_a_name() {
        let mut timed = model("a.io/b:20260102T030405Z");
        timed.has_chosen_tag = false;
        assert_eq!(Target::Bundle(timed).build_name(), "a.io/b");
        assert_eq!(Target::Bundle(model("a.io/b:v1")).build_name(), "a.io/b:v1");
        let image = Target::Image("user/image".parse().expect("a reference"));
        assert_eq!(image.build_name(), "user/image:latest");
    }

    #[test]
    fn replicate_says_where_models_run() {
        let lines = |text: &str| replicate_lines(&text.parse().expect("a reference"));
        assert_eq!(
            lines("r8.im/u/m:v1"),
            ["Run your model on Replicate:", "https://replicate.com/u/m"]
        );
        assert!(lines("example.com/u/m").is_empty());
    }

    #[test]
    fn models_that_replicate_does_not_know_are_told_of() {
        let said = |target: &str| {
            let target: ImageRef = target.parse().expect("a reference");
            let absent = RegistryError::NotFound {
                what: "u/m".into(),
                registry: target.registry().to_owned(),
            };
            let error = explained(cog_image::Error::from(absent).into(), &target);
            error.to_string()
        };
        assert_eq!(
            said("r8.im/u/m"),
            "Unable to find existing Replicate model for r8.im/u/m:latest. \
             Go to replicate.com and create a new model before pushing."
        );
        assert_eq!(said("example.com/u/m"), "no `u/m` in example.com");
    }

    #[test]
    fn repositories_are_shown_as_they_are_written() {
        let shown = |text: &str| repository_as_written(&text.parse().expect("a reference"));
        assert_eq!(shown("user/image"), "user/image");
        assert_eq!(shown("localhost:5000/a:v1"), "localhost:5000/a");
    }
}
