//! The workers that can take predictions, each in its lane.

use std::sync::{Arc, Mutex};

use super::Worker;
use crate::slots::Lane;
use crate::sync::lock;

/// A place for each worker; empty while its process is not there or not set up.
#[derive(Debug)]
pub(crate) struct Pool {
    lanes: Vec<Mutex<Option<Arc<Worker>>>>,
}

impl Pool {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            lanes: std::iter::repeat_with(Mutex::default).take(lanes).collect(),
        }
    }

    pub(crate) fn put(&self, lane: Lane, worker: Arc<Worker>) {
        *lock(&self.lanes[lane.0]) = Some(worker);
    }

    pub(crate) fn remove(&self, lane: Lane) {
        *lock(&self.lanes[lane.0]) = None;
    }

    pub(crate) fn get(&self, lane: Lane) -> Option<Arc<Worker>> {
        lock(&self.lanes[lane.0]).clone()
    }

    /// All that are there, with the lanes they are in.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Lane, Arc<Worker>)> {
        (0..self.lanes.len()).filter_map(|lane| Some((Lane(lane), self.get(Lane(lane))?)))
    }

    /// One of them: they all run the same model.
    pub(crate) fn any(&self) -> Option<Arc<Worker>> {
        self.all().next().map(|(_, worker)| worker)
    }
}
