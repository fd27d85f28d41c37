//! What every request passes on its way in and out: the token is checked, the request counted and, if
//! wanted, logged.
//!
//! Not a layer of the router: it needs the peer's address, sees unknown paths too, and costs an ordinary
//! request neither an allocation nor a boxed future.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::access_log::{Entry, IdNote};
use super::leftover::Leftover;
use super::{answer, pages, router};
use crate::app::App;
use crate::auth;
use crate::route::Route;

/// Counted and logged where the client left before it was answered. Nobody gets to see it.
const CLIENT_LEFT: u16 = 499;

/// The whole HTTP API.
pub(crate) struct Front {
    app: Arc<App>,
    routes: TowerToHyperService<axum::Router>,
}

impl Front {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            routes: TowerToHyperService::new(router(Arc::clone(&app))),
            app,
        }
    }

    /// Answers a request that came from `peer`.
    pub(crate) async fn serve(
        &self,
        peer: IpAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let mut exchange = Exchange::begin(&self.app, &mut request);
        let refusal = self.refusal(exchange.route, peer, &request);
        let (request, leftover) = Leftover::lend(request);
        let response = match refusal {
            None => self.routes.call(request).await?,
            Some(refusal) => {
                drop(request);
                refusal
            }
        };
        if let Some(leftover) = leftover {
            leftover.discard(response.status()).await;
        }
        Ok(exchange.answer(response))
    }

    /// The answer to a request that gets no further.
    fn refusal(
        &self,
        route: Route,
        peer: IpAddr,
        request: &Request<Incoming>,
    ) -> Option<Response<Body>> {
        if !self.lets_in(route, peer, request) {
            return Some(unauthorized());
        }
        if pages::is_stranger(route, request.method(), request.headers()) {
            return Some(stranger());
        }
        None
    }

    fn lets_in(&self, route: Route, peer: IpAddr, request: &Request<Incoming>) -> bool {
        let Some(token) = &self.app.settings.auth_token else {
            return true;
        };
        route.is_probe()
            || token.is_in(request.headers())
            || (route == Route::Shutdown
                && self.app.settings.local_shutdown
                && auth::is_local(peer, request.headers()))
    }
}

fn unauthorized() -> Response<Body> {
    let message = "This server needs a token: `Authorization: Bearer …`";
    let mut response = answer::error(StatusCode::UNAUTHORIZED, message);
    let challenge = HeaderValue::from_static("Bearer realm=\"cog\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn stranger() -> Response<Body> {
    let message = "A page of another site may not do this. Where it should, something in front of this server has to \
                   allow it (CORS), and the page has to send `Content-Type: application/json`";
    answer::error(StatusCode::FORBIDDEN, message)
}

/// A request and its answer. Counted once, even if the client leaves in between.
struct Exchange<'a> {
    app: &'a App,
    method: Method,
    route: Route,
    entry: Option<Entry>,
    counted: bool,
}

impl<'a> Exchange<'a> {
    fn begin(app: &'a App, request: &mut Request<Incoming>) -> Self {
        let method = request.method().clone();
        let route = Route::of(request.uri().path());
        let entry = app.settings.access_log.then(|| {
            let note = IdNote::of(route, request.uri().path());
            request.extensions_mut().insert(note.clone());
            Entry::new(method.clone(), route, note)
        });
        Self {
            app,
            method,
            route,
            entry,
            counted: false,
        }
    }

    fn answer(&mut self, response: Response<Body>) -> Response<Body> {
        self.count(response.status().as_u16());
        match self.entry.take() {
            Some(entry) => entry.follow(response),
            None => response,
        }
    }

    fn count(&mut self, status: u16) {
        let requests = &self.app.measures.requests;
        requests.count(&self.method, self.route, status);
        self.counted = true;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.counted {
            return;
        }
        self.count(CLIENT_LEFT);
        if let Some(entry) = self.entry.take() {
            entry.write(CLIENT_LEFT);
        }
    }
}
