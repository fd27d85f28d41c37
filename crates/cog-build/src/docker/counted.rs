//! Shows bytes that others count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::reporter::{Event, Reporter, Unit};

/// How often they are looked at.
const BEAT: Duration = Duration::from_millis(100);

/// Learns how many bytes there are so far.
pub(super) type Observer = Arc<dyn Fn(u64) + Send + Sync>;

/// Does `work`, which is called `label`, and tells of the bytes that it counts.
pub(super) fn counted<T>(
    reporter: &dyn Reporter,
    label: &str,
    work: impl FnOnce(Observer) -> T,
) -> T {
    let bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&bytes);
    let observer = Arc::new(move |sum| counter.store(sum, Ordering::Relaxed));
    let (running, ended) = channel::<()>();
    reporter.report(Event::Doing { what: label });
    std::thread::scope(|scope| {
        let bytes = &bytes;
        scope.spawn(move || {
            let mut told = 0;
            while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let done = bytes.load(Ordering::Relaxed);
                if done != told {
                    told = done;
                    tell(reporter, label, done, None);
                }
            }
            // With the whole, the line goes.
            if told > 0 {
                tell(reporter, label, told, Some(told));
            }
        });
        let result = work(observer);
        drop(running);
        result
    })
}

fn tell(reporter: &dyn Reporter, label: &str, done: u64, total: Option<u64>) {
    reporter.report(Event::Progress {
        label,
        done,
        total,
        unit: Unit::Bytes,
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(u64, Option<u64>)>>);

    impl Reporter for Heard {
        fn report(&self, event: Event<'_>) {
            if let Event::Progress { done, total, .. } = event {
                self.0.lock().expect("no panic").push((done, total));
            }
        }
    }

    #[test]
    fn bytes_are_told_while_they_come_and_their_line_goes() {
        let heard = Heard::default();
        let is_told = |bytes| {
            let told = heard.0.lock().expect("no panic");
            told.contains(&(bytes, None))
        };
        let result = counted(&heard, "taking", |observer| {
            for bytes in [7, 9] {
                observer(bytes);
                while !is_told(bytes) {
                    std::thread::yield_now();
                }
            }
            "done"
        });
        assert_eq!(result, "done");
        let told = heard.0.lock().expect("no panic");
        assert_eq!(*told, [(7, None), (9, None), (9, Some(9))]);
    }

    #[test]
    fn of_nothing_there_is_nothing_to_tell() {
        let heard = Heard::default();
        counted(&heard, "taking", |_| ());
        assert!(heard.0.lock().expect("no panic").is_empty());
    }
}
