//! Logging in with a token that a registry shows on a page of its own: Replicate's way.

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};

use super::answer::{read_limited, unreachable};
use super::{Client, RegistryError};

/// Of an answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The registry has no such page.
    #[error("{host} is not the Replicate registry")]
    NotReplicate {
        /// The registry.
        host: String,
    },

    /// The token belongs to nobody.
    #[error("user does not exist")]
    NoUser,

    /// The registry did not say whose the token is.
    #[error("failed to verify token, got status {status}")]
    Unverified {
        /// HTTP status.
        status: u16,
    },

    /// The registry did not say where tokens are shown.
    #[error("failed to find out where {host} shows tokens, got status {status}")]
    NoPage {
        /// The registry.
        host: String,
        /// HTTP status.
        status: u16,
    },

    /// The registry's answer makes no sense.
    #[error("{host} gave an invalid answer")]
    Invalid {
        /// The registry.
        host: String,
    },

    /// There was no answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl LoginError {
    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotReplicate { host } => Some(format!(
                "log in with `docker login {host}`, or with `cog login --registry {host}`"
            )),
            Self::Registry(error) => error.hint(),
            _ => None,
        }
    }
}

impl Client {
    /// Where `registry` shows people a token.
    pub async fn display_token_url(&self, registry: &str) -> Result<String, LoginError> {
        let url = self.login_url(registry, "display-token-url");
        let answer = self.transport.secretive(registry)?.get(url).send().await;
        let response = answer.map_err(|error| unreachable(registry, error))?;
        let host = registry.to_owned();
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(LoginError::NotReplicate { host }),
            status => {
                let status = status.as_u16();
                return Err(LoginError::NoPage { host, status });
            }
        }
        let url = field(registry, response, "url").await?;
        // It is given to a browser.
        if url.starts_with("https://") || url.starts_with("http://") {
            Ok(url)
        } else {
            Err(LoginError::Invalid { host })
        }
    }

    /// Whose `token` it is.
    pub async fn verify_token(&self, registry: &str, token: &str) -> Result<String, LoginError> {
        let mut form = reqwest::Url::parse("http://form.invalid").expect("a valid URL");
        form.query_pairs_mut().append_pair("token", token);
        let request = self
            .transport
            .secretive(registry)?
            .post(self.login_url(registry, "verify-token"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        let answer = request.send().await;
        let response = answer.map_err(|error| unreachable(registry, error))?;
        match response.status() {
            StatusCode::OK => field(registry, response, "username").await,
            StatusCode::NOT_FOUND => Err(LoginError::NoUser),
            status => {
                let status = status.as_u16();
                Err(LoginError::Unverified { status })
            }
        }
    }

    fn login_url(&self, registry: &str, page: &str) -> String {
        let base = self.transport.endpoint(registry).base_url();
        format!("{base}/cog/v1/{page}")
    }
}

/// A text in the answer's document.
async fn field(registry: &str, response: Response, name: &str) -> Result<String, LoginError> {
    let invalid = || LoginError::Invalid {
        host: registry.to_owned(),
    };
    let body = read_limited(response, MAX_ANSWER)
        .await
        .map_err(|error| unreachable(registry, error))?
        .ok_or_else(invalid)?;
    let document: serde_json::Value = serde_json::from_slice(&body).map_err(|_| invalid())?;
    let text = document.get(name).and_then(serde_json::Value::as_str);
    let is_plain = |text: &&str| !text.is_empty() && !text.contains(char::is_control);
    text.filter(is_plain).map(str::to_owned).ok_or_else(invalid)
}
