//! `cog bench`: load on a server that runs, or on a model that is started for it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use cog_build::SchemaSource;
use cog_inputs::Kind;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde_json::{Map, Value, json};

use super::predict::local_or_pulled;
use super::{Interrupted, schema};
use crate::args::{BenchArgs, EngineArg};
use crate::inputs::{self, Given};
use crate::interrupts::Interrupts;
use crate::load::{self, Answers, CONNECT_TIMEOUT, Limits, Load, Report, Target, Wire};
use crate::outputs::pretty;
use crate::runtime::{Launcher, Request, block_on, environment};
use crate::session::Session;

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// How long a server may take for its document.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of one, which no model's comes near.
const MOST_OF_A_DOCUMENT: usize = 16 << 20;
const PREDICTIONS: &str = "/predictions";
const TITLE: &str = "Measuring";

/// Without a single success there is nothing to report.
#[derive(Debug, thiserror::Error)]
#[error("no prediction succeeded")]
struct NothingSucceeded;

pub(crate) fn bench(session: &Session<'_>, args: &BenchArgs) -> anyhow::Result<()> {
    let headers = headers(&args.headers)?;
    match args.target.as_deref() {
        Some(url) if url.contains("://") => running(session, args, url, headers),
        Some(name) => {
            let image = local_or_pulled(session, &args.flags, name)?;
            let document = schema::of_labels(name, image.labels())?;
            let files = inputs::Disk::of(args.flags.build.engine);
            let inputs = inputs_of(args, &document, &files)?;
            let launcher = Launcher::of_image(session, &image, &args.flags)?;
            started(session, args, &launcher, &inputs, headers)
        }
        None => {
            let project = session.project(&args.flags.build.project)?;
            let project = session.with_model(project, &SchemaSource::Generate)?;
            let document = project.interface.schema.as_deref().unwrap_or_default();
            let document =
                serde_json::from_str(document).context("Failed to load model schema JSON")?;
            let files = inputs::Disk::of(args.flags.build.engine);
            let inputs = inputs_of(args, &document, &files)?;
            let launcher = Launcher::of_project(session, &project, &args.flags)?;
            started(session, args, &launcher, &inputs, headers)
        }
    }
}

fn inputs_of(
    args: &BenchArgs,
    document: &Value,
    files: &inputs::Disk,
) -> anyhow::Result<Map<String, Value>> {
    let given = Given {
        flags: &args.inputs,
        json: args.input_json.as_deref(),
    };
    Ok(inputs::resolve(&given, document, Kind::Prediction, files)?)
}

/// A server that somebody else has started.
fn running(
    session: &Session<'_>,
    args: &BenchArgs,
    text: &str,
    headers: HeaderMap,
) -> anyhow::Result<()> {
    let url = predictions_url(text)?;
    let client = client(args, &url)?;
    let document = block_on(document(&client, &url, &headers))?;
    // The server may be anywhere, and gets files with the request.
    let files = inputs::Disk::of(EngineArg::Docker);
    let inputs = inputs_of(args, &document, &files)?;
    let target = target(args, client, &url, headers, &inputs)?;
    let mut interrupts = Interrupts::listen()?;
    let report = block_on(measured(session, args, &target, &url, &mut interrupts))?;
    show(session, args, &report)
}

/// A model that is ours for as long as this takes.
fn started(
    session: &Session<'_>,
    args: &BenchArgs,
    launcher: &Launcher,
    inputs: &Map<String, Value>,
    headers: HeaderMap,
) -> anyhow::Result<()> {
    let mut env = environment(&args.env)?;
    env.push(("COG_LOG_LEVEL".into(), "warning".into()));
    session
        .printer
        .info("Starting the model and running setup()...");
    let mut interrupts = Interrupts::listen()?;
    let mut server = launcher.start_server(&Request::default(), &env)?;
    let url = predictions_url(&format!("http://{}", server.address))?;
    let target = target(args, client(args, &url)?, &url, headers, inputs)?;
    let limit = Duration::from_secs(args.setup_timeout);
    let mut print = |line: &str| session.printer.foreign(line);
    let report = block_on(async {
        tokio::select! {
            ready = server.await_ready(limit, Some(&mut print)) => ready?,
            by = interrupts.next() => return Err(Interrupted(by).into()),
        }
        measured(session, args, &target, &url, &mut interrupts).await
    });
    let report = match report {
        Err(error) if error.is::<Interrupted>() => {
            server.stop()?;
            return Err(error);
        }
        Err(error) => return Err(server.explain(error)),
        Ok(report) => report,
    };
    server.stop()?;
    show(session, args, &report)
}

/// One prediction to see that it can be done, then the load.
async fn measured(
    session: &Session<'_>,
    args: &BenchArgs,
    target: &Target,
    url: &Url,
    interrupts: &mut Interrupts,
) -> anyhow::Result<Report> {
    let first = tokio::select! {
        first = target.ask(std::time::Instant::now()) => first,
        by = interrupts.next() => return Err(Interrupted(by).into()),
    };
    if let Some(why) = first.failure() {
        bail!("the first prediction, which is not measured, failed: {why}");
    }
    let load = args
        .rate
        .map_or(Load::Clients(args.concurrency), Load::Rate);
    let limits = Limits {
        requests: args.requests.map(std::num::NonZero::get),
        duration: match (args.duration, args.requests) {
            (Some(seconds), _) => Some(Duration::from_secs_f64(seconds)),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_DURATION),
        },
    };
    session.printer.info(&format!("{TITLE} {url}..."));
    let under_way = session.printer.under_way(TITLE);
    let stop = async {
        interrupts.next().await;
    };
    let measured = load::measure(target, load, limits, stop, |answered| {
        under_way.rename(&format!("{TITLE}: {answered} answers"));
    })
    .await;
    drop(under_way);
    Ok(Report::new(shown(url).as_str(), load, measured))
}

fn show(session: &Session<'_>, args: &BenchArgs, report: &Report) -> anyhow::Result<()> {
    let text = if args.json {
        format!("{}\n", pretty(report)?)
    } else {
        report.text()
    };
    session.printer.result("the measurements", text)?;
    if report.has_succeeded() {
        Ok(())
    } else {
        Err(NothingSucceeded.into())
    }
}

fn target(
    args: &BenchArgs,
    client: Client,
    url: &Url,
    headers: HeaderMap,
    inputs: &Map<String, Value>,
) -> anyhow::Result<Target> {
    let body = Bytes::from(serde_json::to_vec(&json!({ "input": inputs }))?);
    let answers = if args.stream {
        Answers::Events
    } else {
        Answers::Whole
    };
    let wire = Wire::new(client, url, Duration::from_secs_f64(args.timeout));
    Ok(Target::new(wire, headers, body, answers))
}

fn client(args: &BenchArgs, url: &Url) -> anyhow::Result<Client> {
    let mut builder = cog_image::registry::http_client()?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(Duration::from_secs_f64(args.timeout))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("cog/", env!("CARGO_PKG_VERSION")));
    if load::is_here(url) {
        builder = builder.no_proxy();
    }
    builder.build().context("no HTTP client can be made")
}

/// The address that predictions are sent to: what was given, with the usual path if it has none of a prediction.
fn predictions_url(text: &str) -> anyhow::Result<Url> {
    let mut url: Url = text
        .parse()
        .with_context(|| format!("`{text}` is no address of a server"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bail!("`{text}` is no address of a server: it has to begin with http:// or https://");
    }
    let path = url.path().trim_end_matches('/');
    if !path.ends_with(PREDICTIONS) {
        let path = format!("{path}{PREDICTIONS}");
        url.set_path(&path);
    }
    Ok(url)
}

/// The address without what is secret in it.
fn shown(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_query(None);
    // These fail where there can be none.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url
}

/// The model's document, which tells what the inputs are.
async fn document(client: &Client, url: &Url, headers: &HeaderMap) -> anyhow::Result<Value> {
    let mut place = url.clone();
    place.set_query(None);
    let path = url.path();
    place.set_path(&format!(
        "{}/openapi.json",
        path.strip_suffix(PREDICTIONS).unwrap_or(path)
    ));
    let request = client
        .get(place.clone())
        .headers(headers.clone())
        .timeout(DOCUMENT_TIMEOUT);
    let mut response = request
        .send()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("no answer from {}", shown(&place)))?;
    if !response.status().is_success() {
        bail!(
            "{} answered with status {}; is it the address of a model server?",
            shown(&place),
            response.status().as_u16()
        );
    }
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)
        .with_context(|| format!("no whole answer from {}", shown(&place)))?
    {
        body.extend_from_slice(&piece);
        if body.len() > MOST_OF_A_DOCUMENT {
            bail!(
                "{} is longer than 16 MiB; is it the address of a model server?",
                shown(&place)
            );
        }
    }
    serde_json::from_slice(&body).with_context(|| format!("{} is no JSON", shown(&place)))
}

fn headers(given: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for text in given {
        let (name, value) = text
            .split_once(':')
            .context("a `--header` has to be `NAME: VALUE`")?;
        let name: HeaderName = name
            .trim()
            .parse()
            .with_context(|| format!("`{name}` is no name of a header"))?;
        // The value may be a token, and is not shown.
        let mut value: HeaderValue = value
            .trim()
            .parse()
            .with_context(|| format!("the value of the header `{name}` cannot be sent"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_predictions() {
        for (given, leads_to) in [
            ("http://localhost:8393", "http://localhost:8393/predictions"),
            ("http://a/", "http://a/predictions"),
            ("https://a/models/m/", "https://a/models/m/predictions"),
            ("https://a/m/predictions", "https://a/m/predictions"),
        ] {
            assert_eq!(predictions_url(given).unwrap().as_str(), leads_to);
        }
        for wrong in ["ftp://a", "http://", "://"] {
            assert!(predictions_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_document_without_end_is_none() {
        use std::io::{Read as _, Write as _};
        const PIECE: usize = 1 << 13;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            assert_ne!(connection.read(&mut [0; 4096]).unwrap(), 0);
            connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let sent = std::iter::repeat_with(|| connection.write_all(&[b' '; PIECE]));
            sent.take_while(Result::is_ok).count()
        });
        let client = cog_image::registry::http_client().unwrap();
        let client = client.no_proxy().build().unwrap();
        let url = predictions_url(&url).unwrap();
        let asked = block_on(document(&client, &url, &HeaderMap::new()));
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("openapi.json is longer than"), "{error}");
        drop(client);
        let pieces = server.join().unwrap();
        assert!(pieces * PIECE < 4 * MOST_OF_A_DOCUMENT, "{pieces}");
    }

    #[test]
    fn secrets_in_addresses_are_not_shown() {
        let url = predictions_url("https://user:word@a/m?token=x").unwrap();
        assert_eq!(shown(&url).as_str(), "https://a/m/predictions");
    }

    #[test]
    fn wrong_headers_do_not_tell_their_value() {
        assert_eq!(headers(&["A: b".into()]).unwrap()["a"], "b");
        for wrong in ["token", "a b: secret", "a: secret\n"] {
            let wrong = format!("{wrong}\u{7f}");
            if let Err(error) = headers(&[wrong]) {
                assert!(!format!("{error:#}").contains("secret"), "{error:#}");
            }
        }
    }
}
