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
mod pages;
mod playground;
mod probes;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::{MethodRouter, get, post, put};

pub(crate) use front::Front;

use crate::app::App;
use crate::route::Route;
use crate::validate::Kind;
use create::Target;

/// All routes, behind [`Front`].
fn router(app: Arc<App>) -> Router {
    let table = Route::ALL
        .iter()
        .filter_map(|route| Some((route.pattern(), methods(*route)?)));
    table
        .fold(Router::new(), |router, (pattern, methods)| {
            router.route(pattern, methods)
        })
        .with_state(app)
}

/// What a route answers to.
fn methods(route: Route) -> Option<MethodRouter<Arc<App>>> {
    Some(match route {
        Route::Index => get(discovery::index),
        Route::HealthCheck => get(health::health_check),
        Route::Live => get(probes::live),
        Route::Ready => get(probes::ready),
        Route::Startup => get(probes::startup),
        Route::Docs => get(docs::docs),
        Route::Playground => get(playground::asset),
        Route::OpenApi => get(discovery::schema),
        Route::Metrics => get(metrics::metrics),
        Route::Shutdown => post(discovery::shutdown),
        Route::Predictions => creates(Kind::Prediction),
        Route::Prediction => creates_named(Kind::Prediction).get(create::show),
        Route::Trainings => creates(Kind::Training),
        Route::Training => creates_named(Kind::Training).get(create::show),
        Route::PredictionCancel | Route::TrainingCancel => post(create::cancel),
        Route::Unknown => return None,
    })
}

fn creates(kind: Kind) -> MethodRouter<Arc<App>> {
    post(async move |State(app): State<Arc<App>>, request: Request| {
        create::create(app, Target { kind, id: None }, request).await
    })
}

fn creates_named(kind: Kind) -> MethodRouter<Arc<App>> {
    put(
        async move |State(app): State<Arc<App>>, Path(id): Path<String>, request: Request| {
            create::create(app, Target { kind, id: Some(id) }, request).await
        },
    )
}
