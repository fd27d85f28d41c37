//! Bases from registries.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use cog_build::{BaseChoice, BuildError};
use cog_image::{
    Entry, EntryKind, ExportOptions, ExportTarget, ImageConfig, ImportSource, LayerOptions, Store,
    StoredImage,
};
use cog_testing::skip;

use crate::support::{Project, network_is_missing, shared_store, skipped, store_at, text};

/// A registry with one image, which notes what it is asked for.
struct Registry {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// Serves `image` of `store` under every name.
    fn start(store: Store, image: StoredImage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(&stream, &store, &image, &seen);
            }
        });
        Self { address, requests }
    }

    fn saw(&self, text: &str) -> bool {
        self.requests
            .lock()
            .expect("no panic")
            .iter()
            .any(|request| request.contains(text))
    }
}

fn answer(
    mut stream: &TcpStream,
    store: &Store,
    image: &StoredImage,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    seen.lock().expect("no panic").push(request.clone());
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (digest, kind) = match path.rsplit_once("/blobs/") {
        Some((_, digest)) => (digest.parse().ok(), "application/octet-stream".to_owned()),
        None if path.contains("/manifests/") => (
            Some(image.manifest.digest),
            image.manifest.media_type.clone(),
        ),
        None => (None, String::new()),
    };
    let body = digest
        .and_then(|digest| fs_err::read(store.blob_path(&digest)).ok())
        .unwrap_or_default();
    let status = if digest.is_some() || path == "/v2/" {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// A base with a file where its Python would be, served from a registry of its own.
fn base(store: &Store, variables: &[(&str, &str)]) -> (Registry, StoredImage) {
    let python = Entry {
        path: "usr/bin/python3.11".into(),
        kind: EntryKind::Bytes(b"python".to_vec()),
        mode: 0o755,
    };
    let certificates = Entry {
        path: "etc/ssl/certs/ca-certificates.crt".into(),
        kind: EntryKind::Bytes(b"of the base\n".to_vec()),
        mode: 0o644,
    };
    let layer = store
        .add_layer_from_entries(vec![python, certificates], &LayerOptions::default())
        .expect("added");
    let mut config = ImageConfig::default();
    for (name, value) in variables {
        config.set_env(*name, *value);
    }
    config.labels.insert("vendor".into(), "test".into());
    let image = store.put_image("base:1", &config, &[layer]).expect("put");
    (Registry::start(store.clone(), image.clone()), image)
}

#[test]
fn layers_of_a_base_stay_in_its_registry_until_something_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let origin = store_at(&folder.path().join("origin"));
    let (registry, image) = base(
        &origin,
        &[("PYTHON_VERSION", "3.11.9"), ("LANG", "C.UTF-8")],
    );
    let store = store_at(&folder.path().join("store"));
    let project = Project::new();
    let mut request = project.request(&store, None);
    request.base = BaseChoice::Reference(format!("{}/base:1", registry.address));
    let built = match cog_build::build(&request, "test/image") {
        Err(error) if network_is_missing(&error) => return,
        result => result.expect("it builds"),
    };
    let layer = image.layers[0].blob.digest.to_string();
    assert!(!registry.saw(&layer), "the layer was fetched without need");
    assert_eq!(built.image.layers[0], image.layers[0]);
    let config = &built.image.config;
    assert_eq!(config.env_value("LANG"), Some("C.UTF-8"));
    assert_eq!(config.labels["vendor"], "test");
    assert!(config.labels["run.cog.cog-base-image-name"].contains("/base:1@sha256:"));

    let environment = cog_build::prepare(&request).expect("it is prepared");
    store
        .rootfs(&environment.layers)
        .expect("fetched and unpacked");
    assert!(registry.saw(&layer));
}

#[test]
fn an_image_on_a_base_that_is_still_in_its_registry_can_be_exported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let origin = store_at(&folder.path().join("origin"));
    let (registry, image) = base(&origin, &[("PYTHON_VERSION", "3.11.9")]);
    let store = store_at(&folder.path().join("store"));
    let project = Project::new();
    let mut request = project.request(&store, None);
    request.base = BaseChoice::Reference(format!("{}/base:1", registry.address));
    let built = match cog_build::build(&request, "test/image") {
        Err(error) if network_is_missing(&error) => return,
        result => result.expect("it builds"),
    };
    assert!(!store.has_blob(&image.layers[0].blob));
    let (path, options) = (folder.path().join("layout"), ExportOptions::default());
    cog_image::export(&store, &built.image, ExportTarget::OciDir, &path, &options)
        .expect("exported");
    let report = cog_image::validate_layout(ImportSource::OciDir, &path).expect("readable");
    assert!(report.is_sound(), "{report:?}");
}

/// The certificates come from a variable, which belongs to a whole process.
#[test]
fn certificates_are_added_to_a_base_that_is_still_in_its_registry() {
    const AUTHORITY: &str = include_str!("authority.pem");
    if std::env::var_os(cog_build::COG_CA_CERT).is_none() {
        let output = std::process::Command::new(std::env::current_exe().expect("known"))
            .args([
                "--exact",
                "bases::certificates_are_added_to_a_base_that_is_still_in_its_registry",
                "--nocapture",
            ])
            .env(cog_build::COG_CA_CERT, AUTHORITY)
            .output()
            .expect("this program runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{errors}");
        assert!(text.contains("1 passed"), "{text}");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let origin = store_at(&folder.path().join("origin"));
    let (registry, image) = base(&origin, &[("PYTHON_VERSION", "3.11.9")]);
    let store = store_at(&folder.path().join("store"));
    let project = Project::new();
    let mut request = project.request(&store, None);
    request.base = BaseChoice::Reference(format!("{}/base:1", registry.address));
    let built = match cog_build::build(&request, "test/image") {
        Err(error) if network_is_missing(&error) => return,
        result => result.expect("it builds"),
    };
    assert!(registry.saw(&image.layers[0].blob.digest.to_string()));
    let bundle = text(&store, &built, "etc/ssl/certs/ca-certificates.crt");
    assert_eq!(bundle, format!("of the base\n{AUTHORITY}"));
}

#[test]
fn a_base_must_have_the_python_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let origin = store_at(&folder.path().join("origin"));
    let (registry, _) = base(&origin, &[]);
    let store = store_at(&folder.path().join("store"));
    let mut project = Project::new();
    project.build_section().python_version.text = "3.12".into();
    let mut request = project.request(&store, None);
    request.base = BaseChoice::Reference(format!("{}/base:1", registry.address));
    let error = cog_build::build(&request, "test/image").expect_err("it has another Python");
    assert!(matches!(error, BuildError::NoPython { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.ends_with("has no Python 3.12, only `/usr/bin/python3.11`"),
        "{said}"
    );

    request.base = BaseChoice::Reference("127.0.0.1:1/base:1".into());
    let error = cog_build::build(&request, "test/image").expect_err("nobody listens");
    assert!(matches!(error, BuildError::NoRegistry { .. }), "{error}");
}

#[test]
fn the_debian_base_stands_in_where_no_registry_is_reached() {
    if skipped() {
        return;
    }
    let store = shared_store();
    let project = Project::new();
    let mut request = project.request(&store, Some(&cog_engine::Embedded));
    request.base = BaseChoice::Default;
    // Each choice is told of once, and the store is not new.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let host = format!("{}.invalid", now.expect("the clock is set").as_nanos());
    request.options.registry_host.clone_from(&host);
    let built = cog_build::build(&request, "test/default").expect("it builds");
    if project.events.warnings().is_empty() {
        skip("a registry can be reached");
        return;
    }
    assert_eq!(
        project.events.warnings(),
        [format!(
            "no registry can be reached for `{host}/cog-base:python3.11`, `python:3.11-slim`, using a base from the \
             Debian archive"
        )]
    );
    let labels = &built.image.config.labels;
    assert_eq!(labels["run.cog.cog-base-image-name"], "debian:bookworm");
    let started = std::time::Instant::now();
    cog_build::build(&request, "test/default").expect("it builds");
    assert!(
        started.elapsed() < std::time::Duration::from_secs(2),
        "the failure is remembered"
    );
}
