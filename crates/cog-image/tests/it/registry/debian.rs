//! Pulling from the registry that everybody runs, as Debian packages it.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cog_image::registry::{Client, ClientOptions, Keychain};
use cog_image::{ImageRef, Platform, StoredImage, validate};
use cog_testing::skip;

use crate::support::{TestStore, have, image, test_store};

struct Registry {
    process: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let config = serde_json::json!({
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("data")}},
            "http": {"addr": address},
        });
        // JSON is YAML.
        let path = dir.path().join("config.yml");
        fs_err::write(&path, config.to_string()).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "docker-registry did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            address,
            _dir: dir,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Uploads by plain requests, as the distribution specification has them.
async fn seed(registry: &Registry, store: &TestStore, image: &StoredImage, repository: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let base = format!("http://{}/v2/{repository}", registry.address);
    let blobs = image
        .layers
        .iter()
        .map(|layer| &layer.blob)
        .chain([&image.config_blob]);
    for blob in blobs {
        let begun = http
            .post(format!("{base}/blobs/uploads/"))
            .send()
            .await
            .unwrap();
        let location = begun.headers()["location"].to_str().unwrap().to_owned();
        let mut url = reqwest::Url::parse(&location).unwrap();
        url.query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let content = fs_err::read(store.blob_path(&blob.digest)).unwrap();
        let done = http.put(url).body(content).send().await.unwrap();
        assert_eq!(done.status(), 201);
    }
    let manifest = fs_err::read(store.blob_path(&image.manifest.digest)).unwrap();
    let done = http
        .put(format!("{base}/manifests/1"))
        .header("Content-Type", &image.manifest.media_type)
        .body(manifest)
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), 201, "{}", done.text().await.unwrap());
}

#[test]
fn images_are_pulled_by_tag_and_digest() {
    if !have("docker-registry", "docker-registry") {
        return skip("docker-registry is not installed and cannot be");
    }
    let registry = Registry::start();
    let origin = test_store();
    let original = image(&origin, "hello");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        seed(&registry, &origin, &original, "team/hello").await;
        let options = ClientOptions {
            keychain: Keychain::empty(),
            ..ClientOptions::default()
        };
        let client = Client::new(options).unwrap();
        for version in [":1".to_owned(), format!("@{}", original.manifest.digest)] {
            let store = test_store();
            let reference: ImageRef = format!("{}/team/hello{version}", registry.address)
                .parse()
                .unwrap();
            let platform = Platform::linux_amd64();
            let pulled = client
                .pull(&store, &reference, &platform, &|_| ())
                .await
                .unwrap();
            assert_eq!(pulled.manifest.digest, original.manifest.digest);
            assert_eq!(pulled.layers, original.layers);
            assert!(validate(&store, &pulled.name).unwrap().is_sound());
        }
        let absent: ImageRef = format!("{}/team/absent:1", registry.address)
            .parse()
            .unwrap();
        let error = client
            .resolve(&test_store(), &absent, &Platform::linux_amd64())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no `"), "{error}");
    });
}
