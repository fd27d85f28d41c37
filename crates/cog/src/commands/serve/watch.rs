//! Notices that something has changed in folders, not what: that is found by looking.
//!
//! Whatever writes a file, and however (in place, or beside it and renamed), the kernel says that something happened in its
//! folder. Where it cannot, the folders are looked at twice a second.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::statfs;
use rustix::io::Errno;
use tokio::sync::Notify;

/// A save is often several writes; this long nothing may happen before it counts as done, but not longer than that.
const QUIET: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_millis(250);
/// How often folders are looked at that say nothing by themselves.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// File systems that others write to unseen by this kernel, by the numbers that it has for them: NFS, SMB, CIFS, 9P, FUSE.
const UNSEEN: [i64; 5] = [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x0102_1997, 0x6573_5546];

/// Watches folders.
pub(super) struct Watcher {
    kernel: Option<Kernel>,
    /// Told by the kernel's thread.
    something: Arc<Notify>,
    looks: tokio::time::Interval,
}

struct Kernel {
    inotify: Arc<OwnedFd>,
    /// Its numbers for the folders that are watched.
    watched: HashSet<i32>,
}

/// Whether the kernel tells of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// Some only now: something may have happened there before.
    WithNew,
    AsBefore,
}

impl Watcher {
    /// Of folders in the project at `directory`. In an event loop.
    pub(super) fn of(directory: &Path) -> Self {
        let something = Arc::<Notify>::default();
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self {
            kernel: is_seen(directory)
                .then(|| Kernel::start(Arc::clone(&something)))
                .and_then(Result::ok),
            something,
            looks,
        }
    }

    /// From now on, these count. An error says why they have to be looked at instead.
    pub(super) fn watch<'a>(
        &mut self,
        directory: &Path,
        folders: impl Iterator<Item = &'a Path>,
    ) -> io::Result<Watched> {
        let Some(kernel) = &mut self.kernel else {
            return Ok(Watched::AsBefore);
        };
        let mut watched = Watched::AsBefore;
        for folder in folders {
            match kernel.watch(&directory.join(folder)) {
                Ok(true) => watched = Watched::WithNew,
                Ok(false) => {}
                Err(error) => {
                    self.kernel = None;
                    return Err(error);
                }
            }
        }
        Ok(watched)
    }

    /// Resolves when something may have changed.
    pub(super) async fn changed(&mut self) {
        match &self.kernel {
            Some(_) => self.something.notified().await,
            None => drop(self.looks.tick().await),
        }
    }
}

impl Kernel {
    fn start(something: Arc<Notify>) -> io::Result<Self> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let told = Arc::clone(&inotify);
        // Ends with the program.
        std::thread::Builder::new()
            .name("changes".into())
            .spawn(move || listen(&told, &something))?;
        Ok(Self {
            inotify,
            watched: HashSet::new(),
        })
    }

    /// Whether it was not watched before. A folder that has gone meanwhile is none.
    fn watch(&mut self, folder: &Path) -> io::Result<bool> {
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(&*self.inotify, folder, what) {
            Ok(number) => Ok(self.watched.insert(number)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the kernel learns of all that is written there.
fn is_seen(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|found| !UNSEEN.contains(&found.f_type))
}

fn listen(inotify: &OwnedFd, something: &Notify) {
    // What exactly has happened does not matter.
    let mut events = [0_u8; 16 << 10];
    loop {
        match rustix::io::read(inotify, &mut events) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let began = Instant::now();
        while began.elapsed() < LONGEST && goes_on(inotify) {
            if rustix::io::read(inotify, &mut events).is_err() {
                return;
            }
        }
        something.notify_one();
    }
}

/// Whether more happens at once.
fn goes_on(inotify: &OwnedFd) -> bool {
    let quiet = Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(QUIET.as_nanos()).unwrap_or_default(),
    };
    let mut waits = [PollFd::new(inotify, PollFlags::IN)];
    poll(&mut waits, Some(&quiet)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::block_on;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn notices(watcher: &mut Watcher) {
        let noticed = tokio::time::timeout(PATIENCE, watcher.changed()).await;
        noticed.expect("it is noticed");
    }

    #[test]
    fn a_file_is_noticed_however_it_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.py");
        fs_err::write(&file, "one").unwrap();
        block_on(async {
            let mut watcher = Watcher::of(folder.path());
            assert!(watcher.kernel.is_some());
            let all = || [Path::new("")].into_iter();
            let first = watcher.watch(folder.path(), all()).unwrap();
            assert_eq!(first, Watched::WithNew);
            let again = watcher.watch(folder.path(), all()).unwrap();
            assert_eq!(again, Watched::AsBefore);
            fs_err::write(&file, "two").unwrap();
            notices(&mut watcher).await;
            let beside = folder.path().join("new");
            fs_err::write(&beside, "three").unwrap();
            fs_err::rename(&beside, &file).unwrap();
            notices(&mut watcher).await;
            fs_err::remove_file(&file).unwrap();
            notices(&mut watcher).await;
            fs_err::create_dir(folder.path().join("lib")).unwrap();
            notices(&mut watcher).await;
            let both = [Path::new(""), Path::new("lib")].into_iter();
            let found = watcher.watch(folder.path(), both).unwrap();
            assert_eq!(found, Watched::WithNew);
            fs_err::write(folder.path().join("lib/a.py"), "").unwrap();
            notices(&mut watcher).await;
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn without_the_kernel_folders_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        block_on(async {
            let mut watcher = Watcher::of(folder.path());
            watcher.kernel = None;
            notices(&mut watcher).await;
            notices(&mut watcher).await;
            Ok(())
        })
        .unwrap();
    }
}
