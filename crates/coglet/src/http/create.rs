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
use super::route::Route;
use crate::app::App;
use crate::files::run_blocking;
use crate::predictions::{Order, Prediction, View};
use crate::traces::ServerSpan;
use crate::validate::{Kind, Violation, accept_any_object};
use crate::webhooks::WebhookOrder;

/// Larger requests are read and checked beside the event loop, so that they hold up nobody else.
const MAX_INLINE_WORK: usize = 1 << 20;

/// Seconds, with or without a fraction.
const TIMEOUT: &str = "cog-timeout";

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
    let found = app.registry.by_id(&id);
    if let Some(prediction) = &found {
        app.cancel(prediction);
    }
    answer::json(
        if found.is_some() {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        },
        &json!({}),
    )
}

async fn accept(
    app: &Arc<App>,
    target: Target,
    request: Request,
    span: &mut Option<ServerSpan>,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let body = body::read(&head, body, app.settings.client_timeout).await?;
    let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
    let envelope = offload(body.len(), move || {
        Envelope::parse(content_type.as_ref(), &body)
    })
    .await?;
    let wants_events = wants_events(&head.headers);
    if wants_events && target.kind == Kind::Training {
        return Err(not_acceptable(
            "Training endpoints do not support streaming responses.",
        ));
    }
    let id = chosen_id(app, &target, envelope.id)?;
    if let Some(note) = head.extensions.get::<IdNote>() {
        note.set(&id);
    }
    if let Some(span) = span {
        span.set_prediction(&id);
    }
    if let Some(url_id) = &target.id
        && let Some(existing) = app.registry.by_id(url_id)
    {
        return if wants_events {
            check_streaming(app)?;
            events::observe(app, &existing)
        } else {
            let progress = existing.render(View::Progress);
            Ok(answer::json_parts(StatusCode::ACCEPTED, progress))
        };
    }
    if wants_events {
        check_streaming(app)?;
    }
    let timeout = timeout(&head.headers)?;
    let input = validated(app, target.kind, envelope.input).await?;
    if !app.is_ready() {
        return Err(not_ready());
    }
    let turn = app.slots.take_turn().ok_or_else(|| at_capacity(app))?;
    let webhook = envelope
        .webhook
        .filter(|_| !envelope.events.is_empty())
        .map(|url| WebhookOrder {
            url,
            events: envelope.events,
            trace: trace_headers(&head.headers),
            span: span.as_ref().map(|span| span.trace.webhook()),
        });
    let order = Order {
        id,
        input,
        context: envelope.context,
        timeout,
    };
    let prediction = app.admit(order, webhook);
    if let Some(span) = span {
        prediction.set_trace(span.trace.clone());
    }
    if wants_events {
        // Before anything happens: the one for whom it runs gets everything.
        let response =
            events::run_for(app, &prediction).inspect_err(|_| app.cancel(&prediction))?;
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
async fn validated(app: &Arc<App>, kind: Kind, input: Bytes) -> Result<Bytes, Refusal> {
    let (app, length) = (Arc::clone(app), input.len());
    let accept = move || match app.schema().and_then(|schema| schema.input(kind)) {
        Some(schema) => schema.accept(&input),
        None => accept_any_object(input),
    };
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
        (Some(in_url), _) => Ok(in_url.clone()),
        (None, Some(in_body)) => Ok(in_body),
        (None, None) => Ok(app.registry.generate_id()),
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

fn not_ready() -> Refusal {
    let message =
        "Setup has not finished yet. Wait until it has finished, or GET /health-check for status.";
    Refusal::from(answer::failed(StatusCode::SERVICE_UNAVAILABLE, message))
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
