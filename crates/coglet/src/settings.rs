//! Arguments and environment, read once at start.

mod parse;

use std::cell::Cell;
use std::env::VarError;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::args::{Arguments, Mode, Sigterm};
use crate::auth::AuthToken;
use crate::destinations::Destinations;
use crate::env::Lookup;
use crate::files::DownloadRules;
use crate::predictions::HistoryLimits;
use crate::traces::TraceSettings;
use crate::{Error, env};

/// Time for a model to clean up after it was canceled.
const CANCEL_GRACE: Duration = Duration::from_secs(30);

/// Where the build puts the model's document, seen from the working directory.
const SCHEMA_FILE: &str = ".cog/openapi_schema.json";

/// Everything that can be chosen from outside.
#[derive(Debug)]
pub struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) sigterm: Sigterm,
    pub(crate) mode: Mode,
    /// `path/to/file.py:Name`
    pub(crate) model: String,
    /// Processes that run it.
    pub(crate) workers: usize,
    /// The GPUs of each of them, as one variable holds them; empty if they share all.
    pub(crate) gpus: Vec<String>,
    /// Predictions that may run at once on each of them.
    pub(crate) slots: usize,
    /// Predictions that may wait for a slot.
    pub(crate) queue: usize,
    pub(crate) setup_timeout: Option<Duration>,
    /// For each prediction, from when it gets its slot.
    pub(crate) predict_timeout: Option<Duration>,
    /// For what runs when the server is asked to stop.
    pub(crate) drain_timeout: Option<Duration>,
    /// What a canceled prediction may take to stop; `None` for ever.
    pub(crate) cancel_grace: Option<Duration>,
    pub(crate) throttle_interval: Duration,
    pub(crate) client_timeout: Duration,
    /// Events of a prediction that are sent to those who begin to watch it late.
    pub(crate) replayed_events: usize,
    pub(crate) webhook_token: Option<String>,
    pub(crate) weights: Option<String>,
    /// Where file outputs are sent.
    pub(crate) upload_url: Option<Url>,
    pub(crate) user_agent: Option<String>,
    pub(crate) writes_readiness_file: bool,
    pub(crate) ready_fd: Option<i32>,
    /// The line to whoever has started the server.
    pub(crate) control: Option<ControlLine>,
    /// The model's document.
    pub(crate) schema_file: PathBuf,
    /// A socket that was handed in.
    pub(crate) listen_fd: Option<i32>,
    pub(crate) downloads: DownloadRules,
    pub(crate) history: HistoryLimits,
    pub(crate) auth_token: Option<AuthToken>,
    pub(crate) local_shutdown: bool,
    pub(crate) access_log: bool,
    pub(crate) playground: Playground,
    /// Bytes of one request body.
    pub(crate) max_body: usize,
    /// Bytes of all of them, and of the inputs of predictions.
    pub(crate) body_memory: u64,
    /// Elements of a list of files.
    pub(crate) max_files: usize,
    /// Bytes of a prediction's log, and of setup's.
    pub(crate) log_size: usize,
    pub(crate) setup_log_size: usize,
    /// Bytes of results that webhooks have not delivered.
    pub(crate) webhook_memory: u64,
    /// Who gets the webhook token; everybody if nothing is said.
    pub(crate) webhook_token_hosts: Option<Vec<String>>,
    pub(crate) tracing: Option<TraceSettings>,
    pub(crate) log: LogSettings,
    /// Values that were not understood and replaced by a default; logged once logging works.
    pub(crate) warnings: Vec<String>,
}

/// Whether browsers get a page at `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Playground {
    Shown,
    Hidden,
}

/// What is said on the line to whoever has started the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlLine {
    /// What happens.
    Events,
    /// That, and what is to be done.
    Reload,
    /// The same to one that takes the place of another, whose clients wait.
    Succeed,
}

/// How the server's own log is written.
#[derive(Debug)]
pub(crate) struct LogSettings {
    /// A full filter expression, or a bare level.
    pub(crate) filter: LogFilter,
    pub(crate) format: LogFormat,
}

#[derive(Debug)]
pub(crate) enum LogFilter {
    Expression(String),
    Level(tracing::Level),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Json,
    Console,
}

impl Settings {
    /// Combines the arguments with this process's environment.
    pub fn from_environment(arguments: Arguments) -> Result<Self, Error> {
        let not_text = Cell::new(None);
        let settings = Self::new(arguments, &|name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            // As if it were not set, a limit or a lock would be missing.
            Err(VarError::NotUnicode(_)) => {
                not_text.set(Some(name.to_owned()));
                None
            }
        });
        match not_text.into_inner() {
            Some(variable) => Err(Error::NotText { variable }),
            None => settings,
        }
    }

    /// Combines the arguments with the environment, which is asked through `lookup`.
    pub fn new(arguments: Arguments, lookup: Lookup<'_>) -> Result<Self, Error> {
        let variable = match arguments.mode {
            Mode::Predict => env::PREDICT_REFERENCE,
            Mode::Train => env::TRAIN_REFERENCE,
        };
        let model = non_empty(lookup, variable).ok_or(Error::NoModel { variable })?;
        let mut warnings = Vec::new();
        let workers = parse::count(lookup, env::WORKERS)?.unwrap_or(1);
        Ok(Self {
            workers,
            gpus: gpus(lookup, workers)?,
            port: arguments.port.map_or_else(|| port(lookup), Ok)?,
            host: arguments.host,
            sigterm: arguments.sigterm,
            mode: arguments.mode,
            model,
            slots: slots(lookup, &mut warnings),
            queue: parse::number(lookup, env::QUEUE)?.unwrap_or(0),
            setup_timeout: setup_timeout(lookup, &mut warnings),
            predict_timeout: parse::seconds(lookup, env::PREDICT_TIMEOUT)?
                .filter(|limit| !limit.is_zero()),
            drain_timeout: parse::seconds(lookup, env::DRAIN_TIMEOUT)?,
            cancel_grace: Some(parse::seconds(lookup, env::CANCEL_GRACE)?.unwrap_or(CANCEL_GRACE))
                .filter(|grace| !grace.is_zero()),
            throttle_interval: throttle_interval(lookup, &mut warnings),
            client_timeout: client_timeout(lookup)?,
            replayed_events: replayed_events(lookup, &mut warnings),
            webhook_token: parse::header(lookup, env::WEBHOOK_TOKEN)?,
            upload_url: arguments.upload_url,
            weights: non_empty(lookup, env::WEIGHTS),
            user_agent: parse::header(lookup, env::USER_AGENT)?,
            writes_readiness_file: lookup(env::KUBERNETES).is_some(),
            ready_fd: descriptor(lookup, env::READY_FD)?,
            control: parse::one_of(
                lookup,
                env::CONTROL,
                [
                    ("events", ControlLine::Events),
                    ("reload", ControlLine::Reload),
                    ("succeed", ControlLine::Succeed),
                ],
            )?,
            schema_file: non_empty(lookup, env::SCHEMA_FILE)
                .unwrap_or_else(|| SCHEMA_FILE.to_owned())
                .into(),
            listen_fd: descriptor(lookup, env::LISTEN_FD)?,
            downloads: downloads(lookup)?,
            history: history(lookup)?,
            auth_token: AuthToken::from_variable(lookup(env::AUTH_TOKEN).as_deref())?,
            local_shutdown: parse::switch(lookup, env::LOCAL_SHUTDOWN)?,
            access_log: parse::switch(lookup, env::ACCESS_LOG)?,
            playground: if parse::switch(lookup, env::PLAYGROUND)? {
                Playground::Shown
            } else {
                Playground::Hidden
            },
            max_body: parse::memory(lookup, env::MAX_BODY_SIZE)?.unwrap_or(100 << 20),
            body_memory: parse::size(lookup, env::BODY_MEMORY)?.unwrap_or(160 << 20),
            max_files: parse::number(lookup, env::MAX_FILES)?.unwrap_or(10_000),
            log_size: parse::memory(lookup, env::LOG_SIZE)?.unwrap_or(16 << 20),
            setup_log_size: parse::memory(lookup, env::SETUP_LOG_SIZE)?.unwrap_or(1 << 20),
            webhook_memory: parse::size(lookup, env::WEBHOOK_MEMORY)?.unwrap_or(64 << 20),
            webhook_token_hosts: parse::hosts(lookup, env::WEBHOOK_TOKEN_HOSTS)?,
            tracing: TraceSettings::from_variables(lookup, &mut warnings),
            log: LogSettings {
                filter: log_filter(lookup, &mut warnings),
                format: log_format(lookup),
            },
            warnings,
        })
    }
}

fn non_empty(lookup: Lookup<'_>, name: &str) -> Option<String> {
    lookup(name).filter(|value| !value.is_empty())
}

fn port(lookup: Lookup<'_>) -> Result<u16, Error> {
    const DEFAULT: u16 = 5000;
    non_empty(lookup, env::PORT).map_or(Ok(DEFAULT), |value| {
        value
            .trim()
            .parse()
            .map_err(|_| Error::InvalidPort { value })
    })
}

fn slots(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> usize {
    let Some(value) = lookup(env::MAX_CONCURRENCY) else {
        return 1;
    };
    match value.parse() {
        Ok(slots) if slots >= 1 => slots,
        _ => {
            warnings.push(format!(
                "`{}` is `{value}`, not a number from 1: using 1",
                env::MAX_CONCURRENCY
            ));
            1
        }
    }
}

/// The first worker gets the first GPUs, and so on.
fn gpus(lookup: Lookup<'_>, workers: usize) -> Result<Vec<String>, Error> {
    let Some(each) = parse::count(lookup, env::GPUS_PER_WORKER)? else {
        return Ok(Vec::new());
    };
    let needed = each.saturating_mul(workers);
    let gpus: Vec<_> = match non_empty(lookup, env::VISIBLE_GPUS) {
        Some(listed) => listed
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect(),
        None => (0..needed).map(|index| index.to_string()).collect(),
    };
    if gpus.len() < needed {
        let present = gpus.len();
        return Err(Error::TooFewGpus { needed, present });
    }
    Ok(gpus
        .chunks(each)
        .take(workers)
        .map(|gpus| gpus.join(","))
        .collect())
}

fn setup_timeout(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> Option<Duration> {
    let value = lookup(env::SETUP_TIMEOUT)?;
    match value.parse() {
        Ok(seconds) if seconds >= 1 => Some(Duration::from_secs(seconds).min(parse::LONGEST)),
        _ => {
            let name = env::SETUP_TIMEOUT;
            warnings.push(format!(
                "`{name}` is `{value}`, not a number of seconds from 1: setup has no time limit"
            ));
            None
        }
    }
}

fn throttle_interval(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> Duration {
    const DEFAULT: Duration = Duration::from_millis(500);
    // The published server goes on with the default, and so does this one, but not in silence.
    let chosen = parse::seconds(lookup, env::THROTTLE_INTERVAL).unwrap_or_else(|error| {
        warnings.push(format!("{error}: using {}", DEFAULT.as_secs_f64()));
        None
    });
    chosen.unwrap_or(DEFAULT)
}

/// Longer than the 60 seconds for which common load balancers keep a connection: none of them may send
/// into one that we are closing.
fn client_timeout(lookup: Lookup<'_>) -> Result<Duration, Error> {
    const DEFAULT: Duration = Duration::from_secs(75);
    const MINIMUM: Duration = Duration::from_secs(1);
    let chosen = parse::seconds(lookup, env::CLIENT_TIMEOUT)?;
    Ok(chosen.map_or(DEFAULT, |chosen| chosen.max(MINIMUM)))
}

fn replayed_events(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> usize {
    const DEFAULT: usize = 1024;
    let Some(value) = lookup(env::STREAM_HISTORY) else {
        return DEFAULT;
    };
    value.parse().unwrap_or_else(|_| {
        warnings.push(format!(
            "`{}` is `{value}`, not a number of events: using {DEFAULT}",
            env::STREAM_HISTORY
        ));
        DEFAULT
    })
}

/// The number of an inherited descriptor.
fn descriptor(lookup: Lookup<'_>, variable: &'static str) -> Result<Option<i32>, Error> {
    let Some(value) = non_empty(lookup, variable) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(fd) if fd > 2 => Ok(Some(fd)),
        _ => Err(Error::InvalidDescriptor { variable, value }),
    }
}

fn downloads(lookup: Lookup<'_>) -> Result<DownloadRules, Error> {
    let except = parse::hosts(lookup, env::ALLOW_PRIVATE_HOSTS)?;
    let mut destinations = if parse::switch(lookup, env::DENY_PRIVATE_URLS)? {
        Destinations::public_only(&except.unwrap_or_default())
    } else {
        Destinations::default()
    };
    if let Some(max_redirects) = parse::number(lookup, env::MAX_REDIRECTS)? {
        destinations.max_redirects = max_redirects;
    }
    Ok(DownloadRules {
        destinations,
        max_size: parse::size(lookup, env::MAX_DOWNLOAD_SIZE)?,
        time_limit: parse::seconds(lookup, env::DOWNLOAD_TIMEOUT)?,
    })
}

fn history(lookup: Lookup<'_>) -> Result<HistoryLimits, Error> {
    let default = HistoryLimits::default();
    Ok(HistoryLimits {
        count: parse::number(lookup, env::RESULTS_KEPT)?.unwrap_or(default.count),
        age: parse::seconds(lookup, env::RESULTS_AGE)?.unwrap_or(default.age),
        bytes: parse::size(lookup, env::RESULTS_MEMORY)?.unwrap_or(default.bytes),
    })
}

fn log_filter(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> LogFilter {
    if let Some(expression) = non_empty(lookup, env::RUST_LOG) {
        return LogFilter::Expression(expression);
    }
    LogFilter::Level(match non_empty(lookup, env::LOG_LEVEL).as_deref() {
        Some("debug") => tracing::Level::DEBUG,
        None | Some("info") => tracing::Level::INFO,
        Some("warn" | "warning") => tracing::Level::WARN,
        Some("error") => tracing::Level::ERROR,
        Some(other) => {
            warnings.push(format!(
                "`{}` is `{other}`, not `debug`, `info`, `warn` or `error`: using `info`",
                env::LOG_LEVEL
            ));
            tracing::Level::INFO
        }
    })
}

fn log_format(lookup: Lookup<'_>) -> LogFormat {
    match lookup(env::LOG_FORMAT).as_deref() {
        Some("console") => LogFormat::Console,
        _ => LogFormat::Json,
    }
}

#[cfg(test)]
mod tests;
