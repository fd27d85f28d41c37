//! What registries answer, told apart.

use std::net::TcpListener;

use cog_errors::Colour;
use cog_image::registry::{Lookup, Memory, RegistryError};
use cog_image::{ImageRef, Platform, Store};
use cog_testing::skip;

use super::{client, large_image, run};
use crate::server::{Answer, Content, Server};
use crate::support::test_store;

fn look(store: &Store, reference: &ImageRef, memory: Memory) -> cog_image::Result<Lookup> {
    let platform = Platform::linux_amd64();
    run(client().lookup(store, reference, &platform, memory))
}

fn look_up(store: &Store, server: &Server) -> Lookup {
    look(store, &server.reference("a/b:1"), Memory::Use).unwrap()
}

#[test]
fn an_image_is_found_by_its_manifest_and_config() {
    let (_origin, original, content) = large_image();
    let server = Server::start(content);
    let store = test_store();
    let found = look_up(&store, &server);
    assert!(found.problem().is_none());
    assert!(found.to_string().ends_with("` is there"), "{found}");
    let Lookup::Found(image) = found else {
        panic!("{found}")
    };
    assert_eq!(image.digest, original.manifest.digest);
    assert_eq!(image.layers, original.layers);
    let blob = |digest| format!("GET /v2/a/b/blobs/{digest}");
    assert_eq!(
        server.log(),
        [
            "GET /v2/a/b/manifests/1".to_owned(),
            blob(original.config_blob.digest)
        ]
    );
}

#[test]
fn each_answer_has_its_name() {
    let server = Server::start(Content::default());
    let absent = look_up(&test_store(), &server);
    assert!(matches!(absent, Lookup::NotFound(_)), "{absent}");
    assert_eq!(server.log().len(), 1);

    for status in [401, 403] {
        let server = Server::start_with(Content::default(), move |_, _| {
            let challenge = r#"Basic realm="x""#;
            Some(Answer::status(status).with("WWW-Authenticate", challenge))
        });
        let refused = look_up(&test_store(), &server);
        assert!(matches!(refused, Lookup::Refused(_)), "{refused}");
        assert!(refused.to_string().contains("refuses access"), "{refused}");
        assert_eq!(server.log().len(), 1);
    }

    let (_origin, _original, content) = large_image();
    let server = Server::start(content);
    let index = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    let mut content = Content::default();
    content.put("/v2/a/b/manifests/1".into(), "application/json", index);
    drop(server);
    let server = Server::start(content);
    let unfit = look_up(&test_store(), &server);
    assert!(matches!(unfit, Lookup::NotFound(_)), "{unfit}");
    assert!(unfit.to_string().contains("not available for linux/amd64"));

    // A registry's own trouble says nothing about the image.
    let server = Server::start_with(Content::default(), |_, _| Some(Answer::status(500)));
    let error = look(&test_store(), &server.reference("a/b:1"), Memory::Use).unwrap_err();
    assert!(error.to_string().contains("answered 500"), "{error}");
}

#[test]
fn what_a_registry_says_is_on_one_line() {
    const FORGED: &str = r"x\nfake: pushed";
    let (store, image, _content) = large_image();
    let manifest = fs_err::read_to_string(store.blob_path(&image.manifest.digest)).unwrap();
    let layer = &image.layers[0].blob.media_type;
    let digest = image.layers[0].blob.digest.to_string();
    let kind = &image.manifest.media_type;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":1,
            "platform":{{"os":"{FORGED}","architecture":"arm","variant":"{FORGED}"}}}}]}}"#
    );
    for document in [
        index.clone(),
        index.replace(&digest, FORGED),
        manifest.replace(layer.as_str(), FORGED),
        manifest.replace(&digest, FORGED),
    ] {
        let (_origin, _image, mut content) = large_image();
        let path = "/v2/a/b/manifests/1";
        content.put(path.into(), "application/json", document.into_bytes());
        let server = Server::start(content);
        let said = match look(&test_store(), &server.reference("a/b:1"), Memory::Use) {
            Ok(found) => found.to_string(),
            Err(error) => cog_errors::render(&error, None, Colour::Off),
        };
        assert!(said.contains(FORGED) && !said.contains('\n'), "{said}");
    }
    let server = Server::start_with(Content::default(), |_, _| {
        let refusal = format!(r#"{{"errors":[{{"code":"DENIED","message":"{FORGED}"}}]}}"#);
        let answer = Answer::status(500);
        Some(Answer {
            status: answer.status,
            ..Answer::ok(refusal)
        })
    });
    let error = look(&test_store(), &server.reference("a/b:1"), Memory::Use).unwrap_err();
    let said = cog_errors::render(&error, None, Colour::Off);
    assert!(
        said.contains("fake: pushed") && !said.contains('\n'),
        "{said}"
    );
}

#[test]
fn silence_is_remembered_for_a_while() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reference: ImageRef = format!("{address}/a/b:1").parse().unwrap();
    let store = test_store();
    let silent = look(&store, &reference, Memory::Use).unwrap();
    let Lookup::Unreachable(error @ RegistryError::NoConnection { .. }) = &silent else {
        panic!("{silent}")
    };
    assert!(error.is_unreachable() && error.hint().is_some());
    assert!(
        silent
            .to_string()
            .starts_with(&format!("could not reach {address}: ")),
        "{silent}"
    );

    // It comes up, but nobody looks until told to.
    let (_origin, _original, content) = large_image();
    let Some(server) = Server::start_at(&address.to_string(), content) else {
        return skip("another program took the port");
    };
    let still = look(&store, &reference, Memory::Use).unwrap();
    assert!(matches!(still, Lookup::Unreachable(_)), "{still}");
    assert_eq!(server.log().len(), 0);
    let found = look(&store, &reference, Memory::Ignore).unwrap();
    assert!(matches!(found, Lookup::Found(_)), "{found}");
}

#[test]
fn a_registry_at_the_ipv6_loopback_is_spoken_to_without_tls() {
    let (_origin, original, content) = large_image();
    let Some(server) = Server::start_at("[::1]:0", content) else {
        return skip("this machine has no IPv6 loopback");
    };
    let store = test_store();
    let pulled = store
        .pull(&server.reference("a/b:1"), &Platform::linux_amd64())
        .unwrap();
    assert_eq!(pulled.manifest.digest, original.manifest.digest);
    assert!(matches!(look_up(&store, &server), Lookup::Found(_)));
}
