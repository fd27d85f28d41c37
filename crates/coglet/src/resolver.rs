//! Name look-ups, with threads and a time limit of their own.
//!
//! The system's resolver blocks, for half a minute if the name servers are silent. Done by the threads that
//! also read bodies and write files, a few names that a client has chosen would hold up everybody. So look-ups
//! have a few threads for themselves, and who waits too long is told so.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use crate::sync::lock;

/// Look-ups at the same time. One that does not end holds its thread for as long as the system says.
const THREADS: usize = 8;
/// From the question to the answer, the wait for a thread included.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Look-ups that wait for a thread.
const MAX_WAITING: usize = 1000;
/// A thread that has nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);

type Addresses = Vec<SocketAddr>;
type LookUp = fn(&str) -> io::Result<Addresses>;

/// Why there is no address. The text goes to the client.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("`{host}` could not be resolved within {} s", limit.as_secs_f64())]
    TooSlow { host: String, limit: Duration },
    #[error("too many names are being resolved")]
    TooMany,
}

/// The resolver of every HTTP client of this server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver;

/// The threads and what they have to do.
struct Pool {
    look_up: LookUp,
    time_limit: Duration,
    threads: usize,
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Job {
    host: String,
    answer: oneshot::Sender<io::Result<Addresses>>,
}

/// The addresses of a host, with the port 0.
pub(crate) async fn look_up(host: &str) -> io::Result<Vec<SocketAddr>> {
    static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| {
        let system = |host: &str| Ok((host, 0).to_socket_addrs()?.collect());
        Arc::new(Pool::new(system, THREADS, TIME_LIMIT))
    });
    POOL.look_up(host).await
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = look_up(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Pool {
    fn new(look_up: LookUp, threads: usize, time_limit: Duration) -> Self {
        Self {
            look_up,
            time_limit,
            threads,
            state: Mutex::default(),
            has_work: Condvar::new(),
        }
    }

    async fn look_up(self: &Arc<Self>, host: &str) -> io::Result<Addresses> {
        let (answer, found) = oneshot::channel();
        let host = host.to_owned();
        self.enqueue(Job {
            host: host.clone(),
            answer,
        })?;
        let limit = self.time_limit;
        match tokio::time::timeout(limit, found).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(io::Error::other(ResolveError::TooMany)),
            Err(_) => {
                let error = ResolveError::TooSlow { host, limit };
                Err(io::Error::new(io::ErrorKind::TimedOut, error))
            }
        }
    }

    fn enqueue(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.waiting.len() >= MAX_WAITING {
            state.waiting.retain(|job| !job.answer.is_closed());
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(io::Error::other(ResolveError::TooMany));
        }
        state.waiting.push_back(job);
        if state.idle < state.waiting.len() && state.threads < self.threads {
            let pool = Arc::clone(self);
            // A resolver may load modules that need more than our own threads do.
            let thread = std::thread::Builder::new()
                .name("dns".into())
                .stack_size(512 << 10);
            match thread.spawn(move || pool.serve()) {
                Ok(_) => state.threads += 1,
                // Without any thread nobody would ever answer.
                Err(error) if state.threads == 0 => {
                    state.waiting.clear();
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        self.has_work.notify_one();
        Ok(())
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            // Who asked may have given up.
            if !job.answer.is_closed() {
                let _ = job.answer.send((self.look_up)(&job.host));
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        state.idle += 1;
        let (mut state, _) = self
            .has_work
            .wait_timeout_while(state, IDLE, |state| state.waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let job = state.waiting.pop_front();
        if job.is_none() {
            state.threads -= 1;
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "stands for one that can fail")]
    fn look_up_slowly(host: &str) -> io::Result<Addresses> {
        static BLOCKED: LazyLock<Mutex<mpsc::Receiver<()>>> = LazyLock::new(|| {
            let (sender, receiver) = mpsc::channel();
            // It is never sent to, and never closed.
            std::mem::forget(sender);
            Mutex::new(receiver)
        });
        if host.starts_with("slow") {
            let _ = lock(&BLOCKED).recv_timeout(Duration::from_mins(1));
        }
        Ok(vec![([10, 0, 0, 1], 0).into()])
    }

    fn pool(time_limit: Duration) -> Arc<Pool> {
        Arc::new(Pool::new(look_up_slowly, 2, time_limit))
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told() {
        let pool = pool(Duration::from_millis(50));
        let started = Instant::now();
        let error = pool.look_up("slow.example").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`slow.example` could not be resolved within 0.05 s"
        );
        assert!(started.elapsed() < Duration::from_secs(30));
        // The other thread still answers.
        assert_eq!(pool.look_up("quick.example").await.unwrap().len(), 1);
        assert_eq!(lock(&pool.state).threads, 2);
    }

    #[tokio::test]
    async fn what_blocks_is_bounded_and_not_the_pool_of_others() {
        let pool = pool(Duration::from_millis(50));
        let asked = (0..MAX_WAITING + 50).map(|n| {
            let pool = Arc::clone(&pool);
            async move { pool.look_up(&format!("slow-{n}")).await }
        });
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(Result::is_err));
        let refused = answers.iter().filter(
            |answer| matches!(answer, Err(error) if error.to_string().contains("too many")),
        );
        assert!(refused.count() >= 48);
        assert!(lock(&pool.state).threads <= 2);
        // The blocking threads of the runtime are as free as before.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }

    #[tokio::test]
    async fn names_of_this_machine() {
        let found = look_up("localhost").await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(look_up("name.invalid").await.is_err());
    }
}
