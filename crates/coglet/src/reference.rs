//! What the server answers to, for the page of the documentation that is generated from it.

use crate::route::Route;

/// A method of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// `GET`, `POST` or `PUT`.
    pub method: &'static str,
    /// With `{id}` for the part that a client chooses.
    pub path: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
}

/// All that clients can ask for, in the order of the routes.
pub fn operations() -> Vec<Operation> {
    Route::ALL
        .iter()
        .flat_map(|route| {
            words(*route).iter().map(|(method, does)| Operation {
                method,
                path: route.pattern(),
                does,
            })
        })
        .collect()
}

fn words(route: Route) -> &'static [(&'static str, &'static str)] {
    match route {
        Route::Index => &[(
            "GET",
            "where everything is; with `COG_PLAYGROUND=1`, for browsers, a page to try the model",
        )],
        Route::HealthCheck => &[(
            "GET",
            "the state of the server and of setup; the status is always 200",
        )],
        Route::Live => &[("GET", "503 if only a restart helps")],
        Route::Ready => &[("GET", "503 unless predictions are taken")],
        Route::Startup => &[("GET", "503 until setup has succeeded once")],
        Route::Docs => &[("GET", "the model's document as a page for people")],
        Route::Playground => &[("GET", "a file of the page to try the model")],
        Route::OpenApi => &[("GET", "the model's document")],
        Route::Metrics => &[("GET", "numbers for Prometheus")],
        Route::Shutdown => &[("POST", "finishes what is running, then stops")],
        Route::Predictions => &[("POST", "one prediction")],
        Route::Prediction => &[
            (
                "PUT",
                "one prediction with an id of yours; sent twice, it runs once",
            ),
            (
                "GET",
                "one that is running, or the result of an asynchronous one that has ended lately",
            ),
        ],
        Route::PredictionCancel => &[("POST", "cancels a prediction")],
        Route::Trainings => &[("POST", "one training, of a server with `--x-mode train`")],
        Route::Training => &[
            (
                "PUT",
                "one training with an id of yours; sent twice, it runs once",
            ),
            (
                "GET",
                "one that is running, or the result of an asynchronous one that has ended lately",
            ),
        ],
        Route::TrainingCancel => &[("POST", "cancels a training")],
        Route::Unknown => &[],
    }
}
