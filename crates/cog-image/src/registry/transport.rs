//! HTTP with a registry: where to send requests, with which proof of identity, when to try again.

mod connections;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

pub(super) use self::connections::http_client;
use self::connections::{Connections, Purpose};
use super::ClientOptions;
use super::answer::{
    invalid, is_transient, read_limited, refusal, retry_after, unreachable, words, worth_retrying,
};
use super::auth::{Authorization, Challenge, TokenAnswer, TokenRequest};
use super::endpoint::{Endpoint, Security};
use super::error::RegistryError;
use super::keychain::Credentials;

/// A registry may ask for longer pauses than anybody wants to wait.
pub(super) const MAX_PAUSE: Duration = Duration::from_mins(1);
const MAX_TOKEN: usize = 1024 * 1024;

/// Sends requests to registries. Clones share connections and tokens.
#[derive(Clone)]
pub(super) struct Transport {
    shared: Arc<Shared>,
    /// Pause before the second try.
    back_off: Duration,
    /// How often a request is tried.
    attempts: u32,
    /// Learns of pauses, unless whoever sends a request wants to tell of them.
    observer: Option<WaitObserver>,
}

struct Shared {
    options: ClientOptions,
    connections: Connections,
    /// By registry and scopes.
    tokens: Mutex<HashMap<(String, Vec<String>), Authorization>>,
    /// Held by whoever asks for a token: many requests at once need it once.
    authenticating: tokio::sync::Mutex<()>,
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

/// Something went wrong, and is tried again after a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited with: a blob or a name.
    pub what: String,
    /// How long the pause is.
    pub pause: Duration,
    /// What went wrong, in words that are the same for all blobs that it goes wrong with.
    pub reason: String,
}

/// Receives [`Wait`]s, possibly from several threads.
pub type WaitObserver = Arc<dyn Fn(Wait) + Send + Sync>;

/// How long a body can be that its caller sends.
#[derive(Clone, Copy)]
pub(super) enum Length {
    /// It takes no time to speak of, and its answer none either.
    Small,
    Any,
}

/// Learns of a pause.
pub(super) type WaitFn<'a> = &'a (dyn Fn(Wait) + Send + Sync);

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
        let connections = Connections::new(pem)?;
        let (back_off, attempts) = (options.back_off, options.attempts);
        let shared = Shared {
            options,
            connections,
            tokens: Mutex::default(),
            authenticating: tokio::sync::Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            back_off,
            attempts,
            observer: None,
        })
    }

    /// The same, and `observer` learns of pauses.
    pub(super) fn telling(self, observer: WaitObserver) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// The same, with another pause before the second try.
    pub(super) fn with_back_off(&self, back_off: Duration) -> Self {
        Self {
            back_off,
            ..self.clone()
        }
    }

    /// The same for requests that are of use only if they are answered soon: each is tried once.
    pub(super) fn trying_once(&self) -> Self {
        Self {
            attempts: 1,
            ..self.clone()
        }
    }

    pub(super) fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Pause before try number `attempt`, counted from one.
    pub(super) fn back_off(&self, attempt: u32) -> Duration {
        let doubled = self
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
        self.send_telling(request, &|wait| self.tell(wait)).await
    }

    /// What is at `request`, with the headers that it came with; no content if it is longer than `limit` bytes. An
    /// answer that breaks off is asked for again.
    pub(super) async fn read(
        &self,
        request: &Request<'_>,
        limit: usize,
    ) -> Result<(HeaderMap, Option<Vec<u8>>), RegistryError> {
        let mut attempt = 1;
        loop {
            let response = self.send(request).await?;
            let headers = response.headers().clone();
            let limit_of_time = self.options().document_limit;
            let reading = read_limited(response, limit);
            let Ok(read) = tokio::time::timeout(limit_of_time, reading).await else {
                let seconds = limit_of_time.as_secs();
                let reason = format!("it has not come to its end in {seconds} seconds");
                return Err(invalid(request, reason));
            };
            match read {
                Ok(content) => return Ok((headers, content)),
                Err(error) if self.may_retry(attempt) => {
                    let why = in_words(&error.without_url());
                    self.pause(attempt, &request.what, why).await;
                }
                Err(error) => return Err(unreachable(request.registry, error)),
            }
            attempt += 1;
        }
    }

    /// The same as [`Self::send`], but `tell` learns of the pauses.
    pub(super) async fn send_telling(
        &self,
        request: &Request<'_>,
        tell: WaitFn<'_>,
    ) -> Result<Response, RegistryError> {
        let http = self.http(request.registry, Purpose::Asking)?;
        let url = self.url(request)?;
        let mut authenticated = false;
        loop {
            let token = self.token(request);
            let response = self
                .settled(
                    || self.builder(http, request, &url, token.as_ref()),
                    &request.what,
                    tell,
                )
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
            self.renew(request, response, token.as_ref(), tell).await?;
        }
    }

    /// A request that its caller sends, once, with a body that can be sent only once; and the token in it,
    /// which [`Self::renew`] wants to know if it is refused. No answer is waited for too long here.
    pub(super) fn prepare(
        &self,
        request: &Request<'_>,
        length: Length,
    ) -> Result<(RequestBuilder, Option<Authorization>), RegistryError> {
        let purpose = match length {
            // Over a connection that has been asked by: to make another one takes longer than to send it.
            Length::Small => Purpose::Asking,
            Length::Any => Purpose::Sending,
        };
        let http = self.http(request.registry, purpose)?;
        let (url, token) = (self.url(request)?, self.token(request));
        Ok((self.builder(http, request, &url, token.as_ref()), token))
    }

    /// After `response`, which refused `used`: gets another token for `request`; `tell` learns of pauses.
    pub(super) async fn renew(
        &self,
        request: &Request<'_>,
        response: Response,
        used: Option<&Authorization>,
        tell: WaitFn<'_>,
    ) -> Result<(), RegistryError> {
        // Where the registry sends us has no business with our credentials.
        if !self.is_own(request.registry, response.url()) {
            return Err(refusal(request, response).await);
        }
        let _alone = self.shared.authenticating.lock().await;
        if self.token(request).as_ref() != used {
            return Ok(());
        }
        let http = self.http(request.registry, Purpose::Asking)?;
        self.authenticate(http, request, &response, tell).await
    }

    /// For bodies that are secrets: no redirect is followed.
    pub(super) fn secretive(&self, registry: &str) -> Result<&reqwest::Client, RegistryError> {
        self.http(registry, Purpose::Telling)
    }

    /// Sends what `make` makes, again while the trouble is one that may pass.
    async fn settled(
        &self,
        make: impl Fn() -> RequestBuilder,
        what: &str,
        tell: WaitFn<'_>,
    ) -> reqwest::Result<Response> {
        let mut attempt = 1;
        loop {
            let (pause, reason) = match make().send().await {
                Ok(response) if self.may_retry(attempt) && is_transient(response.status()) => {
                    let pause = retry_after(&response).unwrap_or_else(|| self.back_off(attempt));
                    let status = response.status();
                    let answer = format!("the answer was {status}");
                    let why = match words(response).await.text() {
                        "" => answer,
                        words => format!("{answer}: {words}"),
                    };
                    (pause.min(MAX_PAUSE), why)
                }
                Err(error) if self.may_retry(attempt) && worth_retrying(&error, attempt) => {
                    (self.back_off(attempt), in_words(&error.without_url()))
                }
                result => return result,
            };
            let what = what.to_owned();
            tell(Wait {
                what,
                pause,
                reason,
            });
            wait(pause).await;
            attempt += 1;
        }
    }

    /// Waits after try number `attempt`, and tells why.
    pub(super) async fn pause(&self, attempt: u32, what: &str, reason: String) {
        let pause = self.back_off(attempt);
        let what = what.to_owned();
        self.tell(Wait {
            what,
            pause,
            reason,
        });
        wait(pause).await;
    }

    fn tell(&self, wait: Wait) {
        if let Some(observer) = &self.observer {
            observer(wait);
        }
    }

    pub(super) fn may_retry(&self, attempt: u32) -> bool {
        attempt < self.attempts
    }

    fn builder(
        &self,
        http: &reqwest::Client,
        request: &Request<'_>,
        url: &Url,
        token: Option<&Authorization>,
    ) -> RequestBuilder {
        let mut builder = http.request(request.method.clone(), url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body());
        }
        match token {
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

    fn http(&self, registry: &str, purpose: Purpose) -> Result<&reqwest::Client, RegistryError> {
        let connections = &self.shared.connections;
        if self.endpoint(registry).is_local {
            connections.local(purpose)
        } else {
            connections.remote(purpose)
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
        tell: WaitFn<'_>,
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
                self.fetch_token(http, request, token, unreadable, tell)
                    .await?
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
        tell: WaitFn<'_>,
    ) -> Result<Authorization, RegistryError> {
        // Credentials go to whoever the registry names, but not in the open.
        let protected = self.endpoint(request.registry).security == Security::Tls;
        if token.url().scheme() != "https" && protected {
            return Err(invalid(
                request,
                "its token service is not protected by TLS",
            ));
        }
        let secretive = self.secretive(request.registry)?;
        let make = || match &token {
            TokenRequest::Get { url, basic: None } => http.get(url.clone()),
            TokenRequest::Get {
                url,
                basic: Some((username, password)),
            } => http.get(url.clone()).basic_auth(username, Some(password)),
            TokenRequest::Post { url, body } => secretive
                .post(url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(body.clone()),
        };
        let service = host(token.url());
        let what = format!("a token for {}", request.registry);
        let response = self
            .settled(make, &what, tell)
            .await
            .map_err(|error| unreachable(service, error))?;
        if is_transient(response.status()) {
            let asked = Request {
                registry: service,
                what,
                ..request.clone()
            };
            return Err(refusal(&asked, response).await);
        }
        if !response.status().is_success() {
            let answer = format!("its token service answered {}", response.status());
            let reason = match (unreadable, words(response).await.text()) {
                (Some(unreadable), _) => unreadable,
                (None, "") => answer,
                (None, words) => format!("{answer}: {words}"),
            };
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

/// Sleeps for `pause` and up to a tenth more, so that many who failed together do not come back together.
pub(super) async fn wait(pause: Duration) {
    // Random enough, and no source of randomness is needed for it.
    let random = RandomState::new().hash_one(pause);
    #[expect(clippy::cast_precision_loss, reason = "it is a random number")]
    let share = random as f64 / u64::MAX as f64;
    tokio::time::sleep(pause.mul_f64(1.0 + share / 10.0)).await;
}

/// An error and its causes, on one line.
pub(super) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    cog_errors::render(error, None, cog_errors::Colour::Off)
}

fn key(request: &Request<'_>) -> (String, Vec<String>) {
    (request.registry.to_owned(), request.scopes.clone())
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("the token service")
}

#[cfg(test)]
mod tests;
