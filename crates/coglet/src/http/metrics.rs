//! `GET /metrics`. The names are a contract: `docs/reference/metrics.md`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::answer;
use crate::app::App;
use crate::measures::Page;

/// Counters as they stand, and what is looked up only now.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut page = Page::default();
    requests(&mut page, &app);
    predictions(&mut page, &app);
    load(&mut page, &app);
    worker(&mut page, &app);
    server(&mut page, &app);
    answer::typed_text(StatusCode::OK, Page::CONTENT_TYPE, page.into_text())
}

fn requests(page: &mut Page, app: &App) {
    let mut family = page.counter("cog_http_requests_total", "Requests that were answered.");
    for (method, route, status, count) in app.measures.requests.seen() {
        let labels = [
            ("method", method),
            ("route", route),
            ("status", status.as_str()),
        ];
        family.sample(&labels, count);
    }
}

fn predictions(page: &mut Page, app: &App) {
    let measures = &app.measures;
    let mut family = page.histogram(
        "cog_prediction_duration_seconds",
        "Time from the acceptance of a prediction to its end.",
    );
    for (status, durations) in [
        ("succeeded", &measures.succeeded),
        ("failed", &measures.failed),
        ("canceled", &measures.canceled),
    ] {
        family.distribution(&[("status", status)], durations);
    }
    page.histogram(
        "cog_prediction_queue_seconds",
        "Time that a prediction waited for its turn, without the download of its inputs.",
    )
    .distribution(&[], &measures.queue_time);
    page.histogram(
        "cog_batch_size",
        "Items in the batches that @cog.batch has made.",
    )
    .distribution(&[], &measures.batch_size);
}

fn load(page: &mut Page, app: &App) {
    let (in_flight, waiting) = app.registry.load();
    page.gauge(
        "cog_predictions_in_flight",
        "Predictions that were accepted and have not ended.",
    )
    .value(in_flight);
    page.gauge(
        "cog_queue_depth",
        "Predictions in flight that the model has not been given yet.",
    )
    .value(waiting);
    page.gauge("cog_slots", "Predictions that may run at once.")
        .value(app.slots.total());
    page.gauge("cog_slots_busy", "Slots that are taken.")
        .value(app.slots.taken());
    let is_ready = app.is_ready() && !app.is_draining();
    page.gauge("cog_ready", "1 if predictions are taken.")
        .value(u8::from(is_ready));
}

fn worker(page: &mut Page, app: &App) {
    page.counter(
        "cog_worker_restarts_total",
        "Times that a process of the model was started again.",
    )
    .value(app.measures.worker_restarts.value());
    page.gauge(
        "cog_workers_ready",
        "Processes of the model that are set up.",
    )
    .value(app.pool.all().count());
    let mut family = page.gauge(
        "cog_worker_resident_memory_bytes",
        "Memory that a process of the model occupies.",
    );
    for (lane, worker) in app.pool.all() {
        if let Some(bytes) = worker.resident_memory() {
            family.sample(&[("worker", &lane.0.to_string())], bytes);
        }
    }
    if let Some(duration) = app.health.setup_duration() {
        page.gauge(
            "cog_setup_duration_seconds",
            "Time that the last successful setup took, with the start of its process.",
        )
        .value(duration.as_secs_f64());
    }
}

fn server(page: &mut Page, app: &App) {
    let worker = app.pool.any();
    let (sdk, python) = worker.as_ref().map_or(("", ""), |worker| {
        let loaded = worker.loaded();
        (loaded.sdk.as_str(), loaded.python.as_str())
    });
    let labels = [
        ("version", crate::VERSION),
        ("sdk", sdk),
        ("python", python),
    ];
    page.gauge("cog_build_info", "Versions, as labels; always 1.")
        .sample(&labels, 1);
    if let Some(bytes) = crate::process::resident_memory("self") {
        page.gauge(
            "process_resident_memory_bytes",
            "Memory that the server itself occupies.",
        )
        .value(bytes);
    }
    page.gauge(
        "process_start_time_seconds",
        "When the server was started, in seconds since 1970.",
    )
    .value(app.measures.started_at());
}
