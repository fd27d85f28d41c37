//! Every environment variable the server reads or sets, declared once.

/// How the environment is asked: for a variable by its name.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Port to listen on; `--port` wins. Default 5000.
pub(crate) const PORT: &str = "PORT";
/// Model reference `path/to/file.py:Name` in predict mode.
pub(crate) const PREDICT_REFERENCE: &str = "COG_PREDICT_TYPE_STUB";
/// Model reference in train mode.
pub(crate) const TRAIN_REFERENCE: &str = "COG_TRAIN_TYPE_STUB";
/// Number of predictions that may run at once; at least 1.
pub(crate) const MAX_CONCURRENCY: &str = "COG_MAX_CONCURRENCY";
/// Number of processes that run the model; default 1. Each has `COG_MAX_CONCURRENCY` slots.
pub(crate) const WORKERS: &str = "COG_WORKERS";
/// Number of GPUs that each of them has for itself, out of `CUDA_VISIBLE_DEVICES`; unset, all see all.
pub(crate) const GPUS_PER_WORKER: &str = "COG_GPUS_PER_WORKER";
/// GPUs by number or name, separated by commas. Set for the worker with `COG_GPUS_PER_WORKER`.
pub(crate) const VISIBLE_GPUS: &str = "CUDA_VISIBLE_DEVICES";
/// Number of predictions that may wait for a slot; default 0.
pub(crate) const QUEUE: &str = "COG_QUEUE";
/// Whole seconds that setup may take; unset means no limit.
pub(crate) const SETUP_TIMEOUT: &str = "COG_SETUP_TIMEOUT";
/// Seconds that a prediction may take once it has its slot; unset or 0 means no limit. The header
/// `Cog-Timeout` limits one prediction, from its acceptance.
pub(crate) const PREDICT_TIMEOUT: &str = "COG_PREDICT_TIMEOUT";
/// Seconds that a canceled prediction may go on before its worker is replaced, once nothing else runs in
/// it; default 30, 0 for ever.
pub(crate) const CANCEL_GRACE: &str = "COG_CANCEL_GRACE";
/// Seconds that predictions may go on after the server was asked to stop; unset means no limit.
pub(crate) const DRAIN_TIMEOUT: &str = "COG_DRAIN_TIMEOUT";
/// `debug`, `info`, `warn` or `error`; used when `RUST_LOG` is unset.
pub(crate) const LOG_LEVEL: &str = "COG_LOG_LEVEL";
/// Full log filter expression.
pub(crate) const RUST_LOG: &str = "RUST_LOG";
/// `console` for lines to read; anything else gives one JSON object per line.
pub(crate) const LOG_FORMAT: &str = "LOG_FORMAT";
/// Seconds between two throttled webhook calls.
pub(crate) const THROTTLE_INTERVAL: &str = "COG_THROTTLE_RESPONSE_INTERVAL";
/// How many events of a prediction are sent to those who begin to watch it late; 0 turns that off.
pub(crate) const STREAM_HISTORY: &str = "COG_STREAM_HISTORY_CAPACITY";
/// Seconds that a client may be silent while it is its turn to send or to take something.
pub(crate) const CLIENT_TIMEOUT: &str = "COG_CLIENT_TIMEOUT";
/// Bearer token sent with every webhook call.
pub(crate) const WEBHOOK_TOKEN: &str = "WEBHOOK_AUTH_TOKEN";
/// Passed to `setup(weights=…)`.
pub(crate) const WEIGHTS: &str = "COG_WEIGHTS";
/// `User-Agent` for downloading inputs.
pub(crate) const USER_AGENT: &str = "COG_USER_AGENT";
/// Its presence turns on the readiness file.
pub(crate) const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";
/// Results of asynchronous predictions that are kept for `GET /predictions/{id}`; 0 for none.
pub(crate) const RESULTS_KEPT: &str = "COG_RESULTS_KEPT";
/// Seconds for which such a result is kept.
pub(crate) const RESULTS_AGE: &str = "COG_RESULTS_AGE";
/// Memory for such results, like `64M`.
pub(crate) const RESULTS_MEMORY: &str = "COG_RESULTS_MEMORY";
/// Token that requests have to carry, all but probes.
pub(crate) const AUTH_TOKEN: &str = "COG_AUTH_TOKEN";
/// `1` lets programs on the same machine stop the server without the token.
pub(crate) const LOCAL_SHUTDOWN: &str = "COG_LOCAL_SHUTDOWN";
/// Bytes of one request body, like `100M`.
pub(crate) const MAX_BODY_SIZE: &str = "COG_MAX_BODY_SIZE";
/// Memory for all request bodies, and the inputs of predictions that have not ended, together.
pub(crate) const BODY_MEMORY: &str = "COG_BODY_MEMORY";
/// Elements of a list of files in one input.
pub(crate) const MAX_FILES: &str = "COG_MAX_INPUT_FILES";
/// Bytes of log that are kept of one prediction: the beginning and the end.
pub(crate) const LOG_SIZE: &str = "COG_LOG_SIZE";
/// The same for setup.
pub(crate) const SETUP_LOG_SIZE: &str = "COG_SETUP_LOG_SIZE";
/// Memory for results that webhooks have not delivered yet.
pub(crate) const WEBHOOK_MEMORY: &str = "COG_WEBHOOK_MEMORY";
/// Hosts, separated by commas, that get the webhook token; unset, all do.
pub(crate) const WEBHOOK_TOKEN_HOSTS: &str = "COG_WEBHOOK_TOKEN_HOSTS";
/// `1` shows browsers a page at `/` to try the model.
pub(crate) const PLAYGROUND: &str = "COG_PLAYGROUND";
/// `1` logs a line for each request.
pub(crate) const ACCESS_LOG: &str = "COG_ACCESS_LOG";
/// `1` refuses URLs of inputs and webhooks whose address is not public.
pub(crate) const DENY_PRIVATE_URLS: &str = "COG_DENY_PRIVATE_URLS";
/// Hosts, separated by commas, that are an exception to that.
pub(crate) const ALLOW_PRIVATE_HOSTS: &str = "COG_ALLOW_PRIVATE_HOSTS";
/// Bytes that are downloaded for one input file, like `2G`.
pub(crate) const MAX_DOWNLOAD_SIZE: &str = "COG_MAX_DOWNLOAD_SIZE";
/// Seconds that the download of one input file may take.
pub(crate) const DOWNLOAD_TIMEOUT: &str = "COG_DOWNLOAD_TIMEOUT";
/// Redirects that are followed for an input file or a webhook.
pub(crate) const MAX_REDIRECTS: &str = "COG_MAX_REDIRECTS";
/// `1`, `true` or `yes` turns tracing on.
pub(crate) const TRACE_CONFIGURED: &str = "COG_TRACE_CONFIGURED";
/// `0`, `false` or `no` turns it off again.
pub(crate) const TRACE_ENABLED: &str = "COG_TRACE_ENABLED";
/// Which requests are traced, before `OTEL_TRACES_SAMPLER`.
pub(crate) const TRACE_SAMPLER: &str = "COG_TRACE_SAMPLER";
/// The sampler's argument, before `OTEL_TRACES_SAMPLER_ARG`.
pub(crate) const TRACE_SAMPLER_ARG: &str = "COG_TRACE_SAMPLER_ARG";
/// `true` turns tracing off.
pub(crate) const OTEL_SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
/// `otlp` or `none`.
pub(crate) const OTEL_TRACES_EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// The collector's URL, to which `/v1/traces` is added.
pub(crate) const OTEL_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The collector's URL as it is.
pub(crate) const OTEL_TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// `http/protobuf`
pub(crate) const OTEL_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
/// The same, for traces only.
pub(crate) const OTEL_TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
/// Headers for the collector, `name=value,…`.
pub(crate) const OTEL_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// The same, for traces only.
pub(crate) const OTEL_TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
/// Name of the service in traces; default `cog`.
pub(crate) const OTEL_SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// More attributes of the service, `name=value,…`.
pub(crate) const OTEL_RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// Which requests are traced; default `parentbased_always_off`.
pub(crate) const OTEL_TRACES_SAMPLER: &str = "OTEL_TRACES_SAMPLER";
/// The sampler's argument.
pub(crate) const OTEL_TRACES_SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// Number of an inherited socket that listens already; host and port are then not used.
pub(crate) const LISTEN_FD: &str = "COG_LISTEN_FD";
/// Number of an inherited descriptor on which one line, `READY` or `SETUP_FAILED`, is written when
/// the first setup has ended. Whoever started the server can wait on it instead of polling.
pub(crate) const READY_FD: &str = "COG_READY_FD";
/// `events`: what happens is told on standard output, as lines of JSON, for whoever has started the server. `reload`:
/// commands are read from standard input besides. `succeed`: the same, and nobody is let in before setup has ended.
pub(crate) const CONTROL: &str = "COG_CONTROL";
/// File with the model's OpenAPI document; default `.cog/openapi_schema.json`, where the build puts it.
pub(crate) const SCHEMA_FILE: &str = "COG_SCHEMA_FILE";

/// Set for the worker: the descriptors it reads frames from and writes them to, with a comma between.
pub(crate) const WORKER_FDS: &str = "COG_WORKER_FDS";
/// Set for the worker: which of the workers it is, from 0.
pub(crate) const WORKER_INDEX: &str = "COG_WORKER_INDEX";
/// Set for the worker: where values too large for a frame are written.
pub(crate) const WORKER_SPILL_DIR: &str = "COG_WORKER_SPILL_DIR";
/// Set for the worker: a directory for the model's own files, removed with the worker.
pub(crate) const SCRATCH_DIR: &str = "COG_SCRATCH_DIR";
