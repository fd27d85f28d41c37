//! `cog run`: one prediction, on the project or on an image.

mod conversation;
mod failure;
mod screen;

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cog_build::{BuildError, SchemaSource};
use cog_engine::{KernelProbe, Probe as _};
use cog_image::registry::RegistryError;
use cog_inputs::Kind;
use serde_json::{Map, Value, json};

use crate::args::{EngineArg, RunArgs, StartFlags};
use crate::inputs::{self, Given};
use crate::interrupts::Interrupts;
use crate::outputs::{self, Destination, Growing};
use crate::runtime::{Image, Launcher, Server, block_on, environment};
use crate::session::Session;

use super::pull::refuse_registry;
use super::{Interrupted, schema};
use conversation::{Failure, ID, Outcome, Patience};
pub(super) use failure::PredictionFailed;
use screen::Screen;

/// The largest body that the server takes, in bytes.
const MAX_REQUEST: usize = 100 << 20;
/// How long a reader may take for what was said before the prediction was stopped.
const LAST_LINES: Duration = Duration::from_secs(1);
const TOKEN: &str = "REPLICATE_API_TOKEN";

pub(crate) fn run(session: &Session<'_>, args: &RunArgs) -> anyhow::Result<()> {
    let mut env = environment(&args.env)?;
    let level = if session.debug { "debug" } else { "warning" };
    env.push(("COG_LOG_LEVEL".into(), level.into()));
    match &args.image {
        Some(name) => run_image(session, args, name, &env),
        None => run_project(session, args, &env),
    }
}

/// Mistakes in the inputs are found before anything is built or started.
fn run_project(
    session: &Session<'_>,
    args: &RunArgs,
    env: &[(String, String)],
) -> anyhow::Result<()> {
    let project = session.project(&args.flags.build.project)?;
    let project = session.with_model(project, &SchemaSource::Generate)?;
    let document = project.interface.schema.as_deref().unwrap_or_default();
    let document = serde_json::from_str(document).context("Failed to load model schema JSON")?;
    let prediction = Prediction::new(session, args, &document, project.directory())?;
    let launcher = Launcher::of_project(session, &project, &args.flags)?;
    prediction.run(session, args, &launcher, env)
}

fn run_image(
    session: &Session<'_>,
    args: &RunArgs,
    name: &str,
    env: &[(String, String)],
) -> anyhow::Result<()> {
    if name.contains('=') {
        bail!("Invalid image name '{name}'. Did you forget `-i`?");
    }
    let image = local_or_pulled(session, &args.flags, name)?;
    let document = schema::of_labels(name, image.labels())?;
    let prediction = Prediction::new(session, args, &document, session.directory())?;
    let launcher = Launcher::of_image(session, &image, &args.flags)?;
    prediction.run(session, args, &launcher, env)
}

/// The image in our store, in the daemon that the engine uses, or in its registry.
pub(super) fn local_or_pulled(
    session: &Session<'_>,
    flags: &StartFlags,
    name: &str,
) -> anyhow::Result<Image> {
    let store = session.store()?;
    if let Some(image) = store
        .image(name)
        .with_context(|| format!("invalid image reference \"{name}\""))?
    {
        return Ok(image.into());
    }
    let reference: cog_image::ImageRef = name
        .parse()
        .with_context(|| format!("invalid image reference \"{name}\""))?;
    if flags.build.engine == EngineArg::Docker
        && let Some(image) = KernelProbe.daemon()?.image(&reference.familiar())?
    {
        return Ok(image.into());
    }
    refuse_registry(&reference)?;
    session.printer.info(&format!("Pulling {name}..."));
    match cog_build::pull(store, &reference) {
        Ok(pulled) => Ok(pulled.into()),
        Err(error) if is_absence(&error) => {
            Err(error).with_context(|| format!("image {name}: image not found"))
        }
        Err(error) => Err(error).with_context(|| format!("failed to pull {name}")),
    }
}

/// Whether the registry has answered that it has no such image.
fn is_absence(error: &BuildError) -> bool {
    matches!(
        error,
        BuildError::Image(cog_image::Error::Registry(RegistryError::NotFound { .. }))
    )
}

/// A checked input and what is to be done with the output.
struct Prediction {
    inputs: Map<String, Value>,
    /// Serves those that are not in the request.
    _files: inputs::Disk,
    context: Map<String, Value>,
    output_schema: Value,
    destination: Destination,
    /// What to do about the inputs if it fails.
    advice: Option<String>,
}

impl Prediction {
    fn new(
        session: &Session<'_>,
        args: &RunArgs,
        document: &Value,
        writable: &Path,
    ) -> anyhow::Result<Self> {
        let given = Given {
            flags: &args.inputs,
            json: args.json.as_deref(),
        };
        let files = inputs::Disk::of(args.flags.build.engine);
        let inputs = inputs::resolve(&given, document, Kind::Prediction, &files)?;
        let mut context = Map::new();
        if args.use_replicate_token {
            let token = std::env::var(TOKEN).with_context(|| {
                format!("Failed to find {TOKEN} in the current environment when called with --use-replicate-token")
            })?;
            context.insert("replicate_api_token".into(), token.into());
        }
        let destination = outputs::destination(
            args.output.as_deref(),
            args.json.is_some(),
            session.directory(),
            writable,
        )?;
        let output_schema = document["components"]["schemas"]["Output"].clone();
        destination.check(&output_schema, args.json.is_some())?;
        Ok(Self {
            inputs,
            _files: files,
            context,
            output_schema,
            destination,
            advice: inputs::forgotten_at(&args.inputs, document, Kind::Prediction),
        })
    }

    fn run(
        &self,
        session: &Session<'_>,
        args: &RunArgs,
        launcher: &Launcher,
        env: &[(String, String)],
    ) -> anyhow::Result<()> {
        let request = self.request()?;
        session
            .printer
            .info("Starting Docker image and running setup()...");
        let mut interrupts = Interrupts::listen()?;
        let mut server = launcher.start_server(env)?;
        let list = self
            .destination
            .growing(&self.output_schema, args.json.is_some());
        let screen = Screen::start(session.printer.clone(), list);
        let setup_limit = Duration::from_secs(args.setup_timeout);
        let held = block_on(async {
            let held =
                conversation::hold(&mut server, setup_limit, request, &screen, &mut interrupts);
            Ok(held.await)
        })?;
        let response = match held {
            Ok(Outcome::Answered(response)) => response,
            Ok(Outcome::Interrupted { by, patience }) => {
                end(server, screen, patience, &mut interrupts)?;
                return Err(Interrupted(by).into());
            }
            Err(failure) => {
                drop(interrupts);
                let Shown::ToTheEnd(list) = shown(screen)? else {
                    return server.stop();
                };
                break_off(session, list.as_ref())?;
                return Err(match failure {
                    Failure::Refused(error) => error,
                    Failure::Lost(error) => server.explain(error),
                    Failure::Unseen => anyhow::anyhow!("the output could not be shown"),
                });
            }
        };
        // From here on there is nothing to cancel.
        drop(interrupts);
        let result = match shown(screen)? {
            Shown::ToTheEnd(list) => self.show(session, args, &response, list),
            Shown::AsFarAsWanted => Ok(()),
        };
        server.stop()?;
        result
    }

    /// The request's body. Files are in it.
    fn request(&self) -> anyhow::Result<Bytes> {
        let body = serde_json::to_vec(
            &json!({ "id": ID, "input": self.inputs, "context": self.context }),
        )?;
        if body.len() > MAX_REQUEST {
            let size = |value: &Value| value.as_str().map_or(0, str::len);
            let largest = self.inputs.iter().max_by_key(|(_, value)| size(value));
            bail!(
                "the input `{}` is too large: the request would have {} MiB, and a server takes {}; \
                 pass large files as URLs, -i {0}=https://...",
                largest.map_or("", |(name, _)| name),
                body.len() >> 20,
                MAX_REQUEST >> 20,
            );
        }
        Ok(body.into())
    }

    /// Shows the result, of which a list may be shown in part already.
    fn show(
        &self,
        session: &Session<'_>,
        args: &RunArgs,
        response: &Value,
        list: Option<Growing>,
    ) -> anyhow::Result<()> {
        let succeeded = response["status"] == "succeeded";
        let schema = Some(&self.output_schema).filter(|schema| schema.is_object());
        if args.json.is_none() && !succeeded {
            break_off(session, list.as_ref())?;
            return Err(PredictionFailed::of(response, self.advice.clone()).into());
        }
        if let Some(list) = list.filter(Growing::has_begun) {
            return Ok(session
                .printer
                .result(list.complete(&response["output"])?)?);
        }
        let written = if args.json.is_some() {
            outputs::write_json(response, schema, &self.destination)?
        } else {
            outputs::write_plain(&response["output"], schema, &self.destination)?
        };
        for warning in &written.warnings {
            session.printer.warning(warning);
        }
        for message in &written.messages {
            session.printer.info(message);
        }
        if let Some(text) = &written.stdout {
            session.printer.result(text)?;
        }
        if !succeeded {
            bail!(
                "Prediction failed with status \"{}\"",
                response["status"].as_str().unwrap_or_default()
            );
        }
        Ok(())
    }
}

/// What has been shown of a prediction.
enum Shown {
    /// All that came, and the list as far as it is, if there is one.
    ToTheEnd(Option<Growing>),
    /// Whoever read it has closed the pipe.
    AsFarAsWanted,
}

/// Waits until all is shown.
fn shown(screen: Screen) -> anyhow::Result<Shown> {
    match screen.finish() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Shown::AsFarAsWanted),
        list => Ok(Shown::ToTheEnd(list?)),
    }
}

/// Ends the line of a list that nothing will complete.
fn break_off(session: &Session<'_>, list: Option<&Growing>) -> anyhow::Result<()> {
    if let Some(list) = list {
        session.printer.result(list.break_off())?;
    }
    Ok(())
}

/// Ends the server of somebody who has stopped the prediction, and shows what was said.
fn end(
    server: Server,
    screen: Screen,
    patience: Patience,
    interrupts: &mut Interrupts,
) -> anyhow::Result<()> {
    if patience == Patience::Gone {
        // Dropping the server ends it. Whoever reads our output may never do so again.
        return Ok(());
    }
    block_on(async {
        server.stop_or_end(interrupts).await?;
        tokio::select! {
            () = screen.finished() => {}
            _ = interrupts.next() => {}
            () = tokio::time::sleep(LAST_LINES) => {}
        }
        Ok(())
    })
}
