//! What can go wrong between here and a registry.

use cog_errors::line;

use super::answer::is_of_authority;
use super::endpoint::Endpoint;
use super::transport::in_words;
use super::{COG_INSECURE_REGISTRIES, COG_PUSH_DEFAULT_CHUNK_SIZE, COG_PUSH_MULTIPART_THRESHOLD};
use crate::digest::Digest;

/// A failed exchange with a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No connection or no answer at all. The only kind that justifies doing without the registry.
    #[error("could not reach {registry}")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// Why, without the URL, which may hold signatures.
        #[source]
        source: reqwest::Error,
    },

    /// No connection, found out before anything was asked.
    #[error("could not reach {registry}: {reason}")]
    NoConnection {
        /// Host and port.
        registry: String,
        /// Why.
        reason: String,
    },

    /// It speaks HTTP where HTTPS was expected.
    #[error("{registry} does not speak HTTPS")]
    NoTls {
        /// Host and port.
        registry: String,
        /// What came instead.
        #[source]
        source: reqwest::Error,
    },

    /// It has a certificate of an authority that nobody told us to trust, or somebody pretends to be it.
    #[error("the certificate of {registry} is not trusted")]
    Untrusted {
        /// Host and port.
        registry: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },

    /// A transfer broke off too often. What arrived is kept, and the next try continues from there.
    #[error("the transfer of {digest} from {registry} broke off after {done} of {size} bytes")]
    Interrupted {
        /// Host and port.
        registry: String,
        /// The blob.
        digest: Digest,
        /// Bytes that arrived.
        done: u64,
        /// Bytes of the blob.
        size: u64,
        /// Why; none if the registry ended the answer early.
        #[source]
        source: Option<reqwest::Error>,
    },

    /// An upload broke off too often. What is complete at the registry is not sent again the next time.
    #[error(
        "the upload of {digest} to {registry} broke off after {done} of {size} bytes{}",
        suffix(message)
    )]
    UploadInterrupted {
        /// Host and port.
        registry: String,
        /// The blob.
        digest: Digest,
        /// Bytes that the registry has confirmed.
        done: u64,
        /// Bytes of the blob.
        size: u64,
        /// The registry's own words, shortened; may be empty.
        message: String,
        /// Why; none if the registry took nothing more or lost what it had.
        #[source]
        source: Option<reqwest::Error>,
    },

    /// The registry has no such image or blob.
    #[error("no `{what}` in {registry}")]
    NotFound {
        /// Image reference or blob.
        what: String,
        /// Host and port.
        registry: String,
    },

    /// The image is there, and a blob that it consists of is not.
    #[error("`{repository}` in {registry} is not complete: it lacks `{what}`")]
    PartGone {
        /// Path within the registry.
        repository: String,
        /// Host and port.
        registry: String,
        /// The blob.
        what: String,
    },

    /// A manifest was refused because a blob that it lists is not there, or not any more.
    #[error(
        "{registry} does not take `{what}`, because it lacks something that belongs to it{}",
        suffix(message)
    )]
    PartsMissing {
        /// Image reference.
        what: String,
        /// Host and port.
        registry: String,
        /// The registry's own words, shortened; may be empty.
        message: String,
    },

    /// Nothing can be stored there.
    #[error("{registry} has no repository `{repository}`{}", suffix(message))]
    NoRepository {
        /// Path within the registry.
        repository: String,
        /// Host and port.
        registry: String,
        /// The registry's own words, shortened; may be empty.
        message: String,
    },

    /// The registry wants other credentials, or any.
    #[error("{registry} refuses access to `{what}`: {}", line(reason))]
    Unauthorized {
        /// Image reference or blob.
        what: String,
        /// Host and port.
        registry: String,
        /// What is known about the credentials.
        reason: String,
    },

    /// Any other status than success.
    #[error("{registry} answered {status} for `{what}`{}", suffix(message))]
    Status {
        /// Image reference or blob.
        what: String,
        /// Host and port.
        registry: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, shortened; may be empty.
        message: String,
    },

    /// The image exists, but not for the platform.
    #[error(
        "image `{reference}` is not available for {wanted}, only for {}",
        line(available)
    )]
    NoFittingPlatform {
        /// Image reference.
        reference: String,
        /// Platform that was asked for.
        wanted: String,
        /// Platforms that there are.
        available: String,
    },

    /// An index lists an image that is not there.
    #[error("`{reference}` lists an image for {platform}, which {registry} does not have")]
    ListedGone {
        /// Image reference.
        reference: String,
        /// What the image is for.
        platform: String,
        /// Host and port.
        registry: String,
    },

    /// Something else arrived than was asked for.
    #[error("{what} arrived from {registry} as {actual} instead of {expected}")]
    Corrupt {
        /// Manifest or blob.
        what: &'static str,
        /// Host and port.
        registry: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what arrived.
        actual: Digest,
    },

    /// Something else was stored than was sent.
    #[error("{registry} stored {what} as {actual} instead of {expected}")]
    StoredDifferently {
        /// Manifest or blob.
        what: &'static str,
        /// Host and port.
        registry: String,
        /// The digest of what was sent.
        expected: Digest,
        /// The digest that the registry names.
        actual: Digest,
    },

    /// A registry to speak with in plain HTTP is none.
    #[error("`{value}` in `{COG_INSECURE_REGISTRIES}` is not `HOST` or `HOST:PORT`")]
    InvalidInsecure {
        /// What was given.
        value: String,
    },

    /// A variable that says how to send has no usable value.
    #[error("`{name}` is `{value}`, not a whole number above 0")]
    InvalidVariable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
    },

    /// An answer that makes no sense.
    #[error("{registry} gave an invalid answer for `{what}`: {}", line(reason))]
    InvalidAnswer {
        /// Image reference or blob.
        what: String,
        /// Host and port.
        registry: String,
        /// What is wrong with it.
        reason: String,
    },

    /// No client could be set up, for want of usable certificates.
    #[error("cannot set up TLS")]
    Tls {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RegistryError {
    /// What the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some("check the spelling, or log in first".into()),
            Self::PartGone { .. } => Some(
                "whoever made the image can push it again; a registry that clears up may have taken it".into(),
            ),
            Self::NoFittingPlatform { .. } => {
                Some("`cog pull --platform`, or `cog inspect --platform`, takes what there is for another one".into())
            }
            Self::ListedGone { .. } => Some(
                "whoever made the images can push them again, all of them; `cog pull --platform` takes one that is there"
                    .into(),
            ),
            Self::PartsMissing { .. } => Some(
                "push again: what is not there is sent; a registry that clears up may have taken it".into(),
            ),
            Self::NoRepository { .. } => Some(
                "check the name, or make the repository: some registries want that before anything is pushed".into(),
            ),
            Self::Status { status: 413, .. } => Some(format!(
                "the registry, or a proxy before it, takes no bodies as large: raise its limit, or set \
                 `{COG_PUSH_MULTIPART_THRESHOLD}` and `{COG_PUSH_DEFAULT_CHUNK_SIZE}` to fewer bytes than it takes"
            )),
            Self::Status {
                status: 400,
                registry,
                message,
                ..
            } if message.is_empty() && Endpoint::of(registry, &[]).is_local => Some(
                "on addresses of this machine registries are spoken to without TLS: one that wants TLS is reached by the \
                 machine's name"
                    .into(),
            ),
            Self::Status { status: 429, .. } => {
                Some("wait a while, or log in: many registries answer more to whom they know".into())
            }
            Self::Unauthorized { registry, .. } => Some(format!(
                "log in with `cog login --registry {registry}` or `docker login {registry}`, or check the name"
            )),
            Self::UploadInterrupted { .. } => {
                Some("try again: layers that have arrived are not sent again".into())
            }
            Self::StoredDifferently { .. } => {
                Some("something between here and the registry changes what is sent".into())
            }
            Self::Corrupt { .. } => Some(
                "try again; if it stays so, the registry's content is damaged, or something between here and it changes \
                 what is sent"
                    .into(),
            ),
            Self::Interrupted { .. } => Some("try again: what arrived is kept".into()),
            Self::Unreachable { .. } | Self::NoConnection { .. } => {
                Some("check the network and the proxy variables".into())
            }
            Self::NoTls { registry, .. } => Some(format!(
                "if it is meant to be spoken to without encryption, set `{COG_INSECURE_REGISTRIES}={registry}`"
            )),
            Self::Untrusted { registry, source } if is_of_authority(source) => {
                let host = registry.rsplit_once(':').map_or(registry.as_str(), |(host, _)| host);
                Some(format!(
                    "it is the certificate of an authority (`CA:TRUE`), which no server may have as its own: have one signed \
                     by it for the registry, or make another one with `openssl req -x509 -newkey rsa:4096 -nodes -subj \
                     /CN={host} -addext subjectAltName={}:{host} -addext basicConstraints=critical,CA:FALSE`, and name \
                     that one in `COG_CA_CERT`",
                    if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" }
                ))
            }
            Self::Untrusted { .. } => Some(
                "if its authority is one of your organisation, name a file with the authority's certificate in \
                 `COG_CA_CERT`, or add it to the system's"
                    .into(),
            ),
            Self::Tls { .. } => {
                Some("install CA certificates, or set `SSL_CERT_FILE` to a bundle".into())
            }
            _ => None,
        }
    }

    /// Why something is tried again, without naming what: the same for all blobs that it goes wrong with.
    pub(super) fn passing_reason(&self) -> String {
        match self {
            Self::Status {
                status, message, ..
            } => format!("the answer was {status}{}", suffix(message)),
            Self::UploadInterrupted {
                source: Some(source),
                ..
            } => in_words(source),
            Self::UploadInterrupted { message, .. } => {
                format!(
                    "the registry took nothing more, or lost what it had{}",
                    suffix(message)
                )
            }
            error => in_words(error),
        }
    }

    /// Whether the registry could not be reached at all, as opposed to having refused.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::NoConnection { .. } | Self::NoTls { .. }
        )
    }
}

fn suffix(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {}", line(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_this_machine_that_wants_tls_is_reached_otherwise() {
        for (registry, message, is_told) in [
            ("localhost:5000", "", true),
            ("127.0.0.1:5000", "", true),
            ("localhost:5000", "your manifest is odd", false),
            ("registry.example.com", "", false),
        ] {
            let error = RegistryError::Status {
                what: "a/b:1".into(),
                registry: registry.into(),
                status: 400,
                message: message.into(),
            };
            let hint = error.hint().unwrap_or_default();
            assert_eq!(hint.contains("without TLS"), is_told, "{registry}: {hint}");
        }
    }
}
