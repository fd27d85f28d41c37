//! Creating, showing and canceling predictions.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde_json::json;

use super::access_log::IdNote;
use super::answer::{self, Refusal};
use super::body;
use super::envelope::Envelope;
use super::events;
use crate::app::{App, Waited};
use crate::files::run_blocking;
use crate::health::Phase;
use crate::memory::Asked;
use crate::model::Model;
use crate::predictions::{FileNames, Order, Prediction, View, Watching};
use crate::route::Route;
use crate::traces::ServerSpan;
use crate::validate::{Kind, Violation};
use crate::webhooks::WebhookOrder;

/// Larger requests are read and checked beside the event loop, so that they hold up nobody else.
const MAX_INLINE_WORK: usize = 1 << 20;

/// Bytes of an id, which is repeated in every line of a prediction's log.
const MAX_ID: usize = 1 << 10;
/// Bytes of a context, which travels to the model with every frame of its prediction.
const MAX_CONTEXT: usize = 1 << 20;
/// Bytes of a webhook's URL.
const MAX_WEBHOOK: usize = 16 << 10;

/// Seconds, with or without a fraction.
const TIMEOUT: &str = "cog-timeout";

/// `1` asks for the names of output files.
const OUTPUT_NAMES: &str = "cog-output-names";

/// `1` asks for the events of any model, and for those that come after some were missed.
const EVENTS: &str = "cog-events";

/// What the URL of a create request says.
pub(super) struct Target {
    pub(super) kind: Kind,
    /// Given by PUT.
    pub(super) id: Option<String>,
}

/// `POST /predictions` and `PUT /predictions/{id}`. The order of the checks is part of the API.
pub(super) async fn create(app: Arc<App>, target: Target, request: Request) -> Response {
    let mut span = app.tracer.as_ref().and_then(|tracer| {
        let route = Route::of(request.uri().path());
        tracer.begin(request.headers(), request.method(), route.pattern())
    });
    let response = match accept(&app, target, request, &mut span).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    if let Some(span) = &mut span {
        span.set_status(response.status().as_u16());
    }
    response
}

/// `GET /predictions/{id}`: what a webhook would have said last.
pub(super) async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match app.registry.snapshot(&id) {
        Some(snapshot) => answer::json_parts(StatusCode::OK, snapshot),
        None => answer::json(StatusCode::NOT_FOUND, &json!({})),
    }
}

/// `POST /predictions/{id}/cancel`.
pub(super) async fn cancel(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    let is_known = app.registry.knows(&id);
    if let Some(prediction) = app.registry.by_id(&id) {
        app.cancel(&prediction);
    }
    // Who cancels twice, or what has just ended, has what it wants.
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    };
    answer::json(status, &json!({}))
}

async fn accept(
    app: &Arc<App>,
    target: Target,
    request: Request,
    span: &mut Option<ServerSpan>,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let received = body::read(app, &head, body, || objection(app, &target)).await?;
    let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
    let (body, share) = (received.bytes, received.share);
    let envelope = offload(body.len(), move || {
        Envelope::parse(content_type.as_ref(), &body)
    })
    .await?;
    let watching = watching(&head.headers);
    if watching.is_some() && target.kind == Kind::Training {
        return Err(not_acceptable(
            "Training endpoints do not support streaming responses.",
        ));
    }
    let id = chosen_id(app, &target, envelope.id)?;
    check_lengths(&envelope.context, envelope.webhook.as_deref())?;
    if let Some(note) = head.extensions.get::<IdNote>() {
        note.set(&id);
    }
    if let Some(span) = span {
        span.set_prediction(&id);
    }
    if let Some(existing) = in_flight(app, &target) {
        return join(app, &existing, watching);
    }
    // Other code is on its way: it says what it takes, and answers.
    let waited = app.settled().await;
    if watching == Some(Watching::AsDeclared) {
        check_streaming(app)?;
    }
    let timeout = timeout(&head.headers)?;
    let model = app.model();
    let input = validated(app, model.clone(), target.kind, envelope.input).await?;
    // Another request may have been quicker in the meantime. From here on nothing is waited for until the
    // id is taken, so that it runs once.
    if let Some(existing) = in_flight(app, &target) {
        return join(app, &existing, watching);
    }
    if let Some(refusal) = not_ready(app) {
        return Err(refusal);
    }
    let turn = match waited {
        Waited::No => app.slots.take_turn(),
        Waited::Yes => Some(app.slots.take_turn_after_waiting()),
    };
    let turn = turn.ok_or_else(|| at_capacity(app))?;
    let webhook = envelope
        .webhook
        .filter(|_| !envelope.events.is_empty())
        .map(|url| WebhookOrder {
            url,
            events: envelope.events,
            trace: trace_headers(&head.headers),
            span: span.as_ref().map(|span| span.trace.webhook()),
        });
    let asked = Asked::new(input, envelope.context, share);
    let mut order = Order::new(id, asked, timeout);
    order.kind = target.kind;
    order.model = model;
    if is_on(&head.headers, OUTPUT_NAMES) {
        order.file_names = FileNames::InUrls;
    }
    order.watching = watching.unwrap_or_default();
    let prediction = app.admit(order, webhook);
    if let Some(span) = span {
        prediction.set_trace(span.trace.clone());
    }
    if let Some(watching) = watching {
        // Before anything happens: the one for whom it runs gets everything.
        let response =
            events::run_for(app, &prediction, watching).inspect_err(|_| app.cancel(&prediction))?;
        app.start_in_turn(turn, &prediction);
        return Ok(response);
    }
    let is_async = prefers_async(&head.headers);
    if is_async {
        app.registry.keep_result(&prediction);
    }
    app.start_in_turn(turn, &prediction);
    if is_async {
        let accepted = json!({"id": prediction.order.id, "status": "starting"});
        return Ok(answer::json(StatusCode::ACCEPTED, &accepted));
    }
    Ok(wait(app, prediction).await)
}

/// The prediction that a repeated PUT means.
fn in_flight(app: &App, target: &Target) -> Option<Arc<Prediction>> {
    app.registry.by_id(target.id.as_ref()?)
}

/// Shows a prediction that runs already.
fn join(
    app: &Arc<App>,
    existing: &Arc<Prediction>,
    watching: Option<Watching>,
) -> Result<Response, Refusal> {
    if let Some(watching) = watching {
        // Its events may be kept all the same, but not for one who does not ask for that.
        if existing.order.watching == Watching::AsDeclared || watching == Watching::AsDeclared {
            check_streaming(app)?;
        }
        return events::observe(app, existing, watching);
    }
    let progress = app.progress(existing);
    Ok(answer::json_parts(StatusCode::ACCEPTED, progress))
}

/// Why a large body is not even read: nothing could come of it.
fn objection(app: &App, target: &Target) -> Option<Refusal> {
    if in_flight(app, target).is_some() || app.is_renewing() {
        return None;
    }
    let refusal = not_ready(app);
    refusal.or_else(|| (!app.slots.has_room()).then(|| at_capacity(app)))
}

/// Waits for the end. If the client leaves before, this is dropped and the prediction canceled.
async fn wait(app: &Arc<App>, prediction: Arc<Prediction>) -> Response {
    // Without effect on one that has ended.
    let _guard = CancelOnDrop {
        app,
        prediction: &prediction,
    };
    // An error means that it had ended before we listened.
    let _ = prediction.ended().await;
    answer::json_parts(StatusCode::OK, prediction.render(View::Answer))
}

struct CancelOnDrop<'a> {
    app: &'a Arc<App>,
    prediction: &'a Arc<Prediction>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.app.cancel(self.prediction);
    }
}

/// Event streams are for models whose author wants them.
fn check_streaming(app: &App) -> Result<(), Refusal> {
    if app.can_be_watched() {
        return Ok(());
    }
    Err(not_acceptable(
        "This model does not support streaming responses. Add @cog.streaming to predict() to enable SSE.",
    ))
}

/// Strips and checks an input.
async fn validated(
    app: &Arc<App>,
    model: Option<Arc<Model>>,
    kind: Kind,
    input: Bytes,
) -> Result<Bytes, Refusal> {
    let (app, length) = (Arc::clone(app), input.len());
    let accept = move || app.accept(model.as_deref(), kind, &input);
    match offload(length, accept).await {
        Ok(accepted) => {
            if !accepted.dropped.is_empty() {
                tracing::warn!("Unknown input fields ignored: {}", accepted.dropped);
            }
            Ok(accepted.input)
        }
        Err(violations) => Err(unprocessable(&violations)),
    }
}

/// Small work is done at once, large work beside the event loop.
async fn offload<T: Send + 'static>(size: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if size > MAX_INLINE_WORK {
        run_blocking(work).await
    } else {
        work()
    }
}

/// The id of the new prediction: from the URL, from the body, or ours.
fn chosen_id(app: &App, target: &Target, in_body: Option<String>) -> Result<String, Refusal> {
    match (&target.id, in_body) {
        (Some(in_url), Some(in_body)) if *in_url != in_body => {
            let what = match target.kind {
                Kind::Prediction => "prediction",
                Kind::Training => "training",
            };
            let message = format!("{what} ID must match the ID supplied in the URL");
            Err(unprocessable(&[Violation::in_body("id", message)]))
        }
        (Some(in_url), _) => match id_problem(in_url) {
            Some(problem) => Err(unprocessable(&[Violation::in_path("id", problem)])),
            None => Ok(in_url.clone()),
        },
        (None, Some(in_body)) => match id_problem(&in_body) {
            Some(problem) => Err(unprocessable(&[Violation::in_body("id", problem)])),
            None => Ok(in_body),
        },
        (None, None) => Ok(app.registry.generate_id()),
    }
}

/// An id is in every line of the log that is about its prediction.
fn id_problem(id: &str) -> Option<String> {
    if id.len() > MAX_ID {
        return Some(format!("must not be longer than {MAX_ID} bytes"));
    }
    let has_control = id.chars().any(char::is_control);
    has_control.then(|| "must not contain control characters".into())
}

/// What is kept beside the input, and longer.
fn check_lengths(context: &Bytes, webhook: Option<&str>) -> Result<(), Refusal> {
    let lengths = [
        ("context", context.len(), MAX_CONTEXT),
        ("webhook", webhook.map_or(0, str::len), MAX_WEBHOOK),
    ];
    let too_long = lengths
        .into_iter()
        .filter(|(_, length, limit)| length > limit);
    let violations: Vec<_> = too_long
        .map(|(name, _, limit)| {
            Violation::in_body(name, format!("must not be longer than {limit} bytes"))
        })
        .collect();
    if violations.is_empty() {
        Ok(())
    } else {
        Err(unprocessable(&violations))
    }
}

fn trace_headers(headers: &HeaderMap) -> HeaderMap {
    let names = ["traceparent", "tracestate"];
    let present = names
        .into_iter()
        .filter_map(|name| Some((HeaderName::from_static(name), headers.get(name)?.clone())));
    present.collect()
}

/// How long the client waits for the result, if it says so.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let seconds = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let timeout = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match timeout.filter(|timeout| !timeout.is_zero()) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(unprocessable(&[Violation::in_header(
            TIMEOUT,
            "must be a number of seconds above 0",
        )])),
    }
}

/// Exactly this value; clients that add parameters get a synchronous answer.
fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get("prefer")
        .is_some_and(|value| value == "respond-async")
}

/// Whether the client wants an event stream, and which.
fn watching(headers: &HeaderMap) -> Option<Watching> {
    wants_events(headers).then(|| {
        if is_on(headers, EVENTS) {
            Watching::Always
        } else {
            Watching::AsDeclared
        }
    })
}

/// For headers of ours.
fn is_on(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value == "1")
}

fn wants_events(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(header::ACCEPT)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    let mut types = values
        .flat_map(|value| value.split(','))
        .map(|part| part.split(';').next().unwrap_or(part).trim());
    types.any(|media_type| media_type.eq_ignore_ascii_case("text/event-stream"))
}

fn unprocessable(violations: &[Violation]) -> Refusal {
    Refusal::from(answer::json(
        StatusCode::UNPROCESSABLE_ENTITY,
        &json!({"detail": violations}),
    ))
}

fn not_acceptable(message: &str) -> Refusal {
    Refusal::from(answer::error(StatusCode::NOT_ACCEPTABLE, message))
}

/// Why no prediction is taken now, and what to do.
fn not_ready(app: &App) -> Option<Refusal> {
    let phase = app.health.phase();
    if phase == Phase::Ready {
        return None;
    }
    let failure = app.failure();
    let message = match (phase, failure) {
        (Phase::SetupFailed | Phase::Defunct, Some(failure))
            if app.reloads() =>
        {
            format!("{}. It is tried again when the code is changed.", failure.trim_end_matches(['.', '\n']))
        }
        (Phase::SetupFailed, _) => {
            "Setup failed, and is not tried again. GET /health-check has its log; mend the cause and restart the server.".to_owned()
        }
        (Phase::Defunct, _) => {
            "The model's process died again and again, and is not started any more. The server's log says why; mend the cause and restart the server.".to_owned()
        }
        (Phase::Starting | Phase::Ready, _) => {
            "Setup has not finished yet. Wait until it has finished, or GET /health-check for status.".to_owned()
        }
    };
    let answer = answer::failed(StatusCode::SERVICE_UNAVAILABLE, &message);
    Some(Refusal::from(answer))
}

fn at_capacity(app: &App) -> Refusal {
    let mut response = answer::failed(
        StatusCode::CONFLICT,
        "At capacity - all prediction slots busy",
    );
    if let Some(seconds) = app.slots.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    Refusal::from(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn only_the_exact_preference_counts() {
        assert!(prefers_async(&headers("prefer", "respond-async")));
        assert!(!prefers_async(&headers("prefer", "respond-async, wait=5")));
        assert!(!prefers_async(&HeaderMap::new()));
    }

    #[test]
    fn event_streams_are_found_anywhere_in_accept() {
        assert!(wants_events(&headers(
            "accept",
            "application/json, Text/Event-Stream;q=0.5"
        )));
        assert!(!wants_events(&headers("accept", "text/*")));
    }
}
