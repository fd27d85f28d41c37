//! The HTTP API: routes and answers. What a request means is decided in the modules by resource.

mod access_log;
mod answer;
mod body;
mod create;
mod discovery;
mod docs;
mod envelope;
mod events;
mod front;
mod health;
mod leftover;
mod metrics;
mod probes;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post, put};

pub(crate) use front::Front;

use crate::app::App;
use crate::validate::Kind;
use create::Target;

/// All routes, behind [`Front`].
fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(discovery::index))
        .route("/health-check", get(health::health_check))
        .route("/health/live", get(probes::live))
        .route("/health/ready", get(probes::ready))
        .route("/health/startup", get(probes::startup))
        .route("/docs", get(docs::docs))
        .route("/openapi.json", get(discovery::schema))
        .route("/metrics", get(metrics::metrics))
        .route("/shutdown", post(discovery::shutdown))
        .merge(resource("/predictions", Kind::Prediction))
        .merge(resource("/trainings", Kind::Training))
        .with_state(app)
}

/// Predictions and trainings look the same from outside.
fn resource(path: &str, kind: Kind) -> Router<Arc<App>> {
    let create = async move |State(app): State<Arc<App>>, request: Request| {
        create::create(app, Target { kind, id: None }, request).await
    };
    let create_with_id =
        async move |State(app): State<Arc<App>>, Path(id): Path<String>, request: Request| {
            create::create(app, Target { kind, id: Some(id) }, request).await
        };
    Router::new()
        .route(path, post(create))
        .route(
            &format!("{path}/{{id}}"),
            put(create_with_id).get(create::show),
        )
        .route(&format!("{path}/{{id}}/cancel"), post(create::cancel))
}
