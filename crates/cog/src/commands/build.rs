//! `cog build`: an image from the project.

use anyhow::Context as _;
use cog_build::{Cache, SchemaSource, Secret};
use cog_config::derived_image_name;
use cog_image::{ExportOptions, ExportTarget, StoredImage, export};

use crate::args::{BuildArgs, OutputArg};
use crate::reporter::Steps;
use crate::session::{Project, Session};

pub(crate) fn build(session: &Session<'_>, args: &BuildArgs) -> anyhow::Result<()> {
    args.flags.bases.check()?;
    let project = session.project(&args.flags.project)?;
    let name = image_name(&project, args.tag.as_deref());
    let engine = session.engine(&args.flags)?;
    session.printer.info(&format!(
        "Building Docker image from environment in {} as {name}...",
        project.file.file_name
    ));
    let reporter = Steps::new(session.printer);
    let store = session.store()?;
    let mut request = session.build_request(
        &project,
        store,
        Some(engine.as_ref()),
        &args.flags,
        &reporter,
    )?;
    if args.no_cache {
        request.cache = Cache::Ignore;
    }
    if args.recipe.timestamp >= 0 {
        request.timestamp = Some(args.recipe.timestamp);
    }
    // Bytecode (`--precompile`) is made in any case.
    if args.recipe.strip {
        session
            .printer
            .warning("`--strip` is ignored: shared libraries stay as their packages have them");
    }
    request.secrets = Secret::parse_all(args.secret.iter().map(String::as_str))?;
    if let Some(file) = &args.openapi_schema {
        session.printer.info(&format!(
            "Validating model schema from {}...",
            file.display()
        ));
        let text = fs_err::read_to_string(file)
            .with_context(|| format!("Failed to read schema file: {}", file.display()))?;
        request.schema = SchemaSource::Text(text);
    }
    if args.skip_schema_validation {
        request.schema = SchemaSource::Omit;
    }
    let built = cog_build::build(&request, &name).context("image build failed")?;
    session
        .printer
        .success(&format!("Image built as {}", built.image.name));
    args.output
        .iter()
        .try_for_each(|output| copy(session, &built.image, output))
}

/// What the image is called: by the flag, else by cog.yaml, else by the folder.
pub(super) fn image_name(project: &Project, tag: Option<&str>) -> String {
    let config = &project.config;
    tag.or(config.image.as_deref())
        .or(config.model.as_deref())
        .map_or_else(|| derived_image_name(project.directory()), str::to_owned)
}

fn copy(session: &Session<'_>, image: &StoredImage, output: &OutputArg) -> anyhow::Result<()> {
    let (target, path) = match output {
        OutputArg::OciDir(path) => (ExportTarget::OciDir, path),
        OutputArg::OciArchive(path) => (ExportTarget::OciArchive, path),
        OutputArg::DockerArchive(path) => (ExportTarget::DockerArchive, path),
    };
    export(
        session.store()?,
        image,
        target,
        path,
        &ExportOptions::default(),
    )
    .with_context(|| format!("could not write the image to {}", path.display()))?;
    session
        .printer
        .success(&format!("Wrote {}", path.display()));
    Ok(())
}
