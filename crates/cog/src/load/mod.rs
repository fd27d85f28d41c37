//! Load on a model server: sends the same prediction again and again, and measures the answers.
//!
//! Two kinds of load. *Clients* each wait for an answer before they ask again, which finds out how much a server can
//! do. At a *rate*, requests are sent when they are due, whatever has been answered, and a latency counts from then: a
//! server that falls behind is not flattered by clients that wait for it. This module does not know where the server
//! comes from, and prints nothing; `report` says what was found.

mod pace;
mod report;
mod request;
mod tally;
mod wire;

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use report::Report;
pub(crate) use request::{Answers, Target};
use tally::Tally;
pub(crate) use wire::{CONNECT_TIMEOUT, Wire, is_here};

/// Requests that may be under way at a rate. A server that is this far behind does not catch up, and every one of them
/// is an open connection.
const MOST_UNDER_WAY: u64 = 4096;
/// How often the one who started it is told how far it is.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// How requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// So many clients, each with one request at a time.
    Clients(NonZeroU32),
    /// So many requests a second.
    Rate(f64),
}

/// When it is over. At least one is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) requests: Option<u64>,
    pub(crate) duration: Option<Duration>,
}

impl Limits {
    fn until(&self, begun: Instant) -> Option<Instant> {
        self.duration.map(|duration| begun + duration)
    }
}

/// What was found, and how long it took until the last answer.
pub(crate) struct Measured {
    tally: Tally,
    elapsed: Duration,
    /// Whether `stop` ended it before its limits did.
    is_cut_short: bool,
}

/// Puts the load on the target, until a limit is reached or `stop` is done. Requests that are under way by then are
/// waited for, at most as long as a request may take. `tell` gets the number of answers from time to time.
pub(crate) async fn measure(
    target: &Target,
    load: Load,
    limits: Limits,
    stop: impl Future<Output = ()>,
    tell: impl Fn(u64),
) -> Measured {
    let begun = Instant::now();
    let (end, ended) = watch::channel(false);
    let answered = AtomicU64::new(0);
    let mut is_cut_short = false;
    let tally = {
        let work = async {
            match load {
                Load::Clients(clients) => {
                    let shared = Shared {
                        target,
                        limits,
                        until: limits.until(begun),
                        begun: &AtomicU64::new(0),
                        answered: &answered,
                        ended,
                    };
                    shared.by_clients(clients).await
                }
                Load::Rate(rate) => by_rate(target, rate, begun, limits, &answered, ended).await,
            }
        };
        tokio::pin!(work, stop);
        let mut ticks = tokio::time::interval(TELL_INTERVAL);
        loop {
            tokio::select! {
                tally = &mut work => break tally,
                () = &mut stop, if !is_cut_short => {
                    is_cut_short = true;
                    // A receiver lives for as long as the work does.
                    let _ = end.send(true);
                }
                _ = ticks.tick() => tell(answered.load(Ordering::Relaxed)),
            }
        }
    };
    Measured {
        tally,
        elapsed: begun.elapsed(),
        is_cut_short,
    }
}

/// What all clients know.
struct Shared<'a> {
    target: &'a Target,
    limits: Limits,
    until: Option<Instant>,
    /// Requests that were begun.
    begun: &'a AtomicU64,
    answered: &'a AtomicU64,
    ended: watch::Receiver<bool>,
}

impl Shared<'_> {
    async fn by_clients(&self, clients: NonZeroU32) -> Tally {
        let tally = RefCell::new(Tally::new());
        let mut clients: FuturesUnordered<_> =
            (0..clients.get()).map(|_| self.client(&tally)).collect();
        while clients.next().await.is_some() {}
        drop(clients);
        tally.into_inner()
    }

    async fn client(&self, tally: &RefCell<Tally>) {
        while self.goes_on() {
            let sample = self.target.ask(Instant::now()).await;
            self.answered.fetch_add(1, Ordering::Relaxed);
            tally.borrow_mut().add(&sample);
        }
    }

    /// Whether there is one more to send, which is the caller's then.
    fn goes_on(&self) -> bool {
        let is_over =
            *self.ended.borrow() || self.until.is_some_and(|until| Instant::now() >= until);
        !is_over
            && self.limits.requests.is_none_or(|most| {
                // Those beyond the limit are counted, too, and nobody sends them.
                self.begun.fetch_add(1, Ordering::Relaxed) < most
            })
    }
}

async fn by_rate(
    target: &Target,
    rate: f64,
    begun: Instant,
    limits: Limits,
    answered: &AtomicU64,
    mut ended: watch::Receiver<bool>,
) -> Tally {
    let mut due = pace::start(rate, begun, limits.requests, limits.until(begun));
    let mut under_way = JoinSet::new();
    let mut tally = Tally::new();
    let mut is_over = false;
    let took = |tally: &mut Tally, sample| {
        answered.fetch_add(1, Ordering::Relaxed);
        tally.add(&sample);
    };
    loop {
        tokio::select! {
            biased;
            Some(sample) = under_way.join_next(), if !under_way.is_empty() => {
                // Nothing in it panics, and nobody ends it.
                if let Ok(sample) = sample {
                    took(&mut tally, sample);
                }
            }
            _ = ended.changed(), if !is_over => is_over = true,
            next = due.recv(), if !is_over => match next {
                None => is_over = true,
                Some(_) if under_way.len() as u64 >= MOST_UNDER_WAY => tally.add_unsent(),
                Some(when) => {
                    let target = target.clone();
                    under_way.spawn(async move { target.ask(when).await });
                }
            },
            else => return tally,
        }
        if is_over && under_way.is_empty() {
            return tally;
        }
    }
}

#[cfg(test)]
mod tests;
