//! Pushing to the registry that everybody runs, as Debian packages it, and pulling from there.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cog_image::registry::UploadOptions;
use cog_image::{ImageRef, Platform, StoredImage, validate};
use cog_testing::skip;

use super::{client, large_image, run};
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

#[test]
fn images_are_pushed_and_pulled_by_tag_and_digest() {
    if !have("docker-registry", "docker-registry") {
        return skip("docker-registry is not installed and cannot be");
    }
    let registry = Registry::start();
    let origin = test_store();
    let original = image(&origin, "hello");
    let (large_store, large, _) = large_image();
    let client = client();
    let reference =
        |rest: &str| -> ImageRef { format!("{}/team/{rest}", registry.address).parse().unwrap() };
    let in_pieces = UploadOptions {
        multipart_threshold: 100_000,
        chunk_size: 150_000,
        ..UploadOptions::default()
    };
    let platform = Platform::linux_amd64();
    run(async {
        let push = async |store: &TestStore, image: &StoredImage, rest: &str, options| {
            let target = reference(rest);
            client.push(store, image, &target, options, &|_| ()).await
        };
        let whole = UploadOptions::default();
        push(&origin, &original, "hello:1", &whole).await.unwrap();
        push(&origin, &original, "hello:1", &whole).await.unwrap();
        // Mounted.
        push(&origin, &original, "again:1", &whole).await.unwrap();
        push(&large_store, &large, "large:1", &in_pieces)
            .await
            .unwrap();
        for (rest, pushed) in [
            ("hello:1".to_owned(), &original),
            (format!("hello@{}", original.manifest.digest), &original),
            ("again:1".to_owned(), &original),
            ("large:1".to_owned(), &large),
        ] {
            let store = test_store();
            let pulled = client
                .pull(&store, &reference(&rest), &platform, &|_| ())
                .await
                .unwrap();
            assert_eq!(pulled.manifest.digest, pushed.manifest.digest);
            assert_eq!(pulled.layers, pushed.layers);
            assert!(validate(&store, &pulled.name).unwrap().is_sound());
        }
        let absent = reference("absent:1");
        let error = client
            .resolve(&test_store(), &absent, &platform)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no `"), "{error}");
    });
}

/// What it does with an upload that broke off is its own business; the image has to arrive.
#[test]
fn a_cut_on_the_way_is_survived() {
    if !have("docker-registry", "docker-registry") {
        return skip("docker-registry is not installed and cannot be");
    }
    let registry = Registry::start();
    let (store, large, _) = large_image();
    let front = cutting_proxy(&registry.address, 3, 200_000);
    let options = UploadOptions {
        back_off: Duration::from_millis(1),
        ..UploadOptions::default()
    };
    let target: ImageRef = format!("{front}/team/large:1").parse().unwrap();
    run(client().push(&store, &large, &target, &options, &|_| ())).unwrap();
    let reference: ImageRef = format!("{}/team/large:1", registry.address)
        .parse()
        .unwrap();
    let other = test_store();
    let platform = Platform::linux_amd64();
    let pulled = run(client().pull(&other, &reference, &platform, &|_| ())).unwrap();
    assert_eq!(pulled.manifest.digest, large.manifest.digest);
}

/// Passes connections on to `address`. The first ones that send more than `bytes` break there, `times` times.
fn cutting_proxy(address: &str, times: usize, bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().to_string();
    let target = address.to_owned();
    let left = Arc::new(AtomicUsize::new(times));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&target).unwrap();
            let left = Arc::clone(&left);
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut passed = 0;
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                    passed += read;
                    let may_cut = passed > bytes;
                    let take_one = |left: usize| left.checked_sub(1);
                    if may_cut
                        && left
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                            .is_ok()
                    {
                        break;
                    }
                }
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
            let (mut from, mut to) = (server, client);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
    own
}
