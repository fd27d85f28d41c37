//! A worker as the rest of the server sees it: something to send predictions to.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::sync::{Notify, oneshot};

use super::directories::Directories;
use super::pipes::Outgoing;
use crate::model::Model;
use crate::process::signal_group;
use crate::protocol::codec::encode;
use crate::protocol::{Done, Loaded, ToWorker};
use crate::secrets::Secrets;
use crate::sync::lock;
use crate::temp::TempFile;

/// A worker that has been set up.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) pid: Pid,
    outbox: Outbox,
    alive: AtomicBool,
    /// Why the server has killed it.
    killed: OnceLock<&'static str>,
    loaded: OnceLock<Loaded>,
    model: OnceLock<Arc<Model>>,
    secrets: Arc<Secrets>,
    /// Removed with the last owner of the handle: a delivery may still read from it after the process is
    /// gone.
    directories: Directories,
    probe: Mutex<Probe>,
    next_probe: AtomicU64,
}

/// The one health check under way, and who waits for it.
#[derive(Debug, Default)]
struct Probe {
    seq: u64,
    /// The worker has not answered yet. It is not asked again before: a check that hangs is begun once.
    is_open: bool,
    /// Those that have given up are still in it.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

impl Worker {
    /// A user's health check has its own limit of five seconds in the worker; this one is for a worker
    /// that says nothing at all.
    const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

    pub(super) fn new(pid: Pid, pipe: Outgoing, directories: Directories) -> Self {
        Self {
            pid,
            outbox: Outbox::new(pipe),
            alive: AtomicBool::new(true),
            killed: OnceLock::new(),
            loaded: OnceLock::new(),
            model: OnceLock::new(),
            secrets: Arc::default(),
            directories,
            probe: Mutex::default(),
            next_probe: AtomicU64::new(1),
        }
    }

    /// What is known of the model since it was imported.
    pub(crate) fn loaded(&self) -> &Loaded {
        static NOT_YET: LazyLock<Loaded> = LazyLock::new(Loaded::default);
        self.loaded.get().unwrap_or(&NOT_YET)
    }

    pub(super) fn set_loaded(&self, loaded: Loaded) {
        // A worker that says it twice is ignored the second time.
        let _ = self.loaded.set(loaded);
    }

    /// The model that it serves, once it is set up.
    pub(crate) fn model(&self) -> Option<&Arc<Model>> {
        self.model.get()
    }

    /// It is set up, with this.
    pub(crate) fn set_model(&self, model: Arc<Model>) {
        // It is set up once.
        let _ = self.model.set(model);
    }

    /// What its process was given that must not be told.
    pub(crate) fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// Where values go that are too large for a frame.
    pub(crate) fn spill_dir(&self) -> &Path {
        self.directories.spill.path()
    }

    /// What a prediction has left in its scratch directory, if it has asked for one.
    pub(super) fn scratch_of(&self, done: &Done) -> Option<TempFile> {
        let scratch = self.directories.scratch.as_ref().filter(|_| done.scratch)?;
        Some(TempFile::tree(scratch.path().join(done.id.to_string())))
    }

    /// Bytes of memory that its process occupies.
    pub(crate) fn resident_memory(&self) -> Option<u64> {
        crate::process::resident_memory(&self.pid.to_string())
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// The process is gone: whoever waits for an answer gets none.
    pub(super) fn set_dead(&self) {
        self.alive.store(false, Ordering::Release);
        *lock(&self.probe) = Probe::default();
    }

    pub(crate) fn send(&self, message: &ToWorker<'_>) {
        self.outbox.send(&encode(message, None));
    }

    /// Sends `predict` with the input as it is.
    pub(crate) fn send_with_input(&self, message: &ToWorker<'_>, input: &Bytes) {
        self.outbox.send(&encode(message, Some(input)));
    }

    /// Raises the cancel exception in the main thread of the worker, if it runs user code just now.
    pub(crate) fn interrupt(&self) {
        if self.is_alive() {
            crate::process::interrupt_main_thread(self.pid);
        }
    }

    /// Ends it at once, for this reason.
    pub(crate) fn kill(&self, reason: &'static str) {
        if self.is_alive() {
            // Of several reasons, the first.
            let _ = self.killed.set(reason);
            signal_group(self.pid, Signal::KILL);
        }
    }

    /// Why the server has killed it, if it has.
    pub(super) fn killed(&self) -> Option<&'static str> {
        self.killed.get().copied()
    }

    /// Runs the user's health check; callers at the same time share one run. `Ok` if there is none.
    pub(crate) async fn check_health(&self) -> Result<(), String> {
        self.check_health_within(Self::PROBE_TIMEOUT).await
    }

    async fn check_health_within(&self, limit: Duration) -> Result<(), String> {
        if crate::process::is_stopped(self.pid) {
            return Err("the worker process is stopped: SIGCONT lets it go on".into());
        }
        if !self.loaded().has_healthcheck {
            return Ok(());
        }
        let answer = self.join_probe();
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("Worker crashed".into()),
            Err(_) => Err("healthcheck timed out".into()),
        }
    }

    pub(super) fn health_answer(&self, seq: u64, result: &Result<(), String>) {
        let mut probe = lock(&self.probe);
        if probe.seq == seq {
            probe.is_open = false;
            for waiting in std::mem::take(&mut probe.waiting) {
                // A client that has left does not matter.
                let _ = waiting.send(result.clone());
            }
        }
    }

    /// Writes what could not be written at once. Runs as long as it is polled.
    pub(super) async fn flush(&self) {
        self.outbox.flush().await;
    }

    fn join_probe(&self) -> oneshot::Receiver<Result<(), String>> {
        let (sender, receiver) = oneshot::channel();
        let mut probe = lock(&self.probe);
        if !probe.is_open {
            probe.seq = self.next_probe.fetch_add(1, Ordering::Relaxed);
            probe.is_open = true;
            self.send(&ToWorker::Healthcheck { seq: probe.seq });
        }
        probe.waiting.retain(|waiting| !waiting.is_closed());
        probe.waiting.push(sender);
        receiver
    }
}

/// Writes frames in order: at once where the pipe takes them, which saves the request from waiting
/// for another task, else later.
#[derive(Debug)]
struct Outbox {
    pipe: Outgoing,
    pending: Mutex<Vec<u8>>,
    has_pending: Notify,
}

impl Outbox {
    fn new(pipe: Outgoing) -> Self {
        Self {
            pipe,
            pending: Mutex::default(),
            has_pending: Notify::new(),
        }
    }

    fn send(&self, frame: &[u8]) {
        let mut pending = lock(&self.pending);
        let written = if pending.is_empty() {
            self.pipe.write_now(frame).unwrap_or(0)
        } else {
            0
        };
        if written < frame.len() {
            // An error counts as nothing written: if the worker is dead, the supervisor will notice.
            pending.extend_from_slice(&frame[written..]);
            self.has_pending.notify_one();
        }
    }

    async fn flush(&self) {
        // Looks before it waits: it may have been dropped in the middle and been called again.
        loop {
            while !lock(&self.pending).is_empty() {
                if self.pipe.room().await.is_err() {
                    return std::future::pending().await;
                }
                let mut pending = lock(&self.pending);
                match self.pipe.write_now(&pending) {
                    Ok(written) => drop(pending.drain(..written)),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => pending.clear(),
                }
            }
            self.has_pending.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pipes::{Theirs, pipes};
    use super::*;

    /// A worker that is this process, and what it would read.
    fn worker() -> (Arc<Worker>, Theirs) {
        let (_, outgoing, theirs) = pipes().unwrap();
        rustix::io::ioctl_fionbio(&theirs.incoming, true).unwrap();
        let directories = Directories::make().unwrap();
        let worker = Worker::new(rustix::process::getpid(), outgoing, directories);
        worker.set_loaded(Loaded {
            has_healthcheck: true,
            ..Loaded::default()
        });
        (Arc::new(worker), theirs)
    }

    fn probes(theirs: &Theirs) -> usize {
        let mut buffer = [0; 4096];
        let length = rustix::io::read(&theirs.incoming, &mut buffer).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..length])
            .matches("healthcheck")
            .count()
    }

    /// Asks beside others, and returns when the question is on its way.
    async fn ask(
        worker: &Arc<Worker>,
        limit: Duration,
    ) -> tokio::task::JoinHandle<Result<(), String>> {
        let before = lock(&worker.probe).waiting.len();
        let asking = Arc::clone(worker);
        let asked = tokio::spawn(async move { asking.check_health_within(limit).await });
        while lock(&worker.probe).waiting.len() == before {
            tokio::task::yield_now().await;
        }
        asked
    }

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn who_gives_up_tells_nobody_else_to() {
        let (worker, theirs) = worker();
        let later = ask(&worker, LATE).await;
        let impatient = ask(&worker, SOON).await;
        let timed_out = Err("healthcheck timed out".into());
        assert_eq!(impatient.await.unwrap(), timed_out);
        assert_eq!(probes(&theirs), 1, "one check for both");
        worker.health_answer(1, &Ok(()));
        assert_eq!(later.await.unwrap(), Ok(()));
        let lost = ask(&worker, LATE).await;
        assert_eq!(probes(&theirs), 1);
        worker.health_answer(1, &Ok(()));
        worker.set_dead();
        assert_eq!(lost.await.unwrap(), Err("Worker crashed".into()));
    }

    #[tokio::test]
    async fn a_check_that_hangs_is_begun_once() {
        let (worker, theirs) = worker();
        for _ in 0..5 {
            assert!(worker.check_health_within(SOON).await.is_err());
        }
        assert_eq!(probes(&theirs), 1);
        assert_eq!(
            lock(&worker.probe).waiting.len(),
            1,
            "who has given up is forgotten"
        );
    }
}
