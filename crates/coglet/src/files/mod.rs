//! Files in and out.
//!
//! Input files: what a prediction's `Path` and `File` parameters need is fetched before it runs.
//! Which strings are meant is decided by the handler's annotations, which the worker has told us,
//! never by how a string looks. Everything lives in one directory, under names that end in the
//! original ones, and goes when the prediction ends.
//!
//! Output files become data URLs, or are uploaded.

mod data_url;
mod decoder;
mod download;
mod name;
mod output;
mod turns;
mod upload;
mod violations;
mod wanted;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

pub(crate) use output::{Loaded, Names, OutputError, deliver, discard, load};
pub(crate) use upload::Uploads;
pub(crate) use wanted::{Wanted, wanted};

use crate::client::Clients;
use crate::destinations::{Destinations, Refused};
use crate::protocol::{LocalFile, Parameter};
use crate::temp::{TempFile, Workspace};
use crate::validate::Violation;
use wanted::Origin;

/// Downloads at the same time for one prediction.
const PARALLEL: usize = 8;

/// From where, how much and for how long may be downloaded for one input file.
#[derive(Debug, Clone, Default)]
pub(crate) struct DownloadRules {
    pub(crate) destinations: Destinations,
    /// In bytes, after decompression.
    pub(crate) max_size: Option<u64>,
    pub(crate) time_limit: Option<Duration>,
}

/// Fetches input files.
#[derive(Debug)]
pub(crate) struct Files {
    rules: DownloadRules,
    clients: Clients,
    workspace: Workspace,
}

/// The files of one prediction, ready for the worker.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// Keeps the files in place.
    pub(crate) files: Vec<TempFile>,
    pub(crate) by_input: BTreeMap<String, LocalFile>,
}

/// Where a file is.
enum Place {
    /// Nowhere: the value stays what it is.
    None,
    /// Where the client says.
    Local(PathBuf),
    Fetched(TempFile),
}

/// Why an input file could not be had. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{status} {kind}: {reason} for url: {url}")]
    Status {
        status: u16,
        kind: &'static str,
        reason: &'static str,
        url: String,
    },
    #[error("could not download `{url}`: {cause}")]
    Unreachable { url: String, cause: String },
    #[error("could not download `{url}`: {refused}")]
    Refused { url: String, refused: Refused },
    #[error("`{url}` is larger than the {limit} bytes that this server downloads")]
    TooLarge { url: String, limit: u64 },
    #[error("`{url}` could not be downloaded within {} seconds", limit.as_secs_f64())]
    TooSlow { url: String, limit: Duration },
    #[error("the download of `{url}` is damaged: {cause}")]
    Damaged { url: String, cause: io::Error },
    #[error("`{url}` is not a valid URL")]
    InvalidUrl { url: String },
    #[error("a data URL could not be decoded: {0}")]
    DataUrl(&'static str),
    #[error("could not store an input file: {0}")]
    Store(#[from] io::Error),
}

impl Files {
    pub(crate) fn new(user_agent: Option<String>, rules: DownloadRules) -> Self {
        Self {
            clients: Clients::for_downloads(user_agent, rules.destinations.clone()),
            rules,
            workspace: Workspace::default(),
        }
    }

    /// The parameters whose files are fetched here. URLs of `File` parameters are left to the worker,
    /// which opens them when they are read, unless destinations are restricted: the worker knows of no
    /// such rule.
    pub(crate) fn signature<'a>(
        &self,
        signature: &'a HashMap<String, Parameter>,
    ) -> Cow<'a, HashMap<String, Parameter>> {
        let is_lazy = |kind: &Parameter| matches!(kind, Parameter::File | Parameter::FileList);
        if !self.rules.destinations.are_restricted() || !signature.values().any(is_lazy) {
            return Cow::Borrowed(signature);
        }
        let eager = |kind: Parameter| match kind {
            Parameter::File => Parameter::Path,
            Parameter::FileList => Parameter::PathList,
            Parameter::Path | Parameter::PathList | Parameter::Secret => kind,
        };
        let all = signature.iter();
        Cow::Owned(
            all.map(|(name, kind)| (name.clone(), eager(*kind)))
                .collect(),
        )
    }

    /// What is wrong with the files that an input names.
    pub(crate) fn violations(
        &self,
        input: &Bytes,
        signature: &HashMap<String, Parameter>,
        max_files: usize,
    ) -> Vec<Violation> {
        let allows_local = !self.rules.destinations.are_restricted();
        violations::violations(input, signature, max_files, allows_local)
    }

    /// Fetches everything, several at a time. The first failure ends it; what was fetched by then is
    /// removed.
    pub(crate) async fn fetch(&self, wanted: Vec<Wanted>) -> Result<Fetched, FetchError> {
        let jobs: Vec<_> = wanted.into_iter().flat_map(Wanted::into_jobs).collect();
        let results = futures_util::stream::iter(jobs).map(async |job| {
            let file = match job.origin {
                None => Place::None,
                Some(Origin::Local(path)) => Place::Local(path),
                Some(Origin::Url(url)) => Place::Fetched(self.fetch_url(&url).await?),
                Some(Origin::Data(text)) => Place::Fetched(self.store_data(text).await?),
            };
            Ok::<_, FetchError>((job.input, job.shape, file))
        });
        let mut results: Vec<_> = results.buffered(PARALLEL).try_collect().await?;
        let mut fetched = Fetched::default();
        for (input, shape, file) in results.drain(..) {
            let path = match file {
                Place::None => None,
                Place::Local(path) => Some(path),
                Place::Fetched(file) => {
                    let path = file.path().to_owned();
                    fetched.files.push(file);
                    Some(path)
                }
            };
            match shape {
                wanted::Shape::One => {
                    fetched.by_input.insert(input, LocalFile::One(path));
                }
                wanted::Shape::Element => {
                    if let LocalFile::Many(paths) = fetched
                        .by_input
                        .entry(input)
                        .or_insert_with(|| LocalFile::Many(Vec::new()))
                    {
                        paths.push(path);
                    }
                }
            }
        }
        Ok(fetched)
    }

    /// Stores a large input as a file in `directory`, for the worker to pick up.
    pub(crate) async fn spill(
        &self,
        directory: &std::path::Path,
        input: Bytes,
    ) -> io::Result<TempFile> {
        let path = directory.join(self.workspace.next_name("input.json"));
        run_blocking(move || {
            let file = TempFile::at(path);
            crate::scratch::create_private(file.path())?.write_all(&input)?;
            Ok(file)
        })
        .await
    }

    async fn fetch_url(&self, url: &str) -> Result<TempFile, FetchError> {
        download::download(&self.clients, &self.rules, &self.workspace, url).await
    }

    async fn store_data(&self, json_string: Bytes) -> Result<TempFile, FetchError> {
        let directory = self.workspace.directory()?.to_owned();
        let number = self.workspace.next_number();
        run_blocking(move || data_url::store(&json_string, &directory, number)).await
    }
}

/// Runs work that would hold up every other request.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
