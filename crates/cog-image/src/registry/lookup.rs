//! Asks a registry whether it has an image, and tells its answers apart.
//!
//! Where several images would do, the next one is tried after most answers, and a message names all of
//! them. A registry that is not there is found out within seconds, and not asked again for a while.

use std::fmt;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Client, Endpoint, RegistryError, RemoteImage};
use crate::error::{Error, Result};
use crate::manifest::Platform;
use crate::reference::ImageRef;
use crate::store::Store;

/// A registry that takes longer to accept a connection counts as not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a registry that was not there is not asked again, so that builds without a network do not
/// wait each time.
pub(crate) const MEMORY: Duration = Duration::from_mins(10);

/// What a registry says about an image.
#[derive(Debug)]
pub enum Lookup {
    /// It has it. Its layers' blobs stay there until something reads them.
    Found(Box<RemoteImage>),
    /// It does not have it, or not for the platform.
    NotFound(RegistryError),
    /// It wants other credentials, or any. Some registries say so of what they do not have.
    Refused(RegistryError),
    /// There is no connection to it.
    Unreachable(RegistryError),
}

/// Whether a registry that was not there a moment ago is asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Not for some minutes.
    #[default]
    Use,
    /// It is.
    Ignore,
}

impl Lookup {
    /// What the registry answered, if that was no image.
    pub fn problem(&self) -> Option<&RegistryError> {
        match self {
            Self::Found(_) => None,
            Self::NotFound(error) | Self::Refused(error) | Self::Unreachable(error) => Some(error),
        }
    }
}

/// One line for a list of what each of several registries answered.
impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(image) => write!(f, "`{}` is there", image.reference.familiar()),
            Self::NotFound(error) | Self::Refused(error) | Self::Unreachable(error) => error.fmt(f),
        }
    }
}

impl Client {
    /// Looks for `reference`, as [`Client::resolve`] does. Answers that say nothing about the image, such
    /// as a registry's own faults, are errors.
    pub async fn lookup(
        &self,
        store: &Store,
        reference: &ImageRef,
        platform: &Platform,
        memory: Memory,
    ) -> Result<Lookup> {
        let endpoint = self.transport.endpoint(reference.registry());
        if let Some(error) = absence(store, reference.registry(), &endpoint, memory).await? {
            return Ok(Lookup::Unreachable(error));
        }
        match self.resolve(store, reference, platform).await {
            Ok(image) => Ok(Lookup::Found(Box::new(image))),
            Err(Error::Registry(error)) => classify(error),
            Err(error) => Err(error),
        }
    }
}

fn classify(error: RegistryError) -> Result<Lookup> {
    match error {
        RegistryError::NotFound { .. } | RegistryError::NoFittingPlatform { .. } => {
            Ok(Lookup::NotFound(error))
        }
        RegistryError::Unauthorized { .. } => Ok(Lookup::Refused(error)),
        error if error.is_unreachable() => Ok(Lookup::Unreachable(error)),
        error => Err(error.into()),
    }
}

/// Why the registry counts as not there, if it does.
async fn absence(
    store: &Store,
    registry: &str,
    endpoint: &Endpoint,
    memory: Memory,
) -> Result<Option<RegistryError>> {
    if uses_proxy() && !endpoint.is_local {
        // The proxy resolves names and connects; only a real request can tell.
        return Ok(None);
    }
    let absent = |reason: &str| {
        Some(RegistryError::NoConnection {
            registry: registry.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let address = format!("{}:{}", endpoint.host, endpoint.port);
    if memory == Memory::Use && store.was_unreachable(&address, MEMORY) {
        return Ok(absent(
            "there was no connection when it was last asked, less than 10 minutes ago, and it is not asked \
             again before then",
        ));
    }
    let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let reason = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(_)) => return Ok(None),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs()),
    };
    store.record_unreachable(&address)?;
    Ok(absent(&reason))
}

fn uses_proxy() -> bool {
    [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ]
    .iter()
    .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}
