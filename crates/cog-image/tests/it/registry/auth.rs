//! Registries that want to know who asks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use cog_image::Error;
use cog_image::registry::{Keychain, RegistryError};

use super::{client_with, is_layer, large_image, pull, pull_with};
use crate::server::{Answer, Content, Request, Server};
use crate::support::{TestStore, test_store};

fn keychain(dir: &TestStore, text: &str) -> Keychain {
    let path: PathBuf = dir.dir.path().join("config.json");
    fs_err::write(&path, text).unwrap();
    Keychain::files(vec![path])
}

/// `{"auths": {<address>: {"auth": "user:secret"}}}`
fn user_and_secret(dir: &TestStore, server: &Server) -> Keychain {
    let auths = serde_json::json!({"auths": {&server.address: {"auth": "dXNlcjpzZWNyZXQ="}}});
    keychain(dir, &auths.to_string())
}

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// A registry that wants a token from its own `/token`, which `issue` hands out.
fn token_server(
    content: Content,
    issue: impl Fn(&Request) -> Option<String> + Send + Sync + 'static,
) -> Server {
    Server::start_with(content, move |request, _| {
        if request.path.starts_with("/token") {
            return Some(match issue(request) {
                Some(token) => Answer::ok(serde_json::json!({"token": token}).to_string()),
                None => Answer::status(401),
            });
        }
        if request.header("authorization") == Some("Bearer good") {
            return None;
        }
        let host = request.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="test""#);
        Some(Answer::status(401).with("WWW-Authenticate", challenge))
    })
}

#[test]
fn tokens_are_fetched_once_and_used() {
    let (_origin, _original, content) = large_image();
    let server = token_server(content, |request| {
        (request.header("authorization") == Some(BASIC)).then(|| "good".into())
    });
    let store = test_store();
    let client = client_with(user_and_secret(&store, &server));
    pull_with(&client, &store, &server, "a/b:1").unwrap();
    let log = server.log();
    let tokens: Vec<_> = log.iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(
        tokens,
        ["GET /token?service=test&scope=repository%3Aa%2Fb%3Apull"]
    );
    assert_eq!(
        log.iter()
            .filter(|line| line.contains("/manifests/"))
            .count(),
        2
    );
}

#[test]
fn anonymous_tokens_need_no_credentials() {
    let (_origin, _original, content) = large_image();
    let server = token_server(content, |request| {
        request
            .header("authorization")
            .is_none()
            .then(|| "good".into())
    });
    pull(&test_store(), &server, "a/b:1").unwrap();
}

#[test]
fn identity_tokens_are_exchanged() {
    let (_origin, _original, content) = large_image();
    let server = token_server(content, |request| {
        let good = request.method == "POST" && request.body.contains("refresh_token=long-lived");
        good.then(|| "good".into())
    });
    let store = test_store();
    let auths = serde_json::json!({"auths": {&server.address: {"identitytoken": "long-lived"}}});
    let client = client_with(keychain(&store, &auths.to_string()));
    pull_with(&client, &store, &server, "a/b:1").unwrap();
}

#[test]
fn refused_credentials_are_reported_without_secrets() {
    for issued in [None, Some("bad".to_owned())] {
        let server = token_server(Content::default(), move |_| issued.clone());
        let store = test_store();
        let client = client_with(user_and_secret(&store, &server));
        let error = pull_with(&client, &store, &server, "a/b:1").unwrap_err();
        assert!(
            matches!(error, Error::Registry(RegistryError::Unauthorized { .. })),
            "{error}"
        );
        let shown = format!("{error} {error:?} {client:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("dXNlcj"),
            "{shown}"
        );
        assert!(server.log().len() <= 3, "{:?}", server.log());
    }
}

#[test]
fn an_expired_token_is_renewed() {
    let (_origin, _original, content) = large_image();
    let uses = AtomicUsize::new(0);
    let server = Server::start_with(content, move |request, _| {
        let host = request.header("host").unwrap();
        if request.path.starts_with("/token") {
            return Some(Answer::ok(r#"{"access_token":"good"}"#));
        }
        let known = request.header("authorization").is_some();
        // Every second use is one too many.
        if known && uses.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return None;
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token""#);
        Some(Answer::status(401).with("WWW-Authenticate", challenge))
    });
    pull(&test_store(), &server, "a/b:1").unwrap();
}

#[test]
fn basic_authentication_works() {
    let (_origin, _original, content) = large_image();
    let server = Server::start_with(content, |request, _| {
        let challenge = Answer::status(401).with("WWW-Authenticate", "Basic realm=\"x\"");
        (request.header("authorization") != Some(BASIC)).then_some(challenge)
    });
    let store = test_store();
    let client = client_with(user_and_secret(&store, &server));
    pull_with(&client, &store, &server, "a/b:1").unwrap();
    let error = pull(&test_store(), &server, "a/b:1")
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("it wants a user and a password"), "{error}");
}

#[test]
fn credentials_do_not_follow_redirects() {
    let (origin, original, content) = large_image();
    let blob = fs_err::read(origin.blob_path(&original.layers[0].blob.digest)).unwrap();
    let storage = Server::start_with(Content::default(), move |_, _| {
        Some(Answer::ok(blob.clone()))
    });
    let target = format!(
        "http://{}/signed?key=1",
        storage.address.replace("127.0.0.1", "localhost")
    );
    let layer = original.clone();
    let server = Server::start_with(content, move |request, _| {
        if request.header("authorization") != Some(BASIC) {
            return Some(Answer::status(401).with("WWW-Authenticate", "Basic"));
        }
        is_layer(request, &layer).then(|| Answer::status(307).with("Location", target.clone()))
    });
    let store = test_store();
    let client = client_with(user_and_secret(&store, &server));
    pull_with(&client, &store, &server, "a/b:1").unwrap();
    let requests = storage.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), None);
}
