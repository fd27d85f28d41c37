//! `GET /health-check`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use futures_util::future::join_all;
use http::StatusCode;
use serde::Serialize;

use super::answer;
use crate::app::App;
use crate::health::{Phase, SetupRecord};

/// Kubernetes probes can look for it.
const READINESS_FILE: &str = "/var/run/cog/ready";

#[derive(Serialize)]
struct Health {
    status: Status,
    setup: SetupRecord,
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_healthcheck_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    Starting,
    Ready,
    Busy,
    SetupFailed,
    Defunct,
    Unhealthy,
}

#[derive(Serialize)]
struct Version {
    coglet: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    python_sdk: Option<String>,
    /// The name that the documentation uses for `python_sdk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    cog: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    python: Option<String>,
}

/// Always 200: what is wrong is said in the body.
pub(super) async fn health_check(State(app): State<Arc<App>>) -> Response {
    if app.settings.writes_readiness_file && app.is_ready() {
        write_readiness_file();
    }
    let (status, user_healthcheck_error) = status(&app).await;
    let health = Health {
        status,
        setup: app.health.setup(),
        version: version(&app),
        user_healthcheck_error,
    };
    answer::json(StatusCode::OK, &health)
}

/// How the server is, and what the model's own check has to say if it is unwell.
pub(super) async fn status(app: &App) -> (Status, Option<String>) {
    let error = if app.is_ready() {
        user_check(app).await.err()
    } else {
        None
    };
    // Asked after the model's own check, during which the worker may have died.
    match app.health.phase() {
        Phase::Starting => (Status::Starting, None),
        Phase::SetupFailed => (Status::SetupFailed, None),
        Phase::Defunct => (Status::Defunct, None),
        Phase::Ready if error.is_some() => (Status::Unhealthy, error),
        Phase::Ready if app.slots.all_busy() => (Status::Busy, None),
        Phase::Ready => (Status::Ready, None),
    }
}

/// Asks all workers; one that is unwell is enough.
async fn user_check(app: &App) -> Result<(), String> {
    let checks = app.pool.all().map(|(lane, worker)| async move {
        let outcome = worker.check_health().await;
        outcome.map_err(|error| match app.settings.workers {
            1 => error,
            _ => format!("worker {}: {error}", lane.0),
        })
    });
    let outcomes = join_all(checks).await;
    outcomes.into_iter().collect()
}

fn version(app: &App) -> Version {
    let worker = app.pool.any();
    let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let sdk = worker
        .as_ref()
        .and_then(|worker| known(&worker.loaded().sdk));
    let python = worker
        .as_ref()
        .and_then(|worker| known(&worker.loaded().python));
    Version {
        coglet: crate::VERSION,
        cog: sdk.clone(),
        python_sdk: sdk,
        python,
    }
}

fn write_readiness_file() {
    let file = std::path::Path::new(READINESS_FILE);
    if file.exists() {
        return;
    }
    let directory = file.parent().unwrap_or(file);
    if let Err(error) = fs_err::create_dir_all(directory).and_then(|()| fs_err::write(file, "")) {
        tracing::warn!("The readiness file was not written: {error}");
    }
}
