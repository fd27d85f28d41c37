//! `/proxy/…`: the page's requests to a model's server, which has another origin than the page.
//!
//! Each request names its server in a header, and there is no server that is asked otherwise: a link or a form of
//! another site cannot set a header. What a browser would send for the page's own origin is not passed on, and an answer's
//! headers are returned but for those that a browser acts on; the page shows these all the same.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cog_image::trust::Certificates;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    self, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST,
    HeaderName, HeaderValue, LOCATION, ORIGIN, REFERER, VIA,
};
use hyper::{HeaderMap, Request, StatusCode};
use serde_json::{Map, Value};

use super::answer::{self, Broken, Response};
use super::target::Target;

const TARGET: HeaderName = HeaderName::from_static("x-cog-target");
const UPSTREAM_HEADERS: HeaderName = HeaderName::from_static("x-cog-upstream-headers");
/// More of a model's headers is not shown.
const MAX_UPSTREAM_HEADERS: usize = 32 << 10;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Meant for the next server only.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Meant for the page's own origin, or said anew.
const NOT_FORWARDED: [HeaderName; 8] = [
    TARGET,
    AUTHORIZATION,
    COOKIE,
    ORIGIN,
    REFERER,
    HOST,
    CONTENT_LENGTH,
    EXPECT,
];
/// Browsers act on these, or once did: for the whole origin that an answer comes from, which is the page's own and not the
/// model's, or by asking somebody something on the user's account. All others are returned: clients of a model may go by a
/// header of any name, and an answer of ours is only ever read by a script, as nothing else can name a server in a header.
const ACTED_ON: [HeaderName; 43] = [
    header::ALT_SVC,
    header::PUBLIC_KEY_PINS,
    header::PUBLIC_KEY_PINS_REPORT_ONLY,
    header::REFERRER_POLICY,
    header::REFRESH,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::WWW_AUTHENTICATE,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_DNS_PREFETCH_CONTROL,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
    header::LINK,
    HeaderName::from_static("accept-ch"),
    HeaderName::from_static("accept-ch-lifetime"),
    HeaderName::from_static("activate-storage-access"),
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("critical-ch"),
    HeaderName::from_static("expect-ct"),
    HeaderName::from_static("feature-policy"),
    HeaderName::from_static("large-allocation"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("no-vary-search"),
    HeaderName::from_static("observe-browsing-topics"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("set-login"),
    HeaderName::from_static("shared-storage-write"),
    HeaderName::from_static("sourcemap"),
    HeaderName::from_static("speculation-rules"),
    HeaderName::from_static("supports-loading-mode"),
    HeaderName::from_static("timing-allow-origin"),
    HeaderName::from_static("use-as-dictionary"),
    HeaderName::from_static("x-content-security-policy"),
    HeaderName::from_static("x-permitted-cross-domain-policies"),
    HeaderName::from_static("x-robots-tag"),
    HeaderName::from_static("x-sourcemap"),
    HeaderName::from_static("x-ua-compatible"),
    HeaderName::from_static("x-webkit-csp"),
];
/// Families of such names, of which there are more every year.
const ACTED_ON_FAMILIES: [&str; 10] = [
    "access-control-",
    "ad-auction-",
    "attribution-reporting-",
    "content-security-policy",
    "cross-origin-",
    "document-policy",
    "integrity-policy",
    "origin-",
    "permissions-policy",
    "sec-",
];

/// Passes requests on. Clients are made when first needed: loading certificates takes a moment.
#[derive(Default)]
pub(super) struct Proxy {
    /// For servers of this machine.
    local: Mutex<Option<reqwest::Client>>,
    remote: Mutex<Option<reqwest::Client>>,
}

impl Proxy {
    /// Asks for `path` of the server that the request names.
    pub(super) async fn forward(&self, path: &str, request: Request<Incoming>) -> Response {
        let Some(target) = request.headers().get(TARGET) else {
            return answer::error(StatusCode::BAD_REQUEST, "no target API set");
        };
        let Some(target) = target.to_str().ok().and_then(Target::parse) else {
            return answer::error(StatusCode::BAD_REQUEST, "invalid target API URL");
        };
        match self.pass_on(&target, path, request).await {
            Ok(response) => response,
            Err(error) => {
                let message = format!("cannot reach target API: {}", told(error.as_ref()));
                answer::error(StatusCode::BAD_GATEWAY, &message)
            }
        }
    }

    async fn pass_on(
        &self,
        target: &Target,
        path: &str,
        request: Request<Incoming>,
    ) -> Result<Response, Broken> {
        let client = self.client(target)?;
        let url = target.join(path, request.uri().query());
        let (mut parts, body) = request.into_parts();
        let headers = &mut parts.headers;
        remove_hop_by_hop(headers);
        for name in NOT_FORWARDED {
            headers.remove(name);
        }
        // A server that trusts its own machine can tell this from what its user has sent.
        headers.append(VIA, HeaderValue::from_static("1.1 cog-playground"));
        let mut onward = client.request(parts.method, url).headers(parts.headers);
        if !body.is_end_stream() {
            onward = onward.body(reqwest::Body::wrap(body));
        }
        let answered = onward.send().await.map_err(reqwest::Error::without_url)?;
        let (mut parts, body) = hyper::Response::from(answered).into_parts();
        returned(&mut parts.headers, parts.status);
        let body = body.map_err(Broken::from).boxed_unsync();
        Ok(Response::from_parts(parts, body))
    }

    fn client(&self, target: &Target) -> Result<reqwest::Client, Broken> {
        let is_local = target.is_local();
        let cell = if is_local { &self.local } else { &self.remote };
        let mut cell = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*cell {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none());
        if is_local {
            builder = builder.no_proxy();
        }
        if let Some(more) = Certificates::of_environment()? {
            let more = reqwest::Certificate::from_pem_bundle(more.pem().as_bytes())?;
            builder = builder.tls_certs_merge(more);
        }
        // An error means that the program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = builder.build()?;
        Ok(cell.insert(client).clone())
    }
}

/// The headers of an answer as the page may have them, and all of them as text for it to show.
fn returned(headers: &mut HeaderMap, status: StatusCode) {
    let shown = shown(headers);
    remove_hop_by_hop(headers);
    let lost: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !is_returned(name, status))
        .cloned()
        .collect();
    for name in lost {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, answer::NO_STORE);
    if let Some(shown) = shown {
        headers.insert(UPSTREAM_HEADERS, shown);
    }
}

fn is_returned(name: &HeaderName, status: StatusCode) -> bool {
    if *name == LOCATION && status.is_redirection() {
        return false;
    }
    let of_family = |family: &&str| name.as_str().starts_with(*family);
    *name != UPSTREAM_HEADERS
        && !ACTED_ON.contains(name)
        && !ACTED_ON_FAMILIES.iter().any(of_family)
}

/// Headers as a JSON object in base64; nothing if they are too many.
fn shown(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut object = Map::new();
    for name in headers.keys().filter(|name| **name != UPSTREAM_HEADERS) {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into());
        object.insert(spelled(name), Value::Array(values.collect()));
    }
    let text = URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
    let shown = HeaderValue::try_from(text).ok()?;
    (shown.len() <= MAX_UPSTREAM_HEADERS).then_some(shown)
}

/// As people write it: `Content-Type`.
fn spelled(name: &HeaderName) -> String {
    let words = name.as_str().split('-').map(|word| {
        let mut word = word.to_owned();
        if let Some(first) = word.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        word
    });
    words.collect::<Vec<_>>().join("-")
}

/// Those that are always meant for the next server only, and those that `Connection` says are.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .collect::<Vec<_>>();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// An error with its causes, on one line.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    // Some say what their cause says, too.
    words.dedup_by(|later, earlier| earlier.contains(later.as_str()));
    words.join(": ")
}
