//! Requests that a web page has a browser send.
//!
//! A browser lets a page of any site send some requests to any server, also to one that only this machine can reach, and
//! asks the server only for the rest, such as those with JSON. A page must not run a model, or stop its server, with the
//! former. Who is not a browser sends none of these headers.

use http::{HeaderMap, Method, header};

use super::envelope::is_json;
use crate::route::Route;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a page of another site sends this, without that the server was asked.
pub(super) fn is_stranger(route: Route, method: &Method, headers: &HeaderMap) -> bool {
    // Who cancels has to know what.
    let acts = matches!(
        route,
        Route::Predictions | Route::Trainings | Route::Shutdown
    );
    acts && method == Method::POST && is_elsewhere(headers) && !was_asked_for(headers)
}

/// Browsers ask before they send JSON to another site.
fn was_asked_for(headers: &HeaderMap) -> bool {
    text(headers, header::CONTENT_TYPE.as_str()).is_some_and(is_json)
}

/// Whether the page is of another site. Older browsers, and all where nothing protects the connection, name only its
/// origin.
fn is_elsewhere(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_SITE) {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.contains_key(header::ORIGIN) && !is_own_origin(headers),
    }
}

fn is_own_origin(headers: &HeaderMap) -> bool {
    let origin = text(headers, header::ORIGIN.as_str());
    let authority = origin.and_then(|origin| Some(origin.split_once("://")?.1));
    authority.is_some() && authority == text(headers, header::HOST.as_str())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const PREDICTIONS: Route = Route::Predictions;

    fn is_refused(route: Route, method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        is_stranger(route, method, &headers.collect())
    }

    #[test]
    fn pages_of_other_sites_are_strangers() {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("content-type", "")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("content-type", "text/plain"),
            ],
            &[
                ("origin", "http://evil.example"),
                ("host", "localhost:5000"),
            ],
            &[("origin", "null"), ("host", "localhost:5000")],
            &[("origin", "http://evil.example")],
        ] {
            assert!(
                is_refused(PREDICTIONS, &Method::POST, headers),
                "{headers:?}"
            );
            assert!(is_refused(Route::Shutdown, &Method::POST, headers));
        }
    }

    #[test]
    fn everybody_else_is_none() {
        for headers in [
            &[][..],
            &[("host", "evil.example")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://x")],
            &[("sec-fetch-site", "none")],
            &[
                ("origin", "http://localhost:5000"),
                ("host", "localhost:5000"),
            ],
            // The server, or a proxy in front of it, was asked.
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "http://app.example"),
                ("content-type", "application/json; charset=utf-8"),
            ],
        ] {
            assert!(
                !is_refused(PREDICTIONS, &Method::POST, headers),
                "{headers:?}"
            );
        }
        let foreign = &[("sec-fetch-site", "cross-site")];
        assert!(!is_refused(PREDICTIONS, &Method::PUT, foreign), "was asked");
        assert!(!is_refused(Route::PredictionCancel, &Method::POST, foreign));
        assert!(!is_refused(Route::HealthCheck, &Method::GET, foreign));
    }
}
