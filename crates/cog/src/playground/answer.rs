//! Answers, and the headers that every one of them carries.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, StatusCode};
use serde_json::json;

/// Why a body that was being sent ended too early.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;
pub(super) type Response = hyper::Response<Body>;

/// Nothing from elsewhere runs in the page; media may be anywhere, since models answer with URLs of theirs.
const POLICY: &str = "default-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self' data: http: https:; media-src 'self' data: http: https:; \
    style-src 'self' 'unsafe-inline'; worker-src 'self'; object-src 'none'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The page's checks of inputs run here, on patterns of a stranger's document: they reach nobody. There is nothing of
/// `'unsafe-eval'` in it, since they are not compiled.
pub(super) const WORKER_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'none'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

pub(super) fn whole(content: impl Into<Bytes>) -> Body {
    let body = Full::new(content.into());
    body.map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    typed(status, "text/plain; charset=utf-8", text)
}

pub(super) fn json(status: StatusCode, document: impl Into<Bytes>) -> Response {
    typed(status, "application/json", document)
}

/// `{"error": …}`.
pub(super) fn error(status: StatusCode, message: &str) -> Response {
    json(status, json!({"error": message}).to_string())
}

/// The route is there, but not for this method.
pub(super) fn only(methods: &[Method]) -> Response {
    let names = methods.iter().map(Method::as_str).collect::<Vec<_>>();
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(ALLOW, names);
    }
    response
}

/// With its type, to be asked for anew every time.
pub(super) fn typed(
    status: StatusCode,
    media_type: &'static str,
    content: impl Into<Bytes>,
) -> Response {
    let mut response = Response::new(whole(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// The answer as a browser gets it.
pub(super) fn secured(response: Response) -> Response {
    secured_by(response, POLICY)
}

/// The same with rules of its own for what it may load and run.
pub(super) fn secured_by(mut response: Response, policy: &'static str) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
