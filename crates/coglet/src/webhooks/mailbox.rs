//! What is to be sent for one prediction.
//!
//! While it runs these are places in its output, a few bytes each: a quick receiver gets a call for every
//! one, a slow one for the newest. When it has ended, the text of its end is kept and the prediction itself
//! let go, unless a quick receiver is just about to get the last of what came before.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::Subject;
use crate::sync::lock;

/// A receiver that needs longer for a call is slow.
const QUICK: Duration = Duration::from_millis(100);
/// The same for the first call, which pays for the connection.
const QUICK_AT_FIRST: Duration = Duration::from_millis(500);
/// What is older than this when its turn comes is skipped, if there is something newer.
const FRESH: Duration = Duration::from_millis(500);
/// What has not been sent so long after the end of the prediction is not sent any more.
const AFTER_END: Duration = Duration::from_millis(500);
/// More events than a quick receiver can be behind.
const MAX_WAITING: usize = 4096;

#[derive(Debug)]
pub(super) struct Mailbox {
    prediction: Weak<dyn Subject>,
    mail: Mutex<Mail>,
    changed: Notify,
    /// Among the undelivered results.
    pub(super) number: OnceLock<u64>,
}

#[derive(Debug, Default)]
struct Mail {
    waiting: VecDeque<Letter>,
    /// It was called before.
    is_known: bool,
    is_slow: bool,
    end: Option<End>,
}

/// A state of the prediction to be told of: with so many items.
#[derive(Debug)]
struct Letter {
    items: usize,
    since: Instant,
}

#[derive(Debug)]
struct End {
    at: Instant,
    /// Kept only as long as there are letters.
    prediction: Option<Arc<dyn Subject>>,
    text: Option<Bytes>,
}

/// What to send next.
#[derive(Debug)]
pub(super) enum Next {
    /// The prediction as it was with so many items.
    Interim(Arc<dyn Subject>, usize),
    Completed,
    Nothing,
}

impl Mailbox {
    pub(super) fn new(prediction: Weak<dyn Subject>) -> Self {
        Self {
            prediction,
            mail: Mutex::default(),
            changed: Notify::new(),
            number: OnceLock::new(),
        }
    }

    pub(super) fn add(&self, items: usize) {
        let mut mail = lock(&self.mail);
        if mail.end.is_some() {
            return;
        }
        if mail.waiting.len() == MAX_WAITING {
            mail.waiting.pop_front();
        }
        let since = Instant::now();
        mail.waiting.push_back(Letter { items, since });
        drop(mail);
        self.changed.notify_one();
    }

    /// The prediction has ended, and this is to be told of it.
    pub(super) fn end(&self, text: Option<Bytes>) {
        let mut mail = lock(&self.mail);
        if mail.is_slow {
            mail.waiting.clear();
        }
        let is_needed = !mail.waiting.is_empty();
        mail.end = Some(End {
            at: Instant::now(),
            prediction: self.prediction.upgrade().filter(|_| is_needed),
            text,
        });
        drop(mail);
        self.changed.notify_one();
    }

    /// Waits for something to send.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = lock(&self.mail).take(&self.prediction) {
                return next;
            }
            self.changed.notified().await;
        }
    }

    /// What is told of the end; nothing once it was given up.
    pub(super) fn text(&self) -> Option<Bytes> {
        lock(&self.mail).end.as_ref()?.text.clone()
    }

    /// Does a call, and notes how quick the receiver is. It may be the last one before the end is told, so
    /// nothing is kept for what would come in between if it takes long.
    pub(super) async fn judge(&self, call: impl Future<Output = ()>) {
        let is_known = std::mem::replace(&mut lock(&self.mail).is_known, true);
        let limit = if is_known { QUICK } else { QUICK_AT_FIRST };
        let mut call = std::pin::pin!(call);
        tokio::select! {
            () = &mut call => lock(&self.mail).is_slow = false,
            () = sleep(limit) => {
                self.is_slow();
                call.await;
            }
        }
    }

    /// If the prediction has ended, or as soon as it ends, only that is told.
    fn is_slow(&self) {
        let mut mail = lock(&self.mail);
        mail.is_slow = true;
        if let Some(end) = &mut mail.end {
            end.prediction = None;
            mail.waiting.clear();
        }
    }

    /// There is no room for this text any more.
    pub(super) fn give_up(&self) {
        if let Some(end) = &mut lock(&self.mail).end {
            end.text = None;
        }
        self.changed.notify_one();
    }

    /// Waits until the text is given up.
    pub(super) async fn given_up(&self) {
        while self.text().is_some() {
            self.changed.notified().await;
        }
    }
}

impl Mail {
    fn take(&mut self, prediction: &Weak<dyn Subject>) -> Option<Next> {
        let now = Instant::now();
        if let Some(end) = &self.end
            && now.duration_since(end.at) > AFTER_END
        {
            self.waiting.clear();
        }
        while self.waiting.len() > 1 && now.duration_since(self.waiting[0].since) > FRESH {
            self.waiting.pop_front();
        }
        let letter = self.waiting.pop_front();
        let prediction = match &mut self.end {
            None => prediction.upgrade(),
            Some(end) if self.waiting.is_empty() => end.prediction.take(),
            Some(end) => end.prediction.clone(),
        };
        match (letter, prediction, &self.end) {
            (Some(letter), Some(prediction), _) => Some(Next::Interim(prediction, letter.items)),
            (_, _, None) => None,
            (_, _, Some(End { text: Some(_), .. })) => Some(Next::Completed),
            (_, _, Some(End { text: None, .. })) => Some(Next::Nothing),
        }
    }
}
