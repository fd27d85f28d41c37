//! From a request to a lock: which packages, in which versions.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use futures_util::future::try_join_all;
use sha2::{Digest as _, Sha256};

use super::deb::compression;
use super::error::{DebianError, Result};
use super::fetch::{Fetcher, Wanted};
use super::index::Index;
use super::keyring::Keyring;
use super::lock::Lock;
use super::release::IndexFile;
use super::releases::{Found, Origin, Releases};
use super::resolver;
use super::suite::Archive;
use super::{Progress, Request, block_on};
use hex::encode as hex;

/// Raised whenever other packages would be chosen from the same indices.
const RECIPE: u32 = 2;

/// The packages of the base that `request` describes.
///
/// Cheap while the archive's index is fresh; without a connection, what the cache has will do.
pub fn resolve(request: &Request<'_>) -> Result<Lock> {
    resolve_trusting(request, &Keyring::debian())
}

pub(super) fn resolve_trusting(request: &Request<'_>, keyring: &Keyring) -> Result<Lock> {
    let fetcher = Fetcher::new(&request.mirror, request.cache_dir)?;
    let releases = Releases {
        fetcher: &fetcher,
        keyring,
        mirror: &request.mirror,
        folder: request.cache_dir.join("releases"),
        freshness: request.freshness,
        now: SystemTime::now(),
    };
    let indices = block_on(find_indices(request, &releases))??;
    let names = names(request);
    let path = request
        .cache_dir
        .join("locks")
        .join(lock_id(request, &indices, &names));
    if let Some(lock) = cached(&path) {
        return Ok(lock);
    }
    let lock = choose(request, &fetcher, &indices, &names)?;
    keep(&path, &lock)?;
    Ok(lock)
}

/// The index of an archive's packages, as its release file describes it.
struct IndexOf {
    archive: Archive,
    file: IndexFile,
    url: String,
    date: SystemTime,
}

async fn find_indices(request: &Request<'_>, releases: &Releases<'_>) -> Result<Vec<IndexOf>> {
    let find = async |archive: Archive| {
        let found = releases.find(request.suite, archive).await?;
        found
            .map(|found| index_of(request, archive, &found))
            .transpose()
    };
    let found = try_join_all(Archive::ALL.map(find)).await?;
    let has_security = found
        .iter()
        .flatten()
        .any(|(index, _)| index.archive == Archive::Security);
    if found
        .iter()
        .flatten()
        .any(|(_, origin)| *origin == Origin::Offline)
    {
        let message = "the Debian archive cannot be reached, using what is known from earlier";
        (request.progress)(Progress::Warning { message });
    }
    if !has_security {
        let message = "the Debian mirror has no security updates";
        (request.progress)(Progress::Warning { message });
    }
    Ok(found
        .into_iter()
        .flatten()
        .map(|(index, _)| index)
        .collect())
}

fn index_of(request: &Request<'_>, archive: Archive, found: &Found) -> Result<(IndexOf, Origin)> {
    let suite = archive.suite(request.suite);
    let address = request.mirror.address(archive).unwrap_or_default();
    let folder = format!("main/binary-{}", request.architecture.name());
    let file = found
        .release
        .file(&format!("{folder}/Packages.xz"))
        .cloned();
    let file = file.ok_or_else(|| DebianError::Release {
        url: format!("{address}/dists/{suite}/InRelease"),
        reason: format!("it lists no packages for {}", request.architecture.name()),
    })?;
    let name = if found.release.by_hash {
        format!("by-hash/SHA256/{}", file.sha256)
    } else {
        "Packages.xz".to_owned()
    };
    let url = format!("{address}/dists/{suite}/{folder}/{name}");
    let index = IndexOf {
        archive,
        file,
        url,
        date: found.release.date,
    };
    Ok((index, found.origin))
}

/// What is asked for, whatever the order it was named in.
fn names<'a>(request: &'a Request<'_>) -> Vec<&'a str> {
    let mut extra: Vec<&str> = request.extra_packages.iter().map(String::as_str).collect();
    extra.sort_unstable();
    extra.dedup();
    let own = request.suite.packages().map(|name| -> &'a str { name });
    own.chain(extra).collect()
}

fn lock_id(request: &Request<'_>, indices: &[IndexOf], names: &[&str]) -> String {
    let mut parts = vec![
        RECIPE.to_string(),
        request.suite.codename().to_owned(),
        request.architecture.name().to_owned(),
        names.join(" "),
    ];
    let index = |index: &IndexOf| format!("{:?} {}", index.archive, index.file.sha256);
    parts.extend(indices.iter().map(index));
    hex(Sha256::digest(parts.join("\n")))
}

fn choose(
    request: &Request<'_>,
    fetcher: &Fetcher,
    indices: &[IndexOf],
    names: &[&str],
) -> Result<Lock> {
    let mut index = Index::default();
    for (of, path) in indices.iter().zip(fetch(request, fetcher, indices)?) {
        let unusable = |reason: String| DebianError::Index {
            archive: of.archive.suite(request.suite),
            reason,
        };
        let file = BufReader::with_capacity(128 * 1024, fs_err::File::open(path)?);
        let reader = BufReader::with_capacity(128 * 1024, compression::xz(file)?);
        index
            .add(reader, of.archive, request.architecture)
            .map_err(unusable)?;
    }
    let chosen = resolver::resolve(&index, request.suite, names)?;
    let archives = indices.iter().map(|of| of.archive).collect();
    let newest = indices.iter().map(|of| of.date).max();
    Ok(Lock::new(
        request.suite,
        request.architecture,
        archives,
        newest.and_then(text_of_date),
        &index,
        &chosen,
    ))
}

/// The date as locks have it.
fn text_of_date(date: SystemTime) -> Option<String> {
    let timestamp = jiff::Timestamp::try_from(date).ok()?;
    Some(timestamp.to_string())
}

/// The files of the indices, in the cache.
fn fetch(request: &Request<'_>, fetcher: &Fetcher, indices: &[IndexOf]) -> Result<Vec<PathBuf>> {
    let total = indices.iter().map(|index| index.file.size).sum();
    let done = AtomicI64::new(0);
    let advance = |bytes: i64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let done = u64::try_from(done).unwrap_or_default();
        (request.progress)(Progress::Indexing { done, total });
    };
    let fetch = async |index: &IndexOf| {
        let IndexFile { sha256, size } = &index.file;
        let wanted = Wanted {
            url: index.url.clone(),
            sha256,
            size: *size,
        };
        fetcher.file(&wanted, advance).await
    };
    block_on(try_join_all(indices.iter().map(fetch)))?
}

/// A lock that cannot be read is as good as none.
fn cached(path: &Path) -> Option<Lock> {
    let text = fs_err::read(path).ok()?;
    serde_json::from_slice(&text).ok()
}

fn keep(path: &Path, lock: &Lock) -> Result<()> {
    let folder = path.parent().expect("locks are in a folder");
    fs_err::create_dir_all(folder)?;
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&temporary, lock).map_err(std::io::Error::from)?;
    temporary.persist(path).map_err(|error| error.error)?;
    Ok(())
}
