//! `cog debug`: the Dockerfile that the published tool would have generated for the project, or what a build of ours
//! would do. Nothing is built.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use cog_build::dockerfile::{
    Dockerfile, DockerfileOptions, SeparatedWeights, dockerfile, weights_dockerfile,
};
use cog_build::{BuildRequest, Certificates, LockPolicy, SdkSources};
use cog_config::{
    BaseCandidate, BaseKind, CogBase, CompleteError, CompleteWarning, Completed, Options, complete,
};
use cog_engine::Engine;
use cog_image::registry::Memory;
use cog_image::{ImageRef, Platform};
use serde::Serialize;

use super::build::image_name;
use crate::args::DebugArgs;
use crate::session::{Project, Session};

/// What is printed.
enum Wanted<'a> {
    /// The user's own Dockerfile, as it is built.
    Given(&'a Path),
    /// A Dockerfile made from cog.yaml.
    Recipe,
    /// Two of them, and what the source is copied without.
    SeparatedRecipes,
    /// What a build does, as far as the project alone tells.
    Outline,
    /// The same with the answers of registries and indexes.
    ResolvedOutline,
}

impl<'a> Wanted<'a> {
    fn by(args: &'a DebugArgs) -> Self {
        match &args.flags.bases.dockerfile {
            _ if args.resolve => Self::ResolvedOutline,
            _ if args.plan => Self::Outline,
            Some(file) => Self::Given(file),
            None if args.separate_weights => Self::SeparatedRecipes,
            None => Self::Recipe,
        }
    }
}

pub(crate) fn debug(session: &Session<'_>, args: &DebugArgs) -> anyhow::Result<()> {
    let project = session.project(&args.flags.project)?;
    let text = match Wanted::by(args) {
        Wanted::Given(file) => given(&project, file)?,
        Wanted::Recipe => recipe(session, &project, args, None)?.text,
        Wanted::SeparatedRecipes => separated(session, &project, args)?,
        Wanted::Outline => outlined(session, &project, args, None, cog_build::outline)?,
        Wanted::ResolvedOutline => {
            let engine = session.engine(&args.flags)?;
            outlined(
                session,
                &project,
                args,
                Some(&*engine),
                cog_build::resolved_outline,
            )?
        }
    };
    Ok(session.printer.result("what `cog debug` shows", &text)?)
}

/// The JSON of what `outline` finds out about the project's build.
fn outlined<T: Serialize>(
    session: &Session<'_>,
    project: &Project,
    args: &DebugArgs,
    engine: Option<&dyn Engine>,
    outline: impl FnOnce(&BuildRequest<'_>) -> cog_build::Result<T>,
) -> anyhow::Result<String> {
    session.with_request(project, engine, &args.flags, |mut request| {
        if request.lock == LockPolicy::Update {
            request.lock = LockPolicy::Keep;
        }
        let json = serde_json::to_string_pretty(&outline(&request)?)?;
        Ok(json + "\n")
    })
}

/// The user's Dockerfile, with the one variable that the server can't do without.
fn given(project: &Project, file: &Path) -> anyhow::Result<String> {
    let mut text = fs_err::read_to_string(file)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let concurrency = project.config.concurrency_max;
    if let Some(max) = concurrency.or_else(|| decorated_concurrency(project)) {
        let _ = writeln!(text, "ENV COG_MAX_CONCURRENCY={max}");
    }
    Ok(text)
}

fn separated(session: &Session<'_>, project: &Project, args: &DebugArgs) -> anyhow::Result<String> {
    if let Some(name) = &args.image_name {
        name.parse::<ImageRef>().context("`--image-name`")?;
    }
    let weights = SeparatedWeights {
        image: image_name(project, args.image_name.as_deref()),
        paths: cog_build::separated_paths(project.directory())?,
    };
    let patterns: String = weights
        .exclude_patterns()
        .iter()
        .flat_map(|pattern| [pattern, "\n"])
        .collect();
    let parts = [
        ("Weights Dockerfile contents", weights_dockerfile(&weights)?),
        (
            "Runner Dockerfile contents",
            recipe(session, project, args, Some(weights))?.text,
        ),
        ("Weights exclude patterns", patterns),
    ];
    let block = |(title, text)| format!("=== {title}:\n{text}===\n");
    Ok(parts.map(block).concat())
}

/// The Dockerfile; warnings are said.
fn recipe(
    session: &Session<'_>,
    project: &Project,
    args: &DebugArgs,
    separated: Option<SeparatedWeights>,
) -> anyhow::Result<Dockerfile> {
    cog_build::check_requirements(&project.config, project.directory())?;
    let completed = completed(session, project, args)?;
    let variable = |name: &str| std::env::var(name).ok();
    let sdk = SdkSources::read(
        variable,
        completed.sdk_version.as_deref(),
        session.directory(),
    )?;
    for detail in sdk.details() {
        session.printer.debug(&detail);
    }
    let options = DockerfileOptions {
        project_dir: project.directory().to_owned(),
        config_file_name: project.file.file_name.clone(),
        sdk,
        certificates: Certificates::of_environment()?,
        precompile: args.recipe.precompile,
        strip: args.recipe.strip,
        separated,
    };
    let made = dockerfile(&project.config, &completed, &options)?;
    for warning in &made.warnings {
        session.printer.warning(warning);
    }
    Ok(made)
}

/// The project with every default decided, on a base that there is.
fn completed(
    session: &Session<'_>,
    project: &Project,
    args: &DebugArgs,
) -> anyhow::Result<Completed> {
    let (lines, _) = project.config.requirement_lines(project.directory())?;
    let options = Options {
        decorated_concurrency: decorated_concurrency(project),
        ..session.options(&args.flags.bases)
    };
    let mut completed = complete(&project.config, &lines, &options)?;
    let mut warnings = std::mem::take(&mut completed.warnings);
    let prebuilt = completed.base()?.clone();
    if prebuilt.kind == BaseKind::CogBase
        && let Some(reason) = missing(session, &prebuilt)?
    {
        if options.cog_base == CogBase::Required {
            return Err(CompleteError::NoBase { reason }.into());
        }
        warnings.push(CompleteWarning::NoCogBase { reason });
        let options = Options {
            cog_base: CogBase::Off,
            ..options
        };
        completed = complete(&project.config, &lines, &options)?;
    }
    for warning in &warnings {
        session.printer.warning(&warning.to_string());
    }
    Ok(completed)
}

/// Why the base can't be used, if it can't.
fn missing(session: &Session<'_>, base: &BaseCandidate) -> anyhow::Result<Option<String>> {
    let reference = base.reference.as_deref().unwrap_or_default();
    let parsed = reference
        .parse()
        .with_context(|| format!("invalid base image `{reference}`"))?;
    let answer = session
        .store()?
        .lookup(&parsed, &Platform::linux_amd64(), Memory::Use)?;
    Ok(answer
        .problem()
        .map(|problem| format!("`{reference}`: {problem}")))
}

/// What `@cog.concurrent` says, where the model's source can be read.
fn decorated_concurrency(project: &Project) -> Option<u32> {
    let generated = cog_schema::generate(&cog_schema::Request {
        tree: &cog_schema::Directory::new(project.directory()),
        runner: project.config.runner.as_deref(),
        train: project.config.train.as_deref(),
        cog_version: cog_build::VERSION,
    });
    generated.ok()?.handler.concurrency_max
}
