//! `/`, `/openapi.json`, `/shutdown`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::{answer, playground};
use crate::app::App;
use crate::model::Model;
use crate::settings::Playground;
use crate::validate::ModelSchema;

/// `GET /`: where everything is.
pub(super) async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if app.settings.playground == Playground::Shown && playground::is_wanted(&headers) {
        return playground::page();
    }
    let sdk = app
        .pool
        .any()
        .map(|worker| worker.loaded().sdk.clone())
        .filter(|version| !version.is_empty());
    let mut index = json!({
        "cog_version": sdk.as_deref().unwrap_or(crate::VERSION),
        "docs_url": "/docs",
        "openapi_url": "/openapi.json",
        "shutdown_url": "/shutdown",
        "healthcheck_url": "/health-check",
        "predictions_url": "/predictions",
        "predictions_idempotent_url": "/predictions/{prediction_id}",
        "predictions_cancel_url": "/predictions/{prediction_id}/cancel",
    });
    let model = app.model();
    let schema = model.as_deref().and_then(Model::schema);
    if schema.is_some_and(ModelSchema::supports_training) {
        index["trainings_url"] = json!("/trainings");
        index["trainings_idempotent_url"] = json!("/trainings/{training_id}");
        index["trainings_cancel_url"] = json!("/trainings/{training_id}/cancel");
    }
    answer::json(StatusCode::OK, &index)
}

/// `GET /openapi.json`: the model's document as it was built.
pub(super) async fn schema(State(app): State<Arc<App>>) -> Response {
    let model = app.model();
    match model.as_deref().and_then(Model::schema) {
        Some(schema) => answer::json_text(StatusCode::OK, schema.document.clone()),
        None => answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "OpenAPI schema not available",
        ),
    }
}

/// `POST /shutdown`: this answer is one of those that are still sent.
pub(super) async fn shutdown(State(app): State<Arc<App>>) -> Response {
    app.request_shutdown();
    answer::json(StatusCode::OK, &json!({}))
}
