//! The page of `cog playground`, for browsers that come to a server which shows it (`COG_PLAYGROUND`).
//!
//! The page asks the server that it comes from, so there is nothing between them. What it does is in `playground/` at the
//! root of the repository.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::answer;
use crate::app::App;
use crate::settings::Playground;

macro_rules! built {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../playground/dist/",
            $name
        ))
    };
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Models answer with media wherever they are; nothing else is from elsewhere.
const POLICY: &str = "default-src 'self'; img-src 'self' data: http: https:; \
    media-src 'self' data: http: https:; style-src 'self' 'unsafe-inline'; object-src 'none'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Whether a client wants a page more than JSON: it names HTML, as browsers do and programs do not.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let mut types = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim());
    types.any(|name| name.eq_ignore_ascii_case("text/html"))
}

pub(super) fn page() -> Response {
    // Tells the page whose it is.
    let page = built!("index.html").replace("<div id=\"app\">", "<div id=\"app\" data-own>");
    guarded("text/html; charset=utf-8", page)
}

/// `GET /playground/<name>`: what the page consists of.
pub(super) async fn asset(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let found = match name.as_str() {
        "app.js" => (SCRIPT, built!("app.js")),
        "app.css" => ("text/css; charset=utf-8", built!("app.css")),
        "worker.js" => (SCRIPT, built!("worker.js")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if app.settings.playground == Playground::Hidden {
        return StatusCode::NOT_FOUND.into_response();
    }
    guarded(found.0, found.1.to_owned())
}

fn guarded(media_type: &'static str, text: String) -> Response {
    let mut response = answer::typed_text(StatusCode::OK, media_type, text);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept"),
    ] {
        let name: HeaderName = name;
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
