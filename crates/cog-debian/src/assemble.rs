//! From a lock to a tree: packages are unpacked while others are still on their way.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use cog_files::Folder;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::configure::{RunInRoot, configure};
use super::deb::DebError;
use super::error::{DebianError, Result};
use super::fetch::{Fetcher, Wanted};
use super::lock::{Lock, LockedPackage};
use super::mirror::Mirror;
use super::tree::Tree;
use super::unpack::{Part, Unpacked, unpack};
use super::{Assembled, Progress, Request, block_on, cleanup, database};

/// Downloads at once. More make no difference to a near mirror, and strain a far one.
const CONNECTIONS: usize = 8;

/// Makes the tree that `lock` describes in the directory `staging`, which is empty or does not exist yet.
///
/// Everything in it belongs to the user who runs this. Works from the cache alone where that has all packages. If the
/// mirror no longer has one of them ([`DebianError::is_outdated`]), a new lock is needed.
pub fn assemble(
    request: &Request<'_>,
    lock: &Lock,
    staging: &Path,
    container: &dyn RunInRoot,
) -> Result<Assembled> {
    prepare(staging)?;
    let tree = Tree::new(fs_err::canonicalize(staging)?);
    let folder = Folder::open(tree.root())?;
    for name in lock.architecture.merged_directories() {
        folder.make(&format!("usr/{name}"))?;
        std::os::unix::fs::symlink(format!("usr/{name}"), tree.root().join(name))?;
    }
    let packages = fetch_and_unpack(request, lock, &tree)?;
    tree.finish()
        .map_err(|source| refused("base-files", source))?;
    add_shell(tree.root())?;
    database::write(tree.root(), &packages)?;
    (request.progress)(Progress::Configuring);
    configure(tree.root(), lock, &packages, container)?;
    cleanup::finish(tree.root(), lock.suite)?;
    Ok(Assembled {
        root: staging.to_owned(),
        python: lock.suite.python().to_owned(),
    })
}

fn prepare(staging: &Path) -> Result<()> {
    fs_err::create_dir_all(staging)?;
    if fs_err::read_dir(staging)?.next().is_some() {
        return Err(DebianError::NotEmpty {
            path: staging.to_owned(),
        });
    }
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    Ok(fs_err::set_permissions(staging, permissions)?)
}

/// Some releases' shell makes itself `/bin/sh` when it is configured, which takes a shell.
fn add_shell(root: &Path) -> Result<()> {
    let shell = root.join("usr/bin/sh");
    if fs_err::symlink_metadata(&shell).is_err() {
        std::os::unix::fs::symlink("dash", shell)?;
    }
    Ok(())
}

/// All packages, in the lock's order.
fn fetch_and_unpack(request: &Request<'_>, lock: &Lock, tree: &Tree) -> Result<Vec<Unpacked>> {
    let threads = match request.threads {
        // Unpacking soon waits for the disk.
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(4),
        threads => threads,
    };
    let unpackers = Unpackers::new(request, lock, tree);
    let (sender, receiver) = channel();
    let receiver = Mutex::new(receiver);
    let downloaded = std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| unpackers.work(&receiver));
        }
        // The threads end when the sender is gone and nothing is left to do.
        download(request, lock, sender, &unpackers)
    });
    // If a package is malformed, that is the reason why the download was given up.
    let packages = unpackers.into_result();
    downloaded?;
    let mut packages = packages?;
    settle_overlaps(request, lock, tree, &mut packages)?;
    Ok(packages)
}

/// Fetches the largest packages first: the last ones to be unpacked are small then. Sends the numbers of those that are
/// there.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping the sender tells the receivers that no more packages come"
)]
fn download(
    request: &Request<'_>,
    lock: &Lock,
    sender: Sender<(usize, PathBuf)>,
    unpackers: &Unpackers<'_>,
) -> Result<()> {
    let mut numbers: Vec<usize> = (0..lock.packages.len()).collect();
    numbers.sort_by_key(|number| std::cmp::Reverse(lock.packages[*number].size));
    let fetcher = Fetcher::new(&request.mirror, request.cache_dir)?;
    let total = lock.download_size();
    let done = AtomicI64::new(0);
    let advance = |bytes: i64| {
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let done = u64::try_from(done).unwrap_or_default();
        (request.progress)(Progress::Downloading { done, total });
    };
    let fetch = async |number: usize| {
        if unpackers.has_failed() {
            return Ok(());
        }
        let wanted = wanted(&request.mirror, &lock.packages[number])?;
        let path = fetcher.file(&wanted, &advance).await?;
        // Nobody listens any more if unpacking failed.
        let _ = sender.send((number, path));
        Ok(())
    };
    block_on(
        stream::iter(numbers)
            .map(fetch)
            .buffer_unordered(CONNECTIONS)
            .try_collect::<()>(),
    )?
}

fn wanted<'a>(mirror: &Mirror, package: &'a LockedPackage) -> Result<Wanted<'a>> {
    let address = mirror
        .address(package.archive)
        .ok_or_else(|| DebianError::NotInstallable {
            package: package.name.clone(),
            reason: "the mirror has no security updates".to_owned(),
        })?;
    Ok(Wanted {
        url: format!("{address}/{}", package.path),
        sha256: &package.sha256,
        size: package.size,
    })
}

/// Threads that unpack what they are told is there.
struct Unpackers<'a> {
    request: &'a Request<'a>,
    lock: &'a Lock,
    tree: &'a Tree,
    results: Mutex<HashMap<usize, Result<Unpacked>>>,
    failed: std::sync::atomic::AtomicBool,
}

impl<'a> Unpackers<'a> {
    fn new(request: &'a Request<'a>, lock: &'a Lock, tree: &'a Tree) -> Self {
        Self {
            request,
            lock,
            tree,
            results: Mutex::default(),
            failed: false.into(),
        }
    }

    fn work(&self, packages: &Mutex<Receiver<(usize, PathBuf)>>) {
        loop {
            let next = packages
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok((number, path)) = next else { return };
            let package = &self.lock.packages[number];
            let unpacked = unpack(&path, number, self.tree, Part::Everything)
                .and_then(|unpacked| check_identity(unpacked, package))
                .map_err(|source| refused(&package.name, source));
            if unpacked.is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(number, unpacked);
            let (done, total) = (results.len(), self.lock.packages.len());
            drop(results);
            (self.request.progress)(Progress::Unpacking { done, total });
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The packages in the lock's order, as far as they got, or the first failure.
    fn into_result(self) -> Result<Vec<Unpacked>> {
        let results = self
            .results
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut results: Vec<(usize, Result<Unpacked>)> = results.into_iter().collect();
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

fn check_identity(unpacked: Unpacked, package: &LockedPackage) -> Result<Unpacked, DebError> {
    let control = &unpacked.control;
    if control.name() == package.name && control.version() == package.version {
        return Ok(unpacked);
    }
    let actual = format!(
        "{} {} {}",
        control.name(),
        control.version(),
        control.architecture()
    );
    Err(DebError::OtherPackage { actual })
}

/// Where two packages have the same file, the one counts that says it replaces the other's. Which of them was unpacked
/// first is chance.
fn settle_overlaps(
    request: &Request<'_>,
    lock: &Lock,
    tree: &Tree,
    packages: &mut [Unpacked],
) -> Result<()> {
    let mut again: HashMap<usize, HashSet<PathBuf>> = HashMap::new();
    let overlaps: Vec<(PathBuf, usize, usize)> = packages
        .iter_mut()
        .enumerate()
        .flat_map(|(second, package)| {
            let overlaps = std::mem::take(&mut package.overlaps);
            overlaps
                .into_iter()
                .map(move |(path, first)| (path, first, second))
        })
        .collect();
    for (path, first, second) in overlaps {
        let replaces =
            |this: usize, other: usize| packages[this].control.replaces(&packages[other].control);
        // Of two that replace each other, as after a file has moved forth and back, the later in the lock counts.
        let (low, high) = (first.min(second), first.max(second));
        let (winner, loser) = if replaces(high, low) {
            (high, low)
        } else if replaces(low, high) {
            (low, high)
        } else {
            let name = |number: usize| lock.packages[number].name.clone();
            return Err(DebianError::FileConflict {
                first: name(low),
                second: name(high),
                path,
            });
        };
        packages[loser].paths.retain(|known| *known != path);
        if winner == second {
            tree.hand_over(&path, winner)
                .map_err(|source| refused(&lock.packages[winner].name, source))?;
            again.entry(winner).or_default().insert(path);
        }
    }
    let fetcher = Fetcher::new(&request.mirror, request.cache_dir)?;
    for (number, paths) in again {
        let package = &lock.packages[number];
        let path = fetcher.path(&wanted(&request.mirror, package)?);
        unpack(&path, number, tree, Part::Only(&paths))
            .map_err(|source| refused(&package.name, source))?;
    }
    Ok(())
}

fn refused(package: &str, source: DebError) -> DebianError {
    DebianError::Package {
        package: package.to_owned(),
        source,
    }
}
