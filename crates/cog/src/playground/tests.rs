//! The whole server, asked over sockets of this machine; a peer elsewhere is only said to be there.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::sync::mpsc;
use std::time::Instant;

use reqwest::{Client, RequestBuilder};

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const TARGET: &str = "x-cog-target";

fn playground() -> Playground {
    let listener = listen(([127, 0, 0, 1], 0).into(), "--port").unwrap();
    let settings = Settings {
        target: "http://localhost:8393".into(),
        webhook_host: "host.docker.internal".into(),
    };
    Playground::start(listener, &settings).unwrap()
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let redirects = reqwest::redirect::Policy::none();
    let builder = Client::builder().no_proxy().redirect(redirects);
    builder.timeout(PATIENCE).build().unwrap()
}

fn get(playground: &Playground, path: &str) -> RequestBuilder {
    client().get(format!("{}{path}", playground.url()))
}

fn post(playground: &Playground, path: &str) -> RequestBuilder {
    client().post(format!("{}{path}", playground.url()))
}

/// A model's server: answers one request, and tells what it was asked, header names in small letters.
fn upstream(answer: &'static [u8]) -> (String, mpsc::Receiver<String>) {
    upstream_that(move |mut stream| stream.write_all(answer).unwrap())
}

fn upstream_that(
    answer: impl FnOnce(StdStream) + Send + 'static,
) -> (String, mpsc::Receiver<String>) {
    let listener = StdListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut asked, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some((name, value)) => {
                    let name = name.to_lowercase();
                    if name == "content-length" {
                        length = value.trim().parse().unwrap();
                    }
                    asked.extend([&name, ": ", value]);
                }
                None => asked += &line,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        tell.send(asked + std::str::from_utf8(&body).unwrap())
            .unwrap();
        answer(stream);
    });
    (url, told)
}

/// The server as it is for somebody elsewhere.
async fn seen_from(peer: &str) -> (Arc<Shared>, String) {
    let shared = Arc::new(Shared {
        config: "{}".into(),
        proxy: Proxy::default(),
        relay: Relay::default(),
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (peer, served) = (peer.parse().unwrap(), Arc::clone(&shared));
    tokio::spawn(async move {
        let (_stop, stopping) = watch::channel(());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(attend(stream, peer, Arc::clone(&served), stopping.clone()));
        }
    });
    (shared, url)
}

#[tokio::test]
async fn the_page_and_its_settings_are_served() {
    let playground = playground();
    let page = get(&playground, "/").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await.unwrap();
    assert!(page.contains("Cog Playground"), "{page}");
    for asset in [
        "/playground/app.js",
        "/playground/app.css",
        "/playground/worker.js",
    ] {
        let is_named = page.contains(&format!("\"{}\"", &asset[1..]));
        assert!(is_named || asset.ends_with("worker.js"), "{asset}");
        assert_eq!(
            get(&playground, asset).send().await.unwrap().status(),
            200,
            "{asset}"
        );
    }
    for elsewhere in ["src=\"http", "href=\"http", "@import", "<script>"] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    let config = get(&playground, "/config").send().await.unwrap();
    let config: serde_json::Value = serde_json::from_str(&config.text().await.unwrap()).unwrap();
    let port = playground.address.port();
    let expected = json!({
        "target": "http://localhost:8393",
        "webhookBase": format!("http://host.docker.internal:{port}"),
        "cogVersion": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(config, expected);
    assert_eq!(
        post(&playground, "/config").send().await.unwrap().status(),
        405
    );
    assert_eq!(
        get(&playground, "/../config")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        get(&playground, "/nothing").send().await.unwrap().status(),
        404
    );
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_the_page_to_itself() {
    let playground = playground();
    let (url, _asked) = upstream(
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-security-policy: default-src *\r\n\
          x-frame-options: ALLOWALL\r\nreferrer-policy: unsafe-url\r\n\r\n",
    );
    for request in [
        get(&playground, "/"),
        get(&playground, "/playground/app.js"),
        get(&playground, "/config"),
        get(&playground, "/nothing"),
        get(&playground, "/events"),
        get(&playground, "/webhook/x"),
        get(&playground, "/").header("host", "example.com"),
        post(&playground, "/"),
        get(&playground, "/proxy/"),
        get(&playground, "/proxy/").header(TARGET, url),
    ] {
        let response = request.send().await.unwrap();
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'self'",
            "script-src 'self'",
            "connect-src 'self'",
            "worker-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(
                policy.split("; ").any(|one| one == part),
                "{part}: {policy}"
            );
        }
        assert!(!policy.contains("eval"), "{policy}");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["cache-control"], "no-store");
    }
    let worker = get(&playground, "/playground/worker.js")
        .send()
        .await
        .unwrap();
    let policy = worker.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.contains("connect-src 'none'"), "{policy}");
}

#[tokio::test]
async fn only_webhooks_come_from_elsewhere() {
    let (shared, url) = seen_from("192.0.2.10").await;
    let ask = |path: &str| {
        client()
            .get(format!("{url}{path}"))
            .header(TARGET, url.clone())
    };
    for path in [
        "/",
        "/playground/app.js",
        "/config",
        "/proxy/openapi.json",
        "/events?token=t",
        "/x",
    ] {
        let response = ask(path).send().await.unwrap();
        assert_eq!(response.status(), 403, "{path}");
        assert_eq!(response.text().await.unwrap(), access::REFUSAL);
    }
    let events = shared.relay.events(Some("token=t"));
    assert_eq!(events.status(), 200);
    let delivered = client()
        .post(format!("{url}/webhook/t"))
        .body("{}")
        .send()
        .await;
    assert_eq!(delivered.unwrap().status(), 200);
}

#[tokio::test]
async fn other_sites_and_names_get_nothing() {
    let playground = playground();
    for (name, value) in [
        ("host", "rebound.example.com"),
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for path in ["/", "/config", "/proxy/openapi.json"] {
            let request = get(&playground, path).header(name, value);
            let response = request.header(TARGET, "http://127.0.0.1:1").send().await;
            assert_eq!(response.unwrap().status(), 403, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn requests_reach_the_server_that_they_name() {
    let playground = playground();
    let (url, asked) = upstream(
        b"HTTP/1.1 418 I'm a teapot\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\
          connection: x-private\r\nx-private: 1\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n\
          clear-site-data: \"*\"\r\nservice-worker-allowed: /\r\ncache-control: max-age=60\r\n\
          x-cog-upstream-headers: forged\r\nx-own: yes\r\n\r\nnull",
    );
    let request = client()
        .put(format!(
            "{}/proxy/predictions/a%2Fb?foo=bar&target=x",
            playground.url()
        ))
        .header(TARGET, format!("{url}/base/"))
        .header("authorization", "Bearer secret")
        .header("cookie", "session=1")
        .header("origin", playground.url())
        .header("referer", playground.url())
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("prefer", "respond-async")
        .body("{\"input\":{}}");
    let response = request.send().await.unwrap();
    let asked = asked.recv_timeout(PATIENCE).unwrap();
    let line = "PUT /base/predictions/a%2Fb?foo=bar&target=x HTTP/1.1\r\n";
    assert!(asked.starts_with(line), "{asked}");
    assert!(asked.ends_with("{\"input\":{}}"), "{asked}");
    assert!(asked.contains("prefer: respond-async\r\n"), "{asked}");
    let host = url.trim_start_matches("http://");
    assert!(asked.contains(&format!("host: {host}\r\n")), "{asked}");
    for lost in [
        TARGET,
        "authorization",
        "cookie",
        "origin",
        "referer",
        "x-hop",
    ] {
        assert!(!asked.contains(&format!("\n{lost}: ")), "{lost}: {asked}");
    }
    assert_eq!(response.status(), 418);
    let headers = response.headers().clone();
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-own"], "yes");
    for lost in [
        "set-cookie",
        "clear-site-data",
        "service-worker-allowed",
        "x-private",
    ] {
        assert!(!headers.contains_key(lost), "{lost}");
    }
    let shown = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        headers["x-cog-upstream-headers"].as_bytes(),
    );
    let shown: serde_json::Value = serde_json::from_slice(&shown.unwrap()).unwrap();
    assert_eq!(shown["Set-Cookie"], json!(["a=b", "c=d"]));
    assert_eq!(shown["Cache-Control"], json!(["max-age=60"]));
    assert_eq!(shown.get("X-Cog-Upstream-Headers"), None);
    assert_eq!(response.text().await.unwrap(), "null");
}

#[tokio::test]
async fn headers_of_any_name_are_returned_unless_browsers_act_on_them() {
    const LOST: [&str; 35] = [
        "Accept-CH",
        "Attribution-Reporting-Register-Source",
        "Cross-Origin-Resource-Policy",
        "Origin-Trial",
        "Public-Key-Pins",
        "Sec-Session-Registration",
        "Set-Login",
        "Timing-Allow-Origin",
        "Use-As-Dictionary",
        "X-Robots-Tag",
        "Access-Control-Allow-Credentials",
        "Access-Control-Allow-Origin",
        "Alt-Svc",
        "Authentication-Info",
        "Clear-Site-Data",
        "Content-Security-Policy-Report-Only",
        "Cross-Origin-Opener-Policy",
        "Link",
        "NEL",
        "No-Vary-Search",
        "Origin-Agent-Cluster",
        "Permissions-Policy",
        "Proxy-Authenticate",
        "Refresh",
        "Report-To",
        "Reporting-Endpoints",
        "Service-Worker-Allowed",
        "Set-Cookie",
        "SourceMap",
        "Speculation-Rules",
        "Strict-Transport-Security",
        "WWW-Authenticate",
        "X-Content-Security-Policy",
        "X-SourceMap",
        "X-WebKit-CSP",
    ];
    const KEPT: [&str; 18] = [
        "Age",
        "Allow",
        "Content-Digest",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Range",
        "Content-Type",
        "ETag",
        "Expires",
        "Idempotency-Key",
        "Inference-Time",
        "OpenAI-Processing-Ms",
        "Preference-Applied",
        "RateLimit-Remaining",
        "Retry-After",
        "Server-Timing",
        "X-Model",
        "X-Request-ID",
    ];
    let playground = playground();
    let (url, _asked) = upstream_that(|mut stream| {
        let lines = LOST.iter().chain(&KEPT);
        let lines: Vec<String> = lines.map(|name| format!("{name}: theirs\r\n")).collect();
        let headers = lines.concat();
        write!(
            stream,
            "HTTP/1.1 401 Unauthorized\r\n{headers}\
             Content-Security-Policy: theirs\r\nX-Frame-Options: theirs\r\n\
             Referrer-Policy: theirs\r\n\
             Cache-Control: theirs\r\nContent-Length: 2\r\n\r\n{{}}"
        )
        .unwrap();
    });
    let request = get(&playground, "/proxy/health-check").header(TARGET, url);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 401);
    let headers = response.headers();
    for name in LOST {
        assert!(!headers.contains_key(name), "{name}");
    }
    for name in KEPT {
        assert_eq!(headers[name], "theirs", "{name}");
    }
    assert_eq!(headers["content-length"], "2");
    for name in [
        "cache-control",
        "content-security-policy",
        "referrer-policy",
        "x-frame-options",
    ] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert!(values.len() == 1 && values[0] != "theirs", "{name}");
    }
    let shown = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        headers["x-cog-upstream-headers"].as_bytes(),
    );
    let shown: serde_json::Value = serde_json::from_slice(&shown.unwrap()).unwrap();
    assert_eq!(shown["Www-Authenticate"], json!(["theirs"]));
    assert_eq!(shown["Content-Security-Policy"], json!(["theirs"]));
}

#[tokio::test]
async fn redirects_lead_nowhere() {
    let playground = playground();
    let (url, _asked) = upstream(
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    );
    let response = get(&playground, "/proxy/")
        .header(TARGET, url)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 302);
    assert!(!response.headers().contains_key("location"));
    // One that is no redirect is the name of what was made.
    let (url, _asked) =
        upstream(b"HTTP/1.1 201 Created\r\nlocation: /it\r\ncontent-length: 0\r\n\r\n");
    let response = get(&playground, "/proxy/")
        .header(TARGET, url)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["location"], "/it");
}

#[tokio::test]
async fn too_many_headers_are_not_shown() {
    let playground = playground();
    let (url, _asked) = upstream_that(|mut stream| {
        let large = "x".repeat(12 << 10);
        let headers = format!("x-a: {large}\r\nb: {large}\r\ncontent-length: 0\r\n");
        write!(stream, "HTTP/1.1 200 OK\r\n{headers}\r\n").unwrap();
    });
    let response = get(&playground, "/proxy/")
        .header(TARGET, url)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-a"].len(), 12 << 10);
    assert!(!response.headers().contains_key("x-cog-upstream-headers"));
}

#[tokio::test]
async fn what_is_no_target_is_refused() {
    let playground = playground();
    let dead = {
        let listener = StdListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for (target, status, error) in [
        (None, 400, "no target API set"),
        (Some("ftp://localhost/"), 400, "invalid target API URL"),
        (Some("garbage"), 400, "invalid target API URL"),
        (
            Some("http://user:pw@localhost/"),
            400,
            "invalid target API URL",
        ),
        (Some("http://localhost/#x"), 400, "invalid target API URL"),
        (Some("http://é/"), 400, "invalid target API URL"),
        (Some(dead.as_str()), 502, "cannot reach target API: "),
    ] {
        // One in the query is none.
        let mut request = get(&playground, &format!("/proxy/openapi.json?target={dead}"));
        if let Some(target) = target {
            request = request.header(TARGET, target.as_bytes());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{target:?}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body: serde_json::Value =
            serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let said = body["error"].as_str().unwrap();
        assert!(said.starts_with(error), "{said}");
        assert!(!said.contains("pw"), "{said}");
    }
}

#[tokio::test]
async fn events_of_a_model_come_as_they_are_sent() {
    let playground = playground();
    let (go_on, wait) = mpsc::channel::<()>();
    let (url, _asked) = upstream_that(move |mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        write!(stream, "{head}event: output\ndata: 1\n\n").unwrap();
        wait.recv_timeout(PATIENCE).unwrap();
        write!(stream, "event: completed\ndata: 2\n\n").unwrap();
    });
    let request = post(&playground, "/proxy/predictions").header(TARGET, url);
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(
        response.chunk().await.unwrap().unwrap(),
        "event: output\ndata: 1\n\n"
    );
    go_on.send(()).unwrap();
    assert_eq!(
        response.chunk().await.unwrap().unwrap(),
        "event: completed\ndata: 2\n\n"
    );
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn who_leaves_is_not_waited_for_by_the_model() {
    let playground = playground();
    let (tell, told) = mpsc::channel();
    let (url, asked) = upstream_that(move |mut stream| {
        // The end of what is sent here is the end of the connection.
        let ended = stream.read(&mut [0; 8]);
        tell.send(matches!(ended, Ok(0) | Err(_))).unwrap();
    });
    let request = post(&playground, "/proxy/predictions")
        .header(TARGET, url)
        .body("{}");
    let waiting = tokio::spawn(request.send());
    tokio::task::spawn_blocking(move || asked.recv_timeout(PATIENCE).unwrap())
        .await
        .unwrap();
    waiting.abort();
    let ended = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE)).await;
    assert!(ended.unwrap().unwrap());
}

#[tokio::test]
async fn webhooks_reach_the_page_that_waits_for_them() {
    let playground = playground();
    let deliver = |token: &str| post(&playground, &format!("/webhook/{token}"));
    assert_eq!(deliver("t").body("{}").send().await.unwrap().status(), 503);
    let mut events = get(&playground, "/events?token=t").send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let delivered = deliver("t")
        .body("{\"a\":1,\r\n\"b\":2}")
        .send()
        .await
        .unwrap();
    assert_eq!(delivered.status(), 200);
    assert_eq!(delivered.text().await.unwrap(), "{}");
    let event = events.chunk().await.unwrap().unwrap();
    assert_eq!(event, "data: {\"a\":1,\ndata: \"b\":2}\n\n");
    let get_it = get(&playground, "/webhook/t").send().await.unwrap();
    assert_eq!(
        (get_it.status().as_u16(), &get_it.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    for token in ["", "a/b", "a%2Fb", &"x".repeat(129)] {
        assert_eq!(
            deliver(token).send().await.unwrap().status(),
            404,
            "{token}"
        );
    }
    for query in ["", "?token=", "?other=t"] {
        let events = get(&playground, &format!("/events{query}"))
            .send()
            .await
            .unwrap();
        assert_eq!(events.status(), 400, "{query}");
    }
    let large = deliver("t")
        .body(vec![b'x'; (10 << 20) + 1])
        .send()
        .await
        .unwrap();
    assert_eq!(large.status(), 413);
    drop(events);
    let gone = async {
        while deliver("t").body("{}").send().await.unwrap().status() != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("who has left is forgotten");
}

#[tokio::test]
async fn deliveries_at_once_are_limited() {
    let playground = playground();
    let events = get(&playground, "/events?token=t").send().await.unwrap();
    let held: Vec<_> = (0..16)
        .map(|_| {
            let mut stream = StdStream::connect(playground.address).unwrap();
            let head = "POST /webhook/t HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let refused = async {
        // Not too many for the page to take, should they come before the others.
        for _ in 0..3 {
            let delivery = post(&playground, "/webhook/t").body("{}");
            if delivery.send().await.unwrap().status() == 429 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("one more was taken");
    };
    refused.await;
    drop((held, events));
}

#[tokio::test]
async fn the_end_waits_for_nobody_for_long() {
    let playground = playground();
    let mut events = get(&playground, "/events?token=t").send().await.unwrap();
    let idle = StdStream::connect(playground.address).unwrap();
    let (go_on, wait) = mpsc::channel::<()>();
    let (url, asked) = upstream_that(move |_stream| {
        let _ = wait.recv_timeout(PATIENCE);
    });
    let waiting = tokio::spawn(get(&playground, "/proxy/x").header(TARGET, url).send());
    tokio::task::spawn_blocking(move || asked.recv_timeout(PATIENCE).unwrap())
        .await
        .unwrap();
    let address = playground.address;
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || drop(playground))
        .await
        .unwrap();
    let took = begun.elapsed();
    assert!(took < SHUTDOWN_LIMIT + Duration::from_secs(5), "{took:?}");
    assert_eq!(events.chunk().await.unwrap(), None);
    assert!(waiting.await.unwrap().is_err());
    assert!(StdStream::connect(address).is_err());
    drop((idle, go_on));
}

#[test]
fn servers_that_would_have_one_port_clash() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (one, other, clashes) in [
        ("127.0.0.1:9000", "0.0.0.0:9000", true),
        ("[::]:9000", "127.0.0.1:9000", true),
        ("127.0.0.1:9000", "127.0.0.1:9000", true),
        ("127.0.0.1:9000", "192.168.1.1:9000", false),
        ("127.0.0.1:9000", "0.0.0.0:9001", false),
        ("0.0.0.0:0", "0.0.0.0:0", false),
    ] {
        assert_eq!(
            clash(address(one), address(other)),
            clashes,
            "{one} {other}"
        );
        assert_eq!(
            clash(address(other), address(one)),
            clashes,
            "{other} {one}"
        );
    }
}

#[test]
fn the_page_is_shown_where_a_browser_finds_it() {
    for (bound, shown) in [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("192.168.1.1:1", "192.168.1.1:1"),
    ] {
        assert_eq!(reachable(bound.parse().unwrap()).to_string(), shown);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    let playground = playground();
    let error = listen(playground.address, "--port").unwrap_err();
    let said = format!("{error:#}");
    assert!(said.starts_with("starting playground server: "), "{said}");
    assert!(said.contains("--port"), "{said}");
}
