//! Pulling from registries and pushing to them: misbehaving ones in this process, and a real one.

mod auth;
mod debian;
mod login;
mod lookup;
mod push;
mod several;
mod transfer;

use std::time::Duration;

use cog_image::registry::{Client, ClientOptions, Keychain};
use cog_image::{ImageConfig, Platform, Store, StoredImage};

use crate::server::{Content, Request, Server};
use crate::support::{TestStore, file, noise, options, test_store};

fn client_with(keychain: Keychain) -> Client {
    let back_off = Duration::from_millis(1);
    Client::new(ClientOptions {
        keychain,
        back_off,
        ..ClientOptions::default()
    })
    .unwrap()
}

pub(crate) fn client() -> Client {
    client_with(Keychain::empty())
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn pull_with(
    client: &Client,
    store: &Store,
    server: &Server,
    name: &str,
) -> cog_image::Result<StoredImage> {
    let reference = server.reference(name);
    run(client.pull(store, &reference, &Platform::linux_amd64(), &|_| ()))
}

fn pull(store: &Store, server: &Server, name: &str) -> cog_image::Result<StoredImage> {
    pull_with(&client(), store, server, name)
}

/// An image with a layer of half a megabyte, and content that serves it as `a/b:1`.
pub(crate) fn large_image() -> (TestStore, StoredImage, Content) {
    let store = test_store();
    let layer = file("weights", noise(500_000, 7));
    let layer = store
        .add_layer_from_entries(vec![layer], &options())
        .unwrap();
    let image = store
        .put_image("large", &ImageConfig::default(), &[layer])
        .unwrap();
    let mut content = Content::default();
    content.add(&store, &image, "a/b", "1");
    (store, image, content)
}

pub(crate) fn is_layer(request: &Request, image: &StoredImage) -> bool {
    request
        .path
        .contains(&image.layers[0].blob.digest.to_string())
}
