//! HTTP with a registry: where to send requests, whom to trust, when to try again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::ClientOptions;
use super::answer::{
    invalid, is_transient, read_limited, refusal, retry_after, unreachable, worth_retrying,
};
use super::auth::{Authorization, Challenge, TokenAnswer, TokenRequest};
use super::endpoint::{Endpoint, Security};
use super::error::RegistryError;
use super::keychain::Credentials;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// A registry may ask for longer pauses than anybody wants to wait.
const MAX_PAUSE: Duration = Duration::from_mins(1);
const MAX_REDIRECTS: usize = 10;
const MAX_TOKEN: usize = 1024 * 1024;

/// Sends requests to registries. Clones share connections and tokens.
#[derive(Clone)]
pub(super) struct Transport {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    certificates: Vec<reqwest::Certificate>,
    /// Made when first needed: loading the system's certificates takes longer than a warm build.
    http: OnceLock<reqwest::Client>,
    /// For registries of this machine, to which no proxy leads.
    direct: OnceLock<reqwest::Client>,
    /// By registry and scopes.
    tokens: Mutex<HashMap<(String, Vec<String>), Authorization>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// A request to a registry. It may have to be sent several times: after a challenge, and after trouble that passes.
#[derive(Clone)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    /// Below the repository, such as `manifests/latest`; or a URL that the registry gave.
    pub(super) path: String,
    /// For messages.
    pub(super) what: String,
    /// What a token has to allow, such as `repository:a/b:pull`.
    pub(super) scopes: Vec<String>,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Option<Body>,
}

/// Makes a request's body, each time that it is sent.
pub(super) type Body = Arc<dyn Fn() -> reqwest::Body + Send + Sync>;

impl<'a> Request<'a> {
    /// Reads what is at `path` in `repository`.
    pub(super) fn get(registry: &'a str, repository: &'a str, path: String, what: String) -> Self {
        Self {
            method: Method::GET,
            registry,
            repository,
            path,
            what,
            scopes: vec![format!("repository:{repository}:pull")],
            headers: Vec::new(),
            body: None,
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Transport {
    pub(super) fn new(options: ClientOptions) -> Result<Self, RegistryError> {
        let pem = options.extra_certificates.as_deref().unwrap_or_default();
        let certificates = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|source| RegistryError::Tls { source })?;
        let shared = Shared {
            options,
            certificates,
            http: OnceLock::new(),
            direct: OnceLock::new(),
            tokens: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Pause before try number `attempt`, counted from one.
    pub(super) fn back_off(&self, attempt: u32) -> Duration {
        let doubled = self
            .options()
            .back_off
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        doubled.min(MAX_PAUSE)
    }

    /// Where `registry` answers.
    pub(super) fn endpoint(&self, registry: &str) -> Endpoint {
        Endpoint::of(registry, &self.options().insecure)
    }

    /// Sends `request` until there is an answer that trying again would not change. Only success is `Ok`.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let http = self.http(request.registry)?;
        let url = self.url(request)?;
        let mut authenticated = false;
        loop {
            let response = self
                .settled(|| self.builder(http, request, &url))
                .await
                .map_err(|error| unreachable(request.registry, error))?;
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status() != StatusCode::UNAUTHORIZED || authenticated {
                return Err(refusal(request, response).await);
            }
            // Once per request: a fresh token that is refused will be refused again.
            authenticated = true;
            self.authenticate(http, request, &response).await?;
        }
    }

    /// Sends what `make` makes, again while the trouble is one that may pass.
    async fn settled(&self, make: impl Fn() -> RequestBuilder) -> reqwest::Result<Response> {
        let mut attempt = 1;
        loop {
            let pause = match make().send().await {
                Ok(response) if self.may_retry(attempt) && is_transient(response.status()) => {
                    retry_after(&response)
                        .unwrap_or_else(|| self.back_off(attempt))
                        .min(MAX_PAUSE)
                }
                Err(error) if self.may_retry(attempt) && worth_retrying(&error, attempt) => {
                    self.back_off(attempt)
                }
                result => return result,
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    pub(super) fn may_retry(&self, attempt: u32) -> bool {
        attempt < self.options().attempts
    }

    fn builder(&self, http: &reqwest::Client, request: &Request<'_>, url: &Url) -> RequestBuilder {
        let mut builder = http.request(request.method.clone(), url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body());
        }
        match self.token(request) {
            // A URL that the registry gave may lead elsewhere; the token is for the registry.
            Some(Authorization(value)) if self.is_own(request.registry, url) => {
                builder.header(AUTHORIZATION, value)
            }
            _ => builder,
        }
    }

    fn url(&self, request: &Request<'_>) -> Result<Url, RegistryError> {
        let base = self.endpoint(request.registry).base_url();
        Url::parse(&format!("{base}/v2/{}/", request.repository))
            .and_then(|base| base.join(&request.path))
            .map_err(|error| invalid(request, format!("it has no valid address: {error}")))
    }

    fn is_own(&self, registry: &str, url: &Url) -> bool {
        Url::parse(&self.endpoint(registry).base_url())
            .is_ok_and(|base| base.origin() == url.origin())
    }

    fn http(&self, registry: &str) -> Result<&reqwest::Client, RegistryError> {
        let is_local = self.endpoint(registry).is_local;
        let (cell, builder) = if is_local {
            let builder = reqwest::Client::builder().no_proxy();
            (&self.shared.direct, builder)
        } else {
            (&self.shared.http, reqwest::Client::builder())
        };
        if let Some(http) = cell.get() {
            return Ok(http);
        }
        let http = self
            .build_http(builder)
            .map_err(|source| RegistryError::Tls { source })?;
        Ok(cell.get_or_init(|| http))
    }

    /// The system's certificates, or those of `SSL_CERT_FILE` in their place, and the given ones.
    fn build_http(&self, builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::Client> {
        // An error means that the program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = builder
            .user_agent(concat!("cog/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirects());
        match self.shared.certificates.as_slice() {
            [] => builder.build(),
            more => builder.tls_certs_merge(more.iter().cloned()).build(),
        }
    }

    fn token(&self, request: &Request<'_>) -> Option<Authorization> {
        self.tokens().get(&key(request)).cloned()
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Vec<String>), Authorization>> {
        self.shared
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the challenge in `response` and remembers the result.
    async fn authenticate(
        &self,
        http: &reqwest::Client,
        request: &Request<'_>,
        response: &Response,
    ) -> Result<(), RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()))
            .ok_or_else(|| invalid(request, "it asks for credentials, but not how"))?;
        let (credentials, unreadable) = self.credentials(request.registry).await;
        let authorization = match challenge {
            Challenge::Basic => match credentials {
                Some(Credentials::Basic { username, password }) => {
                    Authorization::basic(&username, &password)
                }
                _ => {
                    return Err(RegistryError::Unauthorized {
                        what: request.what.clone(),
                        registry: request.registry.to_owned(),
                        reason: unreadable
                            .unwrap_or_else(|| "it wants a user and a password".into()),
                    });
                }
            },
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let mut scopes = request.scopes.clone();
                let asked = scope.iter().flat_map(|text| text.split(' '));
                for scope in asked.filter(|scope| !scope.is_empty()) {
                    if !scopes.iter().any(|known| known == scope) {
                        scopes.push(scope.to_owned());
                    }
                }
                let token =
                    TokenRequest::new(&realm, service.as_deref(), &scopes, credentials.as_ref())
                        .ok_or_else(|| {
                            invalid(request, "its token service has no valid address")
                        })?;
                self.fetch_token(http, request, token, unreadable).await?
            }
        };
        self.tokens().insert(key(request), authorization);
        Ok(())
    }

    /// Credentials, and why there are none that should be there. Helpers are programs, and may take time.
    async fn credentials(&self, registry: &str) -> (Option<Credentials>, Option<String>) {
        let (keychain, registry) = (self.options().keychain.clone(), registry.to_owned());
        let found = tokio::task::spawn_blocking(move || keychain.credentials(&registry)).await;
        match found {
            Ok(Ok(credentials)) => (credentials, None),
            Ok(Err(reason)) => (None, Some(reason)),
            Err(_) => (
                None,
                Some("the stored credentials could not be read".into()),
            ),
        }
    }

    async fn fetch_token(
        &self,
        http: &reqwest::Client,
        request: &Request<'_>,
        token: TokenRequest,
        unreadable: Option<String>,
    ) -> Result<Authorization, RegistryError> {
        // Credentials go to whoever the registry names, but not in the open.
        let protected = self.endpoint(request.registry).security == Security::Tls;
        if token.url().scheme() != "https" && protected {
            return Err(invalid(
                request,
                "its token service is not protected by TLS",
            ));
        }
        let make = || match &token {
            TokenRequest::Get { url, basic: None } => http.get(url.clone()),
            TokenRequest::Get {
                url,
                basic: Some((username, password)),
            } => http.get(url.clone()).basic_auth(username, Some(password)),
            TokenRequest::Post { url, body } => http
                .post(url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(body.clone()),
        };
        let response = self
            .settled(make)
            .await
            .map_err(|error| unreachable(host(token.url()), error))?;
        if !response.status().is_success() {
            let status = response.status();
            let reason =
                unreadable.unwrap_or_else(|| format!("its token service answered {status}"));
            return Err(RegistryError::Unauthorized {
                what: request.what.clone(),
                registry: request.registry.to_owned(),
                reason,
            });
        }
        let body = read_limited(response, MAX_TOKEN)
            .await
            .map_err(|error| unreachable(request.registry, error))?
            .ok_or_else(|| invalid(request, "its token service's answer is too long"))?;
        serde_json::from_slice::<TokenAnswer>(&body)
            .ok()
            .and_then(TokenAnswer::authorization)
            .ok_or_else(|| invalid(request, "its token service sent no token"))
    }
}

/// Follows redirects, but not out of TLS.
fn redirects() -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(|attempt| {
        let was_protected = attempt
            .previous()
            .last()
            .is_some_and(|url| url.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if was_protected && attempt.url().scheme() != "https" {
            attempt.error("a redirect leads out of TLS")
        } else {
            attempt.follow()
        }
    })
}

fn key(request: &Request<'_>) -> (String, Vec<String>) {
    (request.registry.to_owned(), request.scopes.clone())
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("the token service")
}

#[cfg(test)]
mod tests;
