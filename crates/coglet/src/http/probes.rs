//! `/health/live`, `/health/ready`, `/health/startup`: for orchestrators, which look at the status code
//! and at nothing else. `/health-check` always answers 200 and says in its body how things are.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::answer;
use super::health::{Status, status};
use crate::app::App;
use crate::health::Phase;

#[derive(Serialize)]
struct Probe<'a> {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// 200 as long as this process can be of use: one whose worker is not started again has to be restarted.
/// After a failed setup a restart would change nothing, and that is for the startup probe to tell.
pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    match app.health.phase() {
        Phase::Defunct => unavailable(Status::Defunct, reason(Status::Defunct)),
        Phase::Starting | Phase::Ready | Phase::SetupFailed => {
            answer::json_text(StatusCode::OK, r#"{"status":"LIVE"}"#)
        }
    }
}

/// 200 if a prediction that is sent now is accepted, or is refused only because others are running.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, error) = status(&app).await;
    let reason = match (status, &error) {
        _ if app.is_draining() => "the server is shutting down",
        (Status::Ready | Status::Busy, _) => return answer::json(StatusCode::OK, &fine(status)),
        (Status::Unhealthy, Some(error)) => error,
        (status, _) => reason(status),
    };
    unavailable(status, reason)
}

/// 200 once setup has succeeded for the first time. A worker that is restarted later is a matter of
/// readiness: starting has not begun anew.
pub(super) async fn startup(State(app): State<Arc<App>>) -> Response {
    if app.has_been_ready() {
        return answer::json(StatusCode::OK, &fine(Status::Ready));
    }
    let status = match app.health.phase() {
        Phase::SetupFailed => Status::SetupFailed,
        Phase::Defunct => Status::Defunct,
        Phase::Starting | Phase::Ready => Status::Starting,
    };
    unavailable(status, reason(status))
}

fn fine(status: Status) -> Probe<'static> {
    Probe {
        status,
        reason: None,
    }
}

fn unavailable(status: Status, reason: &str) -> Response {
    let reason = Some(reason);
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &Probe { status, reason })
}

fn reason(status: Status) -> &'static str {
    match status {
        Status::Starting => "setup has not finished yet",
        Status::SetupFailed => "setup failed: its log is at /health-check",
        Status::Defunct => "the model's process died too often and is not started again",
        Status::Unhealthy => "the model reports that it is unhealthy",
        Status::Ready | Status::Busy => "",
    }
}
