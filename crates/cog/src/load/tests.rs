//! Load on small servers that behave in known ways.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering as Order};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use reqwest::header::HeaderMap;

use super::request::Answers;
use super::*;

/// Answers one request at a time, after `pause`, with `answer`, and counts.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Connections that it has closed.
    closed: Arc<AtomicUsize>,
}

impl Server {
    fn start(pause: Duration, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let closed = Arc::new(AtomicUsize::new(0));
        let closings = closed.clone();
        let turn = Arc::new(Mutex::new(()));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counter, turn) = (stream.unwrap(), counter.clone(), turn.clone());
                let closings = closings.clone();
                thread::spawn(move || {
                    converse(stream, pause, answer, &counter, &turn);
                    closings.fetch_add(1, Order::SeqCst);
                });
            }
        });
        Self {
            address,
            asked,
            closed,
        }
    }

    fn target(&self, answers: Answers) -> Target {
        self.targets(answers).into_iter().next().unwrap()
    }

    /// By each way that there is.
    fn targets(&self, answers: Answers) -> [Target; 2] {
        let client = cog_image::registry::http_client().unwrap();
        let client = client.no_proxy().timeout(LIMIT).build().unwrap();
        let url = format!("http://{}/predictions", self.address);
        let url = url.parse().unwrap();
        let plain = Wire::new(client.clone(), &url, LIMIT);
        assert!(matches!(plain, Wire::Plain(_)));
        [plain, Wire::Client { client, url }].map(|wire| {
            let body = Bytes::from_static(b"{}");
            Target::new(wire, HeaderMap::new(), body, answers)
        })
    }
}

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

fn converse(
    mut stream: TcpStream,
    pause: Duration,
    answer: &str,
    counter: &AtomicUsize,
    turn: &Mutex<()>,
) {
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..read]);
        // The body of each request is `{}`.
        while let Some(end) = seen.windows(6).position(|window| window == b"\r\n\r\n{}") {
            seen.drain(..end + 6);
            counter.fetch_add(1, Order::SeqCst);
            let turn = turn.lock().unwrap();
            thread::sleep(pause);
            drop(turn);
            let written = stream.write_all(answer.as_bytes());
            let closes = answer.contains("connection: close") || answer == SAYS_NOTHING_AND_CLOSES;
            if written.is_err() || closes {
                return;
            }
        }
    }
}

const SUCCEEDED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{\"status\":\"succeeded\"}";
const BUSY: &str = "HTTP/1.1 409 Conflict\r\ncontent-length: 17\r\n\r\n{\"detail\":\"busy\"}";
const FAILED: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 36\r\n\r\n{\"status\":\"failed\",\"error\":\"enough\"}";
const SAYS_NOTHING_AND_CLOSES: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n {\"status\":\"succeeded\"}";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
    event: output\ndata: {\"chunk\":\"a\"}\n\nevent: output\ndata: {\"chunk\":\"b\"}\n\n\
    event: completed\ndata: {\"status\":\"succeeded\"}\n\n";
const FAILED_STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
    event: completed\ndata: {\"status\":\"failed\",\"error\":\"enough\"}\n\n";

fn run(target: &Target, load: Load, limits: Limits) -> Measured {
    crate::runtime::block_on(async {
        Ok(measure(target, load, limits, std::future::pending(), |_| {}).await)
    })
    .unwrap()
}

fn clients(number: u32) -> Load {
    Load::Clients(NonZeroU32::new(number).unwrap())
}

fn requests(number: u64) -> Limits {
    Limits {
        requests: Some(number),
        duration: None,
    }
}

#[test]
fn clients_send_as_many_as_were_asked_for() {
    let server = Server::start(Duration::ZERO, SUCCEEDED);
    let found = run(&server.target(Answers::Whole), clients(4), requests(50));
    assert_eq!(found.tally.succeeded, 50);
    assert_eq!(server.asked.load(Order::SeqCst), 50);
}

#[test]
fn refusals_are_failures_with_a_reason() {
    let server = Server::start(Duration::ZERO, BUSY);
    for target in server.targets(Answers::Whole) {
        let found = run(&target, clients(1), requests(3));
        assert_eq!(found.tally.failed, 3);
        assert_eq!(found.tally.failures["409: busy"], 3);
    }
}

#[test]
fn predictions_that_fail_in_answers_with_200_are_failures() {
    for (answer, answers) in [(FAILED, Answers::Whole), (FAILED_STREAM, Answers::Events)] {
        let server = Server::start(Duration::ZERO, answer);
        for target in server.targets(answers) {
            let found = run(&target, clients(1), requests(3));
            assert_eq!((found.tally.succeeded, found.tally.failed), (0, 3));
            assert_eq!(found.tally.failures["enough"], 3);
            assert_eq!(found.tally.statuses[&200], 3);
            assert!(found.tally.latencies.is_empty());
        }
    }
}

#[test]
fn nobody_there_is_a_failure() {
    let server = Server::start(Duration::ZERO, SUCCEEDED);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = Server {
        address: free.local_addr().unwrap(),
        asked: server.asked,
        closed: server.closed,
    };
    drop(free);
    for target in gone.targets(Answers::Whole) {
        let found = run(&target, clients(1), requests(1));
        assert_eq!(found.tally.failed, 1);
        let reason = found.tally.failures.keys().next().unwrap();
        assert!(reason.contains("refused"), "{reason}");
    }
}

/// Keep-alive is a promise that servers break.
#[test]
fn connections_that_were_closed_meanwhile_are_made_anew() {
    let server = Server::start(Duration::ZERO, SAYS_NOTHING_AND_CLOSES);
    for (number, target) in server.targets(Answers::Whole).iter().enumerate() {
        let asking = async {
            for round in 1..=3 {
                let sample = target.ask(Instant::now()).await;
                assert_eq!(sample.failure(), None);
                while server.closed.load(Order::SeqCst) < 3 * number + round {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // The client sees it as soon as it is not busy with anything else.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        crate::runtime::block_on(asking).unwrap();
    }
    assert_eq!(server.asked.load(Order::SeqCst), 6);
}

/// It takes no more memory than is needed to see what came of a prediction.
#[test]
fn bodies_without_end_are_counted_and_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let long = 64 << 20;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {long}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let piece = vec![b' '; 1 << 20];
            while stream.write_all(&piece).is_ok() {}
        }
    });
    let server = Server {
        address,
        asked: Arc::default(),
        closed: Arc::default(),
    };
    for target in server.targets(Answers::Whole) {
        let found = run(&target, clients(1), requests(1));
        assert_eq!(found.tally.succeeded, 1, "{:?}", found.tally.failures);
        assert_eq!(found.tally.bytes, long);
    }
}

#[test]
fn answers_that_take_too_long_are_lost() {
    let server = Server::start(Duration::from_secs(5), SUCCEEDED);
    let url = format!("http://{}/predictions", server.address);
    let client = cog_image::registry::http_client().unwrap().build().unwrap();
    let wire = Wire::new(client, &url.parse().unwrap(), Duration::from_millis(50));
    let body = Bytes::from_static(b"{}");
    let target = Target::new(wire, HeaderMap::new(), body, Answers::Whole);
    let found = run(&target, clients(1), requests(2));
    assert_eq!(found.tally.failures["no answer within the time limit"], 2);
}

#[test]
fn only_plain_http_goes_over_connections_of_our_own() {
    let client = cog_image::registry::http_client().unwrap().build().unwrap();
    for (url, is_plain) in [
        ("http://127.0.0.1:1/a?b=c", true),
        ("http://[::1]:1/a", true),
        ("https://127.0.0.1:1/a", false),
        ("http://user:word@127.0.0.1:1/a", false),
    ] {
        let wire = Wire::new(client.clone(), &url.parse().unwrap(), LIMIT);
        assert_eq!(matches!(wire, Wire::Plain(_)), is_plain, "{url}");
    }
}

#[test]
fn streams_are_measured_to_their_first_output() {
    let server = Server::start(Duration::ZERO, STREAM);
    for target in server.targets(Answers::Events) {
        let found = run(&target, clients(1), requests(2));
        assert_eq!((found.tally.succeeded, found.tally.outputs), (2, 4));
        assert_eq!(found.tally.first_outputs.len(), 2);
    }
}

/// Five answers a second are possible, and twenty are due: each waits longer than the one before. A client that asks
/// again only after an answer sees none of that.
#[test]
fn a_slow_server_is_not_flattered_by_a_rate() {
    let server = Server::start(Duration::from_millis(200), SUCCEEDED);
    let target = server.target(Answers::Whole);
    let one_at_a_time = run(&target, clients(1), requests(3));
    let at_a_rate = run(&target, Load::Rate(20.0), requests(10));
    assert_eq!(at_a_rate.tally.succeeded, 10);
    let (patient, due) = (
        one_at_a_time.tally.latencies.max(),
        at_a_rate.tally.latencies.max(),
    );
    // The last one is due after 0.45 s, and its answer comes after 2 s.
    assert!(due >= 1_400_000, "{due} µs");
    assert!(patient < due, "{patient} µs");
}

#[test]
fn stopping_ends_it_with_what_was_measured() {
    let server = Server::start(Duration::from_millis(5), SUCCEEDED);
    let target = server.target(Answers::Whole);
    let limits = Limits {
        requests: None,
        duration: Some(Duration::from_mins(10)),
    };
    for load in [clients(2), Load::Rate(50.0)] {
        let found = crate::runtime::block_on(async {
            let stop = tokio::time::sleep(Duration::from_millis(200));
            Ok(measure(&target, load, limits, stop, |_| {}).await)
        })
        .unwrap();
        assert!(found.is_cut_short);
        assert!(found.tally.succeeded > 0);
        assert!(found.elapsed < Duration::from_secs(10));
    }
}
