use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;
use crate::registry::Keychain;

/// A request as a server sees it: request line, `Authorization`, body.
type Seen = (String, Option<String>, String);

/// Answers one request after the other; `answers` are whole responses in which `HOST` is the server's address.
fn server(answers: Vec<&'static str>) -> (String, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, seen) = mpsc::channel();
    let host = address.clone();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            sender.send(read(&stream)).unwrap();
            let answer = answer.replace("HOST", &host);
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, seen)
}

fn read(stream: &TcpStream) -> Seen {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let (mut authorization, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                authorization = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let first = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    (first, authorization, String::from_utf8(body).unwrap())
}

fn transport() -> Transport {
    Transport::new(ClientOptions {
        keychain: Keychain::empty(),
        back_off: Duration::from_millis(1),
        ..ClientOptions::default()
    })
    .unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[test]
fn bodies_are_sent_again_after_challenges_and_trouble() {
    let token =
        "HTTP/1.1 200 OK\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{\"token\":\"good\"}";
    let (registry, seen) = server(vec![
        "HTTP/1.1 401 X\r\nwww-authenticate: Bearer realm=\"http://HOST/token\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        token,
        "HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 201 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    ]);
    let request = Request {
        method: Method::PUT,
        scopes: vec![
            "repository:a/b:pull,push".into(),
            "repository:c:pull".into(),
        ],
        body: Some(Arc::new(|| "the body".into())),
        ..Request::get(&registry, "a/b", "manifests/1".into(), "a/b:1".into())
    };
    let response = run(transport().send(&request)).unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let seen: Vec<Seen> = seen.try_iter().collect();
    let put = |authorization: Option<&str>| {
        (
            "PUT /v2/a/b/manifests/1".to_owned(),
            authorization.map(str::to_owned),
            "the body".to_owned(),
        )
    };
    assert_eq!(seen[0], put(None));
    assert_eq!(
        seen[1].0,
        "GET /token?scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull"
    );
    assert_eq!(
        seen[2..],
        [put(Some("Bearer good")), put(Some("Bearer good"))]
    );
}

#[test]
fn a_token_allows_what_it_was_fetched_for_and_nothing_else() {
    let (registry, seen) = server(vec![EMPTY, EMPTY, EMPTY]);
    let transport = transport();
    let pull = Request::get(&registry, "a/b", "tags/list".into(), "a/b".into());
    let push = Request {
        scopes: vec!["repository:a/b:pull,push".into()],
        ..pull.clone()
    };
    transport
        .tokens()
        .insert(key(&pull), Authorization("Bearer pull".into()));
    // As registries name the place of an upload.
    let elsewhere = Request {
        path: format!(
            "http://localhost:{}/upload",
            registry.rsplit_once(':').unwrap().1
        ),
        ..pull.clone()
    };
    run(async {
        for request in [&pull, &push, &elsewhere] {
            transport.send(request).await.unwrap();
        }
    });
    let seen: Vec<_> = seen
        .try_iter()
        .map(|(line, authorization, _)| (line, authorization))
        .collect();
    let tags = "GET /v2/a/b/tags/list".to_owned();
    assert_eq!(
        seen,
        [
            (tags.clone(), Some("Bearer pull".to_owned())),
            (tags, None),
            ("GET /upload".to_owned(), None),
        ]
    );
}

#[test]
fn pauses_double_up_to_a_limit() {
    let transport = Transport::new(ClientOptions::default()).unwrap();
    let base = transport.options().back_off;
    assert_eq!(transport.back_off(1), base);
    assert_eq!(transport.back_off(3), base * 4);
    assert_eq!(transport.back_off(u32::MAX), MAX_PAUSE);
}

#[test]
fn a_document_that_trickles_in_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read(&stream);
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let transport = Transport::new(ClientOptions {
        keychain: Keychain::empty(),
        document_limit: Duration::from_millis(300),
        ..ClientOptions::default()
    });
    let request = Request::get(&registry, "a/b", "manifests/1".into(), "a/b:1".into());
    let error = run(transport.unwrap().read(&request, 1 << 20)).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("it has not come to its end"), "{said}");
}
