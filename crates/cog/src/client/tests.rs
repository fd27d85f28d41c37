use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

/// What a server was asked, headers in small letters.
type Asked = Vec<String>;

/// Answers one connection after the other, and then is gone.
fn server(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<Asked>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let answer = |answer: &&str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            let head = head.to_lowercase();
            let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.split("\r\n").next().unwrap().parse().unwrap()
            });
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            head + std::str::from_utf8(&body).unwrap()
        };
        answers.iter().map(answer).collect()
    };
    (address, std::thread::spawn(serve))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn ask(address: SocketAddr) -> anyhow::Result<Answer> {
    predict(address, Bytes::from_static(br#"{"input":{}}"#)).await
}

#[test]
fn a_server_without_events_is_asked_for_the_result() {
    let (address, asked) = server(&[
        "HTTP/1.1 406 Not Acceptable\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n\"hi\"\n",
    ]);
    let Answer::Whole(response) = run(ask(address)).unwrap() else {
        panic!("no events")
    };
    assert_eq!(
        (response.status, response.body.as_ref()),
        (200, &b"\"hi\"\n"[..])
    );
    let asked = asked.join().unwrap();
    assert!(asked[0].contains("accept: text/event-stream"));
    assert!(asked[0].contains("cog-events: 1"));
    assert!(!asked[1].contains("event"), "{}", asked[1]);
    for request in asked {
        assert!(request.starts_with("post /predictions http/1.1\r\n"));
        assert!(request.contains("cog-output-names: 1"));
        assert!(request.ends_with(r#"{"input":{}}"#));
    }
}

#[test]
fn an_answer_that_is_no_stream_is_the_result() {
    // The model has run: it must not run again.
    let (address, asked) = server(&[
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
    ]);
    assert!(matches!(run(ask(address)), Ok(Answer::Whole(_))));
    assert_eq!(asked.join().unwrap().len(), 1);
    let (address, _) = server(&[
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n",
    ]);
    let Ok(Answer::Whole(response)) = run(ask(address)) else {
        panic!("no events")
    };
    assert_eq!(response.status, 503);
}

#[test]
fn events_come_until_the_stream_ends_or_breaks_off() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n";
    let whole = "transfer-encoding: chunked\r\n\r\n19\r\nevent: log\r\ndata: \"x\"\n\n: \r\n2\r\n\n\n\r\n0\r\n\r\n";
    let broken = "transfer-encoding: chunked\r\n\r\n18\r\nevent: log\ndata: \"x\"\n\n: \r\n";
    for (rest, breaks_off) in [(whole, false), (broken, true)] {
        let answer: &'static str = Box::leak(format!("{HEAD}{rest}").into_boxed_str());
        let (address, _) = server(Box::leak(Box::new([answer])));
        run(async {
            let Ok(Answer::Events(mut events)) = ask(address).await else {
                panic!("no events")
            };
            let event = Event {
                name: "log".into(),
                data: "\"x\"".into(),
            };
            assert_eq!(events.next().await.unwrap(), Some(event));
            match (events.next().await, breaks_off) {
                (Ok(None), false) => {}
                (Err(error), true) => assert!(error.to_string().contains("broke off")),
                (other, _) => panic!("{other:?}"),
            }
        });
    }
}

#[test]
fn who_does_not_answer_is_named() {
    let (address, asked) = server(&[""]);
    let error = run(ask(address)).err().unwrap();
    assert_eq!(error.to_string(), "no answer to POST /predictions");
    // Then it is gone.
    asked.join().unwrap();
    let error = run(get(address, "/health-check")).err().unwrap();
    assert!(error.to_string().contains("could not connect to 127.0.0.1"));
}

#[test]
fn a_prediction_is_canceled_by_its_id() {
    let (address, asked) = server(&[
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
    ]);
    assert!(run(cancel(address, "run")).unwrap());
    assert!(!run(cancel(address, "run")).unwrap());
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("post /predictions/run/cancel http/1.1\r\n"));
}
