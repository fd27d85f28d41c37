//! A page that is part of no registry: asked for with the same certificates and proxies.

use reqwest::header::ACCEPT;
use reqwest::{StatusCode, Url};

use super::answer::{read_limited, unreachable};
use super::{Client, RegistryError};

impl Client {
    /// The JSON at `url`, which may have `most` bytes; nothing if there is none. No redirect is followed.
    pub async fn page(&self, url: &str, most: usize) -> Result<Option<Vec<u8>>, RegistryError> {
        let parsed = Url::parse(url).ok();
        let Some((url, place)) = parsed.and_then(|url| {
            let host = url.host_str()?.to_owned();
            let place = match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host,
            };
            Some((url, place))
        }) else {
            return Ok(None);
        };
        let request = self.transport.secretive(&place)?.get(url);
        let answer = request.header(ACCEPT, "application/json").send().await;
        let response = answer.map_err(|error| unreachable(&place, error))?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let read = read_limited(response, most).await;
        read.map_err(|error| unreachable(&place, error))
    }
}
