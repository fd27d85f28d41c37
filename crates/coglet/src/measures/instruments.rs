//! Counters and histograms out of atomic numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use crate::route::Route;

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// How often a value was how large. Counted in whole units; shown divided by `per`.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper ends of the buckets, themselves included. One bucket more takes the rest.
    bounds: &'static [u64],
    per: f64,
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// Requests by method, route and status.
#[derive(Debug)]
pub(crate) struct Requests {
    counts: Box<[AtomicU64]>,
}

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    pub(super) fn new(bounds: &'static [u64], per: f64) -> Self {
        Self {
            bounds,
            per,
            counts: zeros(bounds.len() + 1),
            sum: AtomicU64::new(0),
        }
    }

    pub(crate) fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The buckets as Prometheus wants them: each holds what is in those before it too.
    pub(super) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| self.shown(*bound));
        let mut total = 0;
        bounds
            .chain([f64::INFINITY])
            .zip(&self.counts)
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect()
    }

    pub(super) fn sum(&self) -> f64 {
        self.shown(self.sum.load(Ordering::Relaxed))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a sum of 104 days in nanoseconds is the first that cannot be told exactly"
    )]
    fn shown(&self, value: u64) -> f64 {
        value as f64 / self.per
    }
}

impl Requests {
    const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "other"];
    /// Those that the server gives; the last stands for all others.
    const STATUSES: [u16; 17] = [
        200, 202, 400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429, 499, 500, 503, 0,
    ];

    pub(crate) fn count(&self, method: &Method, route: Route, status: u16) {
        let last = Self::METHODS.len() - 1;
        let method = Self::METHODS
            .iter()
            .position(|name| *name == method.as_str())
            .unwrap_or(last);
        let status = Self::STATUSES
            .iter()
            .position(|known| *known == status)
            .unwrap_or(Self::STATUSES.len() - 1);
        self.counts[Self::place(method, route as usize, status)].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that have come at all: method, route, status, number.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'static str, &'static str, String, u64)> {
        let places = Route::ALL.iter().flat_map(|route| {
            let methods = 0..Self::METHODS.len();
            methods.flat_map(move |method| {
                (0..Self::STATUSES.len()).map(move |status| (method, *route, status))
            })
        });
        places.filter_map(|(method, route, status)| {
            let place = Self::place(method, route as usize, status);
            let count = self.counts[place].load(Ordering::Relaxed);
            let status = match Self::STATUSES[status] {
                0 => "other".to_owned(),
                status => status.to_string(),
            };
            (count > 0).then_some((Self::METHODS[method], route.pattern(), status, count))
        })
    }

    fn place(method: usize, route: usize, status: usize) -> usize {
        (route * Self::METHODS.len() + method) * Self::STATUSES.len() + status
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            counts: zeros(Route::ALL.len() * Self::METHODS.len() * Self::STATUSES.len()),
        }
    }
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_include_their_end_and_those_before() {
        let histogram = Histogram::new(&[10, 20], 10.0);
        for value in [1, 10, 11, 20, 21] {
            histogram.observe(value);
        }
        assert_eq!(
            histogram.cumulative(),
            [(1.0, 2), (2.0, 4), (f64::INFINITY, 5)]
        );
        assert!((histogram.sum() - 6.3).abs() < 1e-9);
    }

    #[test]
    fn every_request_has_its_place() {
        let requests = Requests::default();
        for route in Route::ALL {
            for status in [200, 302, 503] {
                requests.count(&Method::GET, *route, status);
                requests.count(&Method::DELETE, *route, status);
            }
        }
        assert_eq!(requests.seen().count(), Route::ALL.len() * 6);
        assert!(requests.seen().all(|(.., count)| count == 1));
    }
}
