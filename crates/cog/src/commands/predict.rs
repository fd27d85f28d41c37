//! `cog run`: one prediction, on the project or on an image.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cog_build::{SchemaSource, missing};
use cog_errors::Hint;
use cog_image::StoredImage;
use cog_inputs::Kind;
use serde_json::{Map, Value, json};

use crate::args::RunArgs;
use crate::client;
use crate::inputs::{self, Given};
use crate::outputs::{self, Destination};
use crate::printer::Printer;
use crate::runtime::{Server, Surroundings, block_on, environment, free_address};
use crate::session::Session;

use super::schema;

/// The largest body that the server takes, in bytes.
const MAX_REQUEST: usize = 100 << 20;
/// The prediction's id: its server runs no other.
const ID: &str = "run";
const STATUS_ROUTE: &str = "/predictions/run";
/// How soon what the model printed is shown while it works.
const LOGS_INTERVAL: Duration = Duration::from_millis(250);
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
    let surroundings = Surroundings::of_project(session, &project, &args.flags)?;
    prediction.run(session, args, &surroundings, env)
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
    let image = local_or_pulled(session, name)?;
    let document = schema::of_image(name, &image)?;
    let prediction = Prediction::new(session, args, &document, session.directory())?;
    let surroundings = Surroundings::of_image(session, &image, &args.flags)?;
    prediction.run(session, args, &surroundings, env)
}

fn local_or_pulled(session: &Session<'_>, name: &str) -> anyhow::Result<StoredImage> {
    let store = session.store()?;
    if let Some(image) = store
        .image(name)
        .with_context(|| format!("invalid image reference \"{name}\""))?
    {
        return Ok(image);
    }
    let reference: cog_image::ImageRef = name
        .parse()
        .with_context(|| format!("invalid image reference \"{name}\""))?;
    session.printer.info(&format!("Pulling {name}..."));
    cog_build::pull(store, &reference).with_context(|| format!("image {name}: image not found"))
}

/// A checked input and what is to be done with the output.
struct Prediction {
    inputs: Map<String, Value>,
    /// Serves those that are not in the request.
    _files: inputs::Disk,
    context: Map<String, Value>,
    output_schema: Value,
    destination: Destination,
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
        let files = inputs::Disk::default();
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
        })
    }

    fn run(
        &self,
        session: &Session<'_>,
        args: &RunArgs,
        surroundings: &Surroundings,
        env: &[(String, String)],
    ) -> anyhow::Result<()> {
        let request = self.request()?;
        session
            .printer
            .info("Starting Docker image and running setup()...");
        let mut server = surroundings.start_server(free_address()?, &[], env)?;
        server.await_ready(Duration::from_secs(args.setup_timeout))?;
        session.printer.info("Running prediction...");
        let response = ask(session, &server, request)?;
        let result = self.show(session, args, &response);
        server.stop()?;
        result
    }

    /// The request's body. Files are in it.
    fn request(&self) -> anyhow::Result<Vec<u8>> {
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
        Ok(body)
    }

    fn show(&self, session: &Session<'_>, args: &RunArgs, response: &Value) -> anyhow::Result<()> {
        let succeeded = response["status"] == "succeeded";
        let schema = Some(&self.output_schema).filter(|schema| schema.is_object());
        if args.json.is_none() && !succeeded {
            return Err(PredictionFailed::of(response).into());
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

/// A prediction that ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
#[error("Prediction failed with status \"{status}\": {error}")]
pub(super) struct PredictionFailed {
    status: String,
    error: String,
    /// What the model printed.
    logs: String,
}

impl PredictionFailed {
    fn of(response: &Value) -> Self {
        let text = |field: &str| response[field].as_str().unwrap_or_default().to_owned();
        Self {
            status: text("status"),
            error: text("error"),
            logs: text("logs"),
        }
    }
}

impl Hint for PredictionFailed {
    fn hint(&self) -> Option<String> {
        missing::advice(&self.error).or_else(|| missing::advice(&self.logs))
    }
}

/// Asks, and passes on what the model prints while it works.
fn ask(session: &Session<'_>, server: &Server, body: Vec<u8>) -> anyhow::Result<Value> {
    let mut logs = Logs::default();
    let response = block_on(async {
        let answer = client::predict(server.address, body);
        let mut answer = std::pin::pin!(answer);
        loop {
            tokio::select! {
                response = &mut answer => break response,
                () = tokio::time::sleep(LOGS_INTERVAL) => {}
            }
            // Servers of older images don't know the route; theirs are shown at the end.
            if let Ok(so_far) = client::get(server.address, STATUS_ROUTE).await
                && let Ok(snapshot) = serde_json::from_slice::<Value>(&so_far.body)
            {
                logs.show_lines(session.printer, &snapshot);
            }
        }
    })?;
    match response.status {
        200 => {
            let answer =
                serde_json::from_slice(&response.body).context("the server's answer is no JSON")?;
            logs.show_rest(session.printer, &answer);
            Ok(answer)
        }
        422 => bail!("{}", refused(&response.body)),
        status => bail!("Failed to run prediction: /predictions call returned status {status}"),
    }
}

/// How much of a prediction's logs has been shown, in bytes.
#[derive(Default)]
struct Logs {
    shown: usize,
}

impl Logs {
    /// The whole lines that are new.
    fn show_lines(&mut self, printer: &Printer, prediction: &Value) {
        let new = self.unshown(prediction);
        if let Some(end) = new.rfind('\n') {
            printer.foreign(&new[..end]);
            self.shown += end + 1;
        }
    }

    fn show_rest(&mut self, printer: &Printer, prediction: &Value) {
        let new = self.unshown(prediction);
        if !new.is_empty() {
            printer.foreign(new.strip_suffix('\n').unwrap_or(new));
            self.shown += new.len();
        }
    }

    fn unshown<'a>(&self, prediction: &'a Value) -> &'a str {
        let logs = prediction["logs"].as_str().unwrap_or_default();
        logs.get(self.shown..).unwrap_or_default()
    }
}

/// The server's own findings, which should have been found before: its schema differs from the one we checked against.
fn refused(body: &[u8]) -> String {
    let mut text =
        String::from("Failed to run prediction: The inputs you passed could not be validated:\n");
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    for detail in answer["detail"].as_array().into_iter().flatten() {
        let field = detail["loc"]
            .as_array()
            .and_then(|loc| loc.last())
            .and_then(Value::as_str)
            .unwrap_or_default();
        let message = detail["msg"].as_str().unwrap_or_default();
        let _ = writeln!(text, "- {field}: {message}");
    }
    text.push_str("Give inputs as `-i name=value`, and files as `-i name=@path`");
    text
}
