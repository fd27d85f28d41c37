//! Which servers of projects run on this machine: `cog serve` leaves a record, `cog run` looks for one.
//!
//! A record lies in the store, where no model can write. Beside it is a file that the server's `cog` keeps locked: the
//! kernel releases it however that ends, so a record whose lock can be taken is one of a server that is gone.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use cog_build::Snapshot;
use cog_image::Store;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// Below the store's root.
const FOLDER: &str = "serving";
const LOCK: &str = "lock";
const RECORD: &str = "json";
/// Raise it when a record of before says something else.
const VERSION: u32 = 1;
/// Nobody but the user.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// A server of a project.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    /// The process of its `cog serve`.
    pub(crate) pid: u32,
    /// When that has begun.
    pub(crate) started: String,
    /// Where it is reached from this machine.
    pub(crate) address: SocketAddr,
    pub(crate) launch: Launch,
    /// It follows changes of the project.
    pub(crate) watches: bool,
    pub(crate) state: State,
    /// What it serves, or is about to.
    pub(crate) snapshot: Snapshot,
}

/// How it was started, as far as that makes a difference to a prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// As `--engine` says it.
    pub(crate) asked: String,
    /// The engine that was chosen.
    pub(crate) engine: String,
    pub(crate) gpus: Option<String>,
    /// Outputs go somewhere else.
    pub(crate) upload_url: Option<String>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Loading,
    Serving,
    Failed,
}

impl Record {
    pub(crate) fn new(address: SocketAddr, launch: Launch, snapshot: Snapshot) -> Self {
        Self {
            version: VERSION,
            pid: std::process::id(),
            started: jiff::Timestamp::now().to_string(),
            address: reachable(address),
            launch,
            watches: false,
            state: State::Loading,
            snapshot,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One that listens everywhere is reached here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The right to leave a record; it goes with this value.
#[derive(Debug)]
pub(crate) struct Announcement {
    record: PathBuf,
    lock: PathBuf,
    _held: fs_err::File,
}

impl Announcement {
    /// For a server of the project in `directory`.
    pub(crate) fn of(store: &Store, directory: &Path) -> io::Result<Self> {
        let folder = store.root().join(FOLDER);
        match DirBuilder::new().mode(PRIVATE_FOLDER).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        clear(&folder)?;
        let stem = format!("{}.{}", name(directory)?, std::process::id());
        let lock = folder.join(format!("{stem}.{LOCK}"));
        loop {
            let held = private(&lock)?;
            // Somebody who clears up may have been quicker: then the file is gone, or about to go.
            let is_ours = rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive);
            if is_ours.is_ok() && lock.exists() {
                return Ok(Self {
                    record: folder.join(format!("{stem}.{RECORD}")),
                    lock,
                    _held: held,
                });
            }
        }
    }

    /// Leaves the record, in place of an earlier one.
    pub(crate) fn tell(&self, record: &Record) -> io::Result<()> {
        let temporary = self.record.with_extension("tmp");
        let mut file = private(&temporary)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        fs_err::rename(temporary, &self.record)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // What cannot be removed is one of a dead server, which the next one clears away.
        let _ = fs_err::remove_file(&self.record);
        let _ = fs_err::remove_file(&self.lock);
    }
}

/// A record that was found, and how to learn that its server is gone.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) record: Record,
    path: PathBuf,
}

impl Found {
    /// What it says now; nothing once its server is gone.
    pub(crate) fn again(&self) -> Option<Self> {
        read(&self.path)
    }

    pub(crate) fn is_gone(&self) -> bool {
        !is_held(&self.path.with_extension(LOCK))
    }
}

/// The servers of the project in `directory` that live, the latest first.
pub(crate) fn find(store: &Store, directory: &Path) -> io::Result<Vec<Found>> {
    let prefix = name(directory)? + ".";
    let mut found: Vec<Found> = records(&store.root().join(FOLDER))?
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&prefix)
        })
        .filter_map(|path| read(&path))
        .collect();
    found.sort_by(|one, other| other.record.started.cmp(&one.record.started));
    Ok(found)
}

/// Removes what servers have left that were killed.
pub(crate) fn clear_away(store: &Store) -> io::Result<()> {
    clear(&store.root().join(FOLDER))
}

fn clear(folder: &Path) -> io::Result<()> {
    for path in entries(folder)? {
        if path.extension().is_none_or(|extension| extension != LOCK) {
            continue;
        }
        // Held while all of it goes: whoever makes one of this name meanwhile waits for that.
        if let Ok(file) = fs_err::File::open(&path)
            && rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            for extension in [RECORD, "tmp", LOCK] {
                let _ = fs_err::remove_file(path.with_extension(extension));
            }
        }
    }
    Ok(())
}

fn records(folder: &Path) -> io::Result<impl Iterator<Item = PathBuf>> {
    let is_record = |path: &PathBuf| path.extension().is_some_and(|one| one == RECORD);
    Ok(entries(folder)?.into_iter().filter(is_record))
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => Ok(found?.flatten().map(|entry| entry.path()).collect()),
    }
}

fn read(path: &Path) -> Option<Found> {
    if !is_held(&path.with_extension(LOCK)) {
        return None;
    }
    let record: Record = serde_json::from_slice(&fs_err::read(path).ok()?).ok()?;
    (record.version == VERSION).then(|| Found {
        record,
        path: path.to_owned(),
    })
}

/// Whether the process lives that has locked the file. Only asks for a share of the lock, so that others who ask at the
/// same time see no holder either.
fn is_held(lock: &Path) -> bool {
    let Ok(file) = fs_err::File::open(lock) else {
        return false;
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

fn private(path: &Path) -> io::Result<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE_FILE);
    options.open(path)
}

/// What records of the project in `directory` are called.
fn name(directory: &Path) -> io::Result<String> {
    let path = fs_err::canonicalize(directory)?;
    let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    let mut name = String::new();
    let _ = write!(name, "{}", cog_image::Digest::of(path));
    Ok(name.replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let launch = Launch {
            asked: "auto".into(),
            engine: "embedded".into(),
            gpus: None,
            upload_url: None,
        };
        let address = "0.0.0.0:8393".parse().unwrap();
        Record::new(address, launch, Snapshot::default())
    }

    fn mode(path: &Path) -> u32 {
        let metadata = fs_err::metadata(path).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
    }

    #[test]
    fn a_record_lasts_as_long_as_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let project = folder.path().join("project");
        fs_err::create_dir(&project).unwrap();
        assert!(find(&store, &project).unwrap().is_empty());
        let announcement = Announcement::of(&store, &project).unwrap();
        assert!(
            find(&store, &project).unwrap().is_empty(),
            "nothing is said"
        );
        announcement.tell(&record()).unwrap();
        let found = find(&store, &project).unwrap().remove(0);
        assert_eq!(found.record.url(), "http://127.0.0.1:8393");
        assert_eq!(found.record.pid, std::process::id());
        assert_eq!(mode(&announcement.record), 0o600);
        assert_eq!(mode(&announcement.lock), 0o600);
        assert_eq!(mode(announcement.record.parent().unwrap()), 0o700);
        let elsewhere = find(&store, folder.path()).unwrap();
        assert!(elsewhere.is_empty(), "it is another project");
        announcement
            .tell(&Record {
                state: State::Serving,
                ..record()
            })
            .unwrap();
        assert_eq!(found.again().unwrap().record.state, State::Serving);
        assert!(!found.is_gone());
        drop(announcement);
        assert!(found.is_gone() && found.again().is_none());
        assert_eq!(entries(&store.root().join(FOLDER)).unwrap().len(), 0);
    }

    #[test]
    fn what_a_killed_server_has_left_counts_for_nothing_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let announcement = Announcement::of(&store, folder.path()).unwrap();
        announcement.tell(&record()).unwrap();
        let Announcement { record, lock, .. } = &announcement;
        let kept = [record, lock].map(|path| (path.clone(), fs_err::read(path).unwrap()));
        drop(announcement);
        for (path, content) in &kept {
            fs_err::write(path, content).unwrap();
        }
        assert!(find(&store, folder.path()).unwrap().is_empty());
        clear_away(&store).unwrap();
        assert!(kept.iter().all(|(path, _)| !path.exists()));
        // A record of another version is none.
        let announcement = Announcement::of(&store, folder.path()).unwrap();
        let other = Record {
            version: VERSION + 1,
            ..self::record()
        };
        announcement.tell(&other).unwrap();
        assert!(find(&store, folder.path()).unwrap().is_empty());
    }
}
