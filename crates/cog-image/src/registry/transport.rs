//! HTTP with a registry: where to send requests, whom to trust, when to try again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::ClientOptions;
use super::answer::{
    invalid, is_transient, read_limited, refusal, retry_after, unreachable, worth_retrying,
};
use super::auth::{Authorization, Challenge, TokenAnswer, TokenRequest};
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
    /// By registry and repository.
    tokens: Mutex<HashMap<(String, String), Authorization>>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
    /// Below the repository, such as `manifests/latest`.
    pub(super) path: String,
    /// For messages.
    pub(super) what: String,
    pub(super) accept: &'static str,
    /// Bytes to skip.
    pub(super) offset: u64,
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

    /// Sends `ask` until there is an answer that trying again would not change. Only success is `Ok`.
    pub(super) async fn get(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let http = self.http()?;
        let mut attempt = 1;
        let mut authenticated = false;
        loop {
            let pause = match self.request(http, ask).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !authenticated => {
                    // Once per request: a fresh token that is refused will be refused again.
                    authenticated = true;
                    self.authenticate(http, ask, &response).await?;
                    continue;
                }
                Ok(response) if self.may_retry(attempt) && is_transient(response.status()) => {
                    retry_after(&response)
                        .unwrap_or_else(|| self.back_off(attempt))
                        .min(MAX_PAUSE)
                }
                Ok(response) => return Err(refusal(ask, response).await),
                Err(error) if self.may_retry(attempt) && worth_retrying(&error, attempt) => {
                    self.back_off(attempt)
                }
                Err(error) => return Err(unreachable(ask.registry, error)),
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    pub(super) fn may_retry(&self, attempt: u32) -> bool {
        attempt < self.options().attempts
    }

    fn request(&self, http: &reqwest::Client, ask: &Ask<'_>) -> RequestBuilder {
        let mut request = http
            .request(Method::GET, self.url(ask))
            .header("Accept", ask.accept);
        if ask.offset > 0 {
            request = request.header("Range", format!("bytes={}-", ask.offset));
        }
        match self.token(ask) {
            Some(Authorization(value)) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    fn url(&self, ask: &Ask<'_>) -> String {
        let scheme = if self.is_plain(ask.registry) {
            "http"
        } else {
            "https"
        };
        // Docker's registry has another name than its images.
        let host = if ask.registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            ask.registry
        };
        format!("{scheme}://{host}/v2/{}/{}", ask.repository, ask.path)
    }

    /// Whether to do without TLS: on the loopback interface, or where the user said so.
    fn is_plain(&self, registry: &str) -> bool {
        is_loopback(registry)
            || self
                .options()
                .insecure
                .iter()
                .any(|known| known == registry)
    }

    fn http(&self) -> Result<&reqwest::Client, RegistryError> {
        if let Some(http) = self.shared.http.get() {
            return Ok(http);
        }
        let http = self
            .build_http()
            .map_err(|source| RegistryError::Tls { source })?;
        Ok(self.shared.http.get_or_init(|| http))
    }

    /// The system's certificates, or those of `SSL_CERT_FILE` in their place, and the given ones.
    fn build_http(&self) -> reqwest::Result<reqwest::Client> {
        // An error means that the program has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("cog/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirects());
        match self.shared.certificates.as_slice() {
            [] => builder.build(),
            more => builder.tls_certs_merge(more.iter().cloned()).build(),
        }
    }

    fn token(&self, ask: &Ask<'_>) -> Option<Authorization> {
        self.tokens().get(&key(ask)).cloned()
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Authorization>> {
        self.shared
            .tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the challenge in `response` and remembers the result.
    async fn authenticate(
        &self,
        http: &reqwest::Client,
        ask: &Ask<'_>,
        response: &Response,
    ) -> Result<(), RegistryError> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let challenge = Challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()))
            .ok_or_else(|| invalid(ask, "it asks for credentials, but not how"))?;
        let (credentials, unreadable) = self.credentials(ask.registry).await;
        let authorization = match challenge {
            Challenge::Basic => match credentials {
                Some(Credentials::Basic { username, password }) => {
                    Authorization::basic(&username, &password)
                }
                _ => {
                    return Err(RegistryError::Unauthorized {
                        what: ask.what.clone(),
                        registry: ask.registry.to_owned(),
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
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", ask.repository));
                let request =
                    TokenRequest::new(&realm, service.as_deref(), &scope, credentials.as_ref())
                        .ok_or_else(|| invalid(ask, "its token service has no valid address"))?;
                self.fetch_token(http, ask, request, unreadable).await?
            }
        };
        self.tokens().insert(key(ask), authorization);
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
        ask: &Ask<'_>,
        request: TokenRequest,
        unreadable: Option<String>,
    ) -> Result<Authorization, RegistryError> {
        // Credentials go to whoever the registry names, but not in the open.
        if request.url().scheme() != "https" && !self.is_plain(ask.registry) {
            return Err(invalid(ask, "its token service is not protected by TLS"));
        }
        let mut attempt = 1;
        let response = loop {
            let builder = match &request {
                TokenRequest::Get { url, basic: None } => http.get(url.clone()),
                TokenRequest::Get {
                    url,
                    basic: Some((username, password)),
                } => http.get(url.clone()).basic_auth(username, Some(password)),
                TokenRequest::Post { url, body } => http
                    .post(url.clone())
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .body(body.clone()),
            };
            match builder.send().await {
                Ok(response) if self.may_retry(attempt) && is_transient(response.status()) => {}
                Ok(response) => break response,
                Err(error) if self.may_retry(attempt) && worth_retrying(&error, attempt) => {}
                Err(error) => return Err(unreachable(host(request.url()), error)),
            }
            tokio::time::sleep(self.back_off(attempt)).await;
            attempt += 1;
        };
        if !response.status().is_success() {
            let status = response.status();
            let reason =
                unreadable.unwrap_or_else(|| format!("its token service answered {status}"));
            return Err(RegistryError::Unauthorized {
                what: ask.what.clone(),
                registry: ask.registry.to_owned(),
                reason,
            });
        }
        let body = read_limited(response, MAX_TOKEN)
            .await
            .map_err(|error| unreachable(ask.registry, error))?
            .ok_or_else(|| invalid(ask, "its token service's answer is too long"))?;
        serde_json::from_slice::<TokenAnswer>(&body)
            .ok()
            .and_then(TokenAnswer::authorization)
            .ok_or_else(|| invalid(ask, "its token service sent no token"))
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

fn key(ask: &Ask<'_>) -> (String, String) {
    (ask.registry.to_owned(), ask.repository.to_owned())
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("the token service")
}

pub(super) fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_registries_go_without_tls() {
        for registry in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.0.1",
            "[::1]:5000",
        ] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in [
            "localhost.example",
            "127.0.0.1.example:5000",
            "10.0.0.1:5000",
            "docker.io",
        ] {
            assert!(!is_loopback(registry), "{registry}");
        }
        let options = ClientOptions {
            insecure: vec!["10.0.0.1:5000".into()],
            ..ClientOptions::default()
        };
        let transport = Transport::new(options).unwrap();
        assert!(transport.is_plain("10.0.0.1:5000"));
        assert!(!transport.is_plain("10.0.0.1"));
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let transport = Transport::new(ClientOptions::default()).unwrap();
        let base = transport.options().back_off;
        assert_eq!(transport.back_off(1), base);
        assert_eq!(transport.back_off(3), base * 4);
        assert_eq!(transport.back_off(u32::MAX), MAX_PAUSE);
    }
}
