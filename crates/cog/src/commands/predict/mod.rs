//! `cog run`: one prediction, on the project or on an image; `cog train`: one training.

mod conversation;
mod failure;
mod neighbour;
mod screen;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cog_build::{BuildError, SchemaSource};
use cog_config::{LabelError, Labels};
use cog_engine::{KernelProbe, Probe as _};
use cog_image::registry::RegistryError;
use cog_inputs::Kind;
use serde_json::{Map, Value, json};

use crate::args::{EngineArg, RunArgs, StartFlags, TrainArgs};
use crate::client;
use crate::image_argument;
use crate::inputs::{self, Given};
use crate::interrupts::Interrupts;
use crate::outputs::{self, Destination, Growing};
use crate::pictures;
use crate::runtime::{Image, Launcher, Request, Server, block_on, environment};
use crate::session::Session;

use super::Interrupted;
use super::pull::refuse_registry;
use conversation::{Asked, Failure, Outcome, Patience};
pub(super) use failure::PredictionFailed;
use neighbour::Beside;
pub(super) use neighbour::engine_name;
use screen::Screen;

/// The largest body that the server takes, in bytes.
const MAX_REQUEST: usize = 100 << 20;
/// What a failure to write it calls it.
const OUTPUT: &str = "the prediction's output";
/// How long a reader may take for what was said before the prediction was stopped.
const LAST_LINES: Duration = Duration::from_secs(1);
const TOKEN: &str = "REPLICATE_API_TOKEN";
/// HTTP's word for it.
const OK: u16 = 200;

/// How long the setup of a trainer may take, in seconds.
const TRAINING_SETUP_LIMIT: u64 = 300;

pub(crate) fn run(session: &Session<'_>, args: &RunArgs) -> anyhow::Result<()> {
    ask(session, args, Kind::Prediction)
}

pub(crate) fn train(session: &Session<'_>, args: TrainArgs) -> anyhow::Result<()> {
    let args = RunArgs {
        ask: args.ask,
        json: None,
        output: Some(args.output),
        show: false,
        use_replicate_token: false,
        // A server that runs takes predictions.
        fresh: true,
        setup_timeout: TRAINING_SETUP_LIMIT,
    };
    ask(session, &args, Kind::Training)
}

fn ask(session: &Session<'_>, args: &RunArgs, kind: Kind) -> anyhow::Result<()> {
    let level = if session.debug { "debug" } else { "warning" };
    // What the user says goes before what is usual.
    let mut env = vec![("COG_LOG_LEVEL".to_owned(), level.to_owned())];
    env.extend(environment(&args.ask.env)?);
    match &args.ask.image {
        Some(name) => ask_image(session, args, kind, name, &env),
        None => ask_project(session, args, kind, &env),
    }
}

/// Mistakes in the inputs are found before anything is built or started.
fn ask_project(
    session: &Session<'_>,
    args: &RunArgs,
    kind: Kind,
    env: &[(String, String)],
) -> anyhow::Result<()> {
    let project = session.project(&args.ask.flags.build.project)?;
    if kind == Kind::Training && project.config.train.is_none() {
        bail!(
            "{} names no trainer: add one, as `train: \"train.py:Trainer\"`",
            project.file.file_name
        );
    }
    let project = session.with_model(project, &SchemaSource::Generate)?;
    let document = project.interface.schema.as_deref().unwrap_or_default();
    let document = serde_json::from_str(document).context("Failed to load model schema JSON")?;
    let beside = if args.fresh {
        Beside::Nobody
    } else {
        neighbour::find(session, &project, args).unwrap_or_else(|error| {
            session.printer.debug(&format!("{error:#}"));
            Beside::Nobody
        })
    };
    let engine = match &beside {
        Beside::Serves(neighbour) => neighbour.engine(),
        Beside::DoesNot(_) | Beside::Nobody => args.ask.flags.build.engine,
    };
    let prediction = Prediction::new(session, args, kind, &document, project.directory(), engine)?;
    match beside {
        Beside::Serves(neighbour) => {
            session.printer.info(&format!(
                "Asking the server of this project at {} (`--fresh` starts another one)",
                neighbour.url()
            ));
            let interrupts = Interrupts::listen()?;
            return prediction.ask(session, args, Asked::Neighbour(neighbour), interrupts);
        }
        Beside::DoesNot(why) => session
            .printer
            .info(&format!("Starting a server of its own: {why}")),
        Beside::Nobody => {}
    }
    let launcher = Launcher::of_project(session, &project, &args.ask.flags)?;
    prediction.run(session, args, &launcher, env)
}

fn ask_image(
    session: &Session<'_>,
    args: &RunArgs,
    kind: Kind,
    name: &str,
    env: &[(String, String)],
) -> anyhow::Result<()> {
    if name.contains('=') {
        bail!("Invalid image name '{name}'. Did you forget `-i`?");
    }
    let image = local_or_pulled(session, &args.ask.flags, name)?;
    let Some(document) = document_of(name, image.labels())? else {
        let launcher = Launcher::of_image(session, &image, &args.ask.flags)?;
        return ask_unknown(session, args, kind, &launcher, env);
    };
    let engine = args.ask.flags.build.engine;
    let prediction = Prediction::new(session, args, kind, &document, session.directory(), engine)?;
    let launcher = Launcher::of_image(session, &image, &args.ask.flags)?;
    prediction.run(session, args, &launcher, env)
}

/// What the labels of image `name` say of its inputs; nothing if they leave that open.
fn document_of(name: &str, labels: &BTreeMap<String, String>) -> anyhow::Result<Option<Value>> {
    match Labels::of(labels).schema() {
        Ok(document) => {
            let inputs = &document["components"]["schemas"]["Input"]["properties"];
            let says_all = inputs.is_object();
            Ok(Some(document).filter(|_| says_all))
        }
        Err(LabelError::Missing { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("image {name}")),
    }
}

/// Asks a model whose image does not say what it takes: its server does, when it is there.
fn ask_unknown(
    session: &Session<'_>,
    args: &RunArgs,
    kind: Kind,
    launcher: &Launcher,
    env: &[(String, String)],
) -> anyhow::Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let mut server = start(session, launcher, kind, env)?;
    let limit = Duration::from_secs(args.setup_timeout);
    let stopped = block_on(async {
        tokio::select! {
            ready = server.await_ready(limit, None) => ready.map(|()| None),
            by = interrupts.next() => Ok(Some(by)),
        }
    })?;
    if let Some(by) = stopped {
        block_on(server.stop_or_end(&mut interrupts))?;
        return Err(Interrupted(by).into());
    }
    let answer = block_on(client::get(server.address, "/openapi.json"))?;
    if answer.status != OK {
        bail!("OpenAPI schema is required to validate inputs");
    }
    let document =
        serde_json::from_slice(&answer.body).context("Failed to load model schema JSON")?;
    let engine = args.ask.flags.build.engine;
    let prediction = Prediction::new(session, args, kind, &document, session.directory(), engine)?;
    let server = Asked::Own(server.that_is_ready());
    prediction.ask(session, args, server, interrupts)
}

/// Starts the model's server.
fn start(
    session: &Session<'_>,
    launcher: &Launcher,
    kind: Kind,
    env: &[(String, String)],
) -> anyhow::Result<Server> {
    session.printer.info(&format!(
        "Starting {} and running setup()...",
        launcher.model_word()
    ));
    let arguments = match kind {
        Kind::Prediction => Vec::new(),
        Kind::Training => vec!["--x-mode".to_owned(), "train".to_owned()],
    };
    let request = Request {
        arguments,
        ..Request::default()
    };
    launcher.start_server(&request, env)
}

/// The image in our store, in the daemon that the engine uses, or in its registry.
pub(super) fn local_or_pulled(
    session: &Session<'_>,
    flags: &StartFlags,
    name: &str,
) -> anyhow::Result<Image> {
    let store = session.store()?;
    let name = image_argument::name(store, name)?;
    let name = name.as_str();
    let reference: cog_image::ImageRef = name
        .parse()
        .with_context(|| format!("invalid image reference \"{name}\""))?;
    if let Some(image) = store.image(name)? {
        return Ok(image.into());
    }
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
    kind: Kind,
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
        kind: Kind,
        document: &Value,
        writable: &Path,
        engine: EngineArg,
    ) -> anyhow::Result<Self> {
        let given = Given {
            flags: &args.ask.inputs,
            json: args.json.as_deref(),
        };
        let files = inputs::Disk::of(engine);
        let inputs = inputs::resolve(&given, document, kind, &files)?;
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
        let output_schema = output_schema(document, kind).clone();
        destination.check(&output_schema, args.json.is_some())?;
        Ok(Self {
            kind,
            inputs,
            _files: files,
            context,
            output_schema,
            destination,
            advice: inputs::forgotten_at(&args.ask.inputs, document, kind),
        })
    }

    fn run(
        &self,
        session: &Session<'_>,
        args: &RunArgs,
        launcher: &Launcher,
        env: &[(String, String)],
    ) -> anyhow::Result<()> {
        let interrupts = Interrupts::listen()?;
        let server = start(session, launcher, self.kind, env)?;
        self.ask(session, args, Asked::Own(server), interrupts)
    }

    /// Has it made by this server, and shows what comes of it.
    fn ask(
        &self,
        session: &Session<'_>,
        args: &RunArgs,
        mut server: Asked,
        mut interrupts: Interrupts,
    ) -> anyhow::Result<()> {
        let id = server.prediction_id();
        let request = self.request(&id)?;
        let list = self
            .destination
            .growing(&self.output_schema, args.json.is_some());
        let screen = Screen::start(session.printer.clone(), list);
        let setup_limit = Duration::from_secs(args.setup_timeout);
        let order = conversation::Order {
            kind: self.kind,
            id,
            request,
            setup_limit,
        };
        let held = block_on(async {
            let held = conversation::hold(
                &mut server,
                &order,
                session.printer,
                &screen,
                &mut interrupts,
            );
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
    fn request(&self, id: &str) -> anyhow::Result<Bytes> {
        let body = serde_json::to_vec(
            &json!({ "id": id, "input": self.inputs, "context": self.context }),
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
                .result(OUTPUT, list.complete(&response["output"])?)?);
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
            session.printer.result(OUTPUT, text)?;
        }
        if args.show {
            pictures::show(session.printer, &response["output"]);
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

/// What the model gives. A document of a trainer alone calls it as that of a model.
fn output_schema(document: &Value, kind: Kind) -> &Value {
    let schemas = &document["components"]["schemas"];
    match kind {
        Kind::Training if schemas["TrainingOutput"].is_object() => &schemas["TrainingOutput"],
        Kind::Training | Kind::Prediction => &schemas["Output"],
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
        Err(error) if error.is_unwanted() => Ok(Shown::AsFarAsWanted),
        list => Ok(Shown::ToTheEnd(list?)),
    }
}

/// Ends the line of a list that nothing will complete.
fn break_off(session: &Session<'_>, list: Option<&Growing>) -> anyhow::Result<()> {
    if let Some(list) = list {
        session.printer.result(OUTPUT, list.break_off())?;
    }
    Ok(())
}

/// Ends the server of somebody who has stopped the prediction, and shows what was said.
fn end(
    server: Asked,
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
