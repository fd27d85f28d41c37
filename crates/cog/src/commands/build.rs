//! `cog build`: an image from the project.

use anyhow::{Context as _, bail};
use cog_build::{
    Architecture, Attestations, BuildRequest, BuiltImage, Cache, SchemaSource, Secret,
    SourceLayers, Symbols,
};
use cog_config::derived_image_name;
use cog_image::{Compression, ExportOptions, ExportTarget, StoredImage, export, export_index};

use serde_json::{Value, json};

use super::images::refuse_digest;
use crate::args::{BuildArgs, BuildFlags, CompressionArg, FinishFlags, ImageFlags, OutputArg};
use crate::handover::{self, Given};
use crate::outputs::pretty;
use crate::session::{Project, Session, seconds};

pub(crate) fn build(session: &Session<'_>, args: &BuildArgs) -> anyhow::Result<()> {
    if args.image.json {
        session.printer.account().open();
    }
    args.flags.bases.check()?;
    let project = session.project(&args.flags.project)?;
    let name = image_name(&project, args.tag.as_deref());
    refuse_digest(&name)?;
    check_outputs(args)?;
    let order = Order {
        flags: &args.flags,
        image: &args.image,
        name: &name,
        push_id: None,
    };
    let schema = if args.skip_schema_validation {
        SchemaChoice::Omit
    } else {
        SchemaChoice::ByFlags
    };
    let built = order.build(session, project, schema)?;
    let given = handover::load(session, &built.image, args.load)?;
    session
        .printer
        .success(&format!("Image built as {}", built.image.name));
    args.output
        .iter()
        .try_for_each(|output| copy(session, &built, output))?;
    if args.image.json {
        let text = format!("{}\n", pretty(&as_json(session, args, &built, given))?);
        session.printer.result("the report of the build", &text)?;
    }
    Ok(())
}

/// Refuses where nothing can be written, and what can't hold images for several platforms, before any is made.
fn check_outputs(args: &BuildArgs) -> anyhow::Result<()> {
    let archives = args.output.iter().filter_map(|output| match output {
        OutputArg::OciDir(_) => None,
        OutputArg::OciArchive(path) | OutputArg::DockerArchive(path) => Some(path),
    });
    for path in archives {
        if path.is_dir() {
            bail!(
                "`--output`: `{}` is a folder: name a file for the archive",
                path.display()
            );
        }
    }
    let mut outputs = args.output.iter();
    let archive = outputs.any(|output| matches!(output, OutputArg::DockerArchive(_)));
    if archive && architectures(&args.image.finish).len() > 1 {
        bail!(
            "`docker-archive` holds one image, and there are several platforms: write an `oci-archive`, or build one after \
             the other"
        );
    }
    Ok(())
}

/// `cog build --json`.
fn as_json(
    session: &Session<'_>,
    args: &BuildArgs,
    built: &BuiltImage,
    given: Option<Given>,
) -> Value {
    let done = session.printer.account().close();
    let written = args.output.iter();
    let written = written.map(|output| output.path().display().to_string());
    let image = &built.image;
    let made = built.index.as_ref().map(|index| &index.descriptor);
    json!({
        "name": image.name,
        "digest": made.unwrap_or(&image.manifest).digest.to_string(),
        "created": image.config.created,
        "size": image.size(),
        "platforms": platforms(built),
        "steps": done.steps,
        "written": written.collect::<Vec<_>>(),
        "given_to": given.map(|given| json!({
            "daemon": given.daemon,
            "sent_bytes": given.sent,
        })),
        "warnings": done.warnings,
    })
}

/// The images, one for each platform.
fn images(built: &BuiltImage) -> &[StoredImage] {
    match &built.index {
        Some(index) => &index.images,
        None => std::slice::from_ref(&built.image),
    }
}

/// The names of their platforms.
pub(super) fn platforms(built: &BuiltImage) -> Vec<String> {
    let platforms = images(built).iter().map(StoredImage::platform);
    platforms.map(|platform| platform.to_string()).collect()
}

/// Puts what was asked for the image itself into the request.
fn apply(flags: &FinishFlags, request: &mut BuildRequest<'_>) {
    request.compression = flags.compression.map(|chosen| match chosen {
        CompressionArg::Zstd => Compression::Zstd,
        CompressionArg::Gzip => Compression::Gzip,
    });
    if flags.separate_weights {
        request.source_layers = SourceLayers::SeparateWeights;
    }
    request.user.clone_from(&flags.user);
    request.attestations = Attestations {
        sbom: flags.sbom,
        provenance: flags.provenance,
    };
}

/// What the image is for: each platform once, in an order of its own.
fn architectures(flags: &FinishFlags) -> Vec<Architecture> {
    let mut all = flags.platform.clone();
    all.sort_unstable();
    all.dedup();
    if all.is_empty() {
        all.push(Architecture::host());
    }
    all
}

/// Refuses what is said of layers, packages and locks that are not ours to make.
fn check_dockerfile(flags: &BuildFlags, image: &ImageFlags) -> anyhow::Result<()> {
    let finish = &image.finish;
    let others = [
        (flags.locked, "--locked"),
        (finish.separate_weights, "--separate-weights"),
        (finish.sbom, "--sbom"),
        (finish.provenance, "--provenance"),
        (image.recipe.strip, "--strip"),
        (image.recipe.precompile, "--precompile"),
        (
            architectures(finish) != [Architecture::host()],
            "--platform",
        ),
    ];
    match others.into_iter().find(|(is_given, _)| *is_given) {
        Some((_, flag)) if flags.bases.dockerfile.is_some() => bail!(
            "`{flag}` and `--dockerfile` do not go together: with a Dockerfile of your own, that decides"
        ),
        _ => Ok(()),
    }
}

/// An image to be made.
pub(super) struct Order<'a> {
    pub(super) flags: &'a BuildFlags,
    pub(super) image: &'a ImageFlags,
    /// What it is called in the store, and in what is said.
    pub(super) name: &'a str,
    pub(super) push_id: Option<String>,
}

/// Where the model's document comes from.
#[derive(Clone, Copy)]
pub(super) enum SchemaChoice {
    /// From the file that the flags name, else from the source.
    ByFlags,
    /// There is none.
    Omit,
}

impl Order<'_> {
    pub(super) fn build(
        self,
        session: &Session<'_>,
        project: Project,
        schema: SchemaChoice,
    ) -> anyhow::Result<BuiltImage> {
        let (flags, image, name) = (self.flags, self.image, self.name);
        check_dockerfile(flags, image)?;
        let engine = session.engine(flags)?;
        let image_word = session.image_word(engine.as_ref(), flags)?;
        session.printer.info(&format!(
            "Building {image_word} from environment in {} as {name}...",
            project.file.file_name
        ));
        let schema = match schema {
            SchemaChoice::ByFlags => schema_source(session, image)?,
            SchemaChoice::Omit => SchemaSource::Omit,
        };
        let project = session
            .with_model(project, &schema)
            .context("image build failed")?;
        let engine = Some(engine.as_ref());
        session.with_request(&project, engine, flags, |mut request| {
            if image.no_cache {
                request.cache = Cache::Ignore;
            }
            if image.recipe.timestamp >= 0 {
                let given = image.recipe.timestamp.to_string();
                request.timestamp = Some(seconds("--timestamp", &given)?);
            }
            // Bytecode (`--precompile`) is made in any case.
            if image.recipe.strip {
                request.symbols = Symbols::Stripped;
            }
            request.architectures = architectures(&image.finish);
            apply(&image.finish, &mut request);
            request.secrets = Secret::parse_all(image.secret.iter().map(String::as_str))?;
            request.push_id = self.push_id;
            cog_build::build(&request, name).context("image build failed")
        })
    }
}

fn schema_source(session: &Session<'_>, flags: &ImageFlags) -> anyhow::Result<SchemaSource> {
    let Some(file) = &flags.openapi_schema else {
        return Ok(SchemaSource::Generate);
    };
    session.printer.info(&format!(
        "Validating model schema from {}...",
        file.display()
    ));
    let text = fs_err::read_to_string(file)
        .with_context(|| format!("Failed to read schema file: {}", file.display()))?;
    Ok(SchemaSource::Text(text))
}

/// What the image is called: by the flag, else by cog.yaml, else by the folder.
pub(crate) fn image_name(project: &Project, tag: Option<&str>) -> String {
    let config = &project.config;
    tag.or(config.image.as_deref())
        .or(config.model.as_deref())
        .map_or_else(|| derived_image_name(project.directory()), str::to_owned)
}

fn copy(session: &Session<'_>, built: &BuiltImage, output: &OutputArg) -> anyhow::Result<()> {
    let target = match output {
        OutputArg::OciDir(_) => ExportTarget::OciDir,
        OutputArg::OciArchive(_) => ExportTarget::OciArchive,
        OutputArg::DockerArchive(_) => ExportTarget::DockerArchive,
    };
    let (store, path, options) = (session.store()?, output.path(), ExportOptions::default());
    match &built.index {
        Some(index) => export_index(store, index, target, path, &options),
        None => export(store, &built.image, target, path, &options),
    }
    .with_context(|| format!("could not write the image to {}", path.display()))?;
    session
        .printer
        .success(&format!("Wrote {}", path.display()));
    Ok(())
}
