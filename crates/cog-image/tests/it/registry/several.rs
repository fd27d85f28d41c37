//! Images for several platforms: pulled as their registry lists them, and pushed as they were pulled.

use cog_image::registry::{RegistryError, Wanted};
use cog_image::{
    Digest, Error, ExportOptions, ExportTarget, ImageConfig, ImageRef, ImportSource, Names,
    Platform, PruneOptions, Store, StoredImage, StoredIndex, export_index, validate,
    validate_layout,
};
use serde_json::{Value, json};

use crate::hub::{Hub, Manners};
use crate::server::{Content, Server};
use crate::support::{TestStore, file, options, test_store};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const BILL: &str = "application/spdx+json";

/// A registry's content: `a/b:1` is an index of two images, as BuildKit writes it, with what it says about the second one,
/// and with a bill of materials for the first one and for the index.
struct World {
    content: Content,
    images: [StoredImage; 2],
    index: Vec<u8>,
    /// The manifest of what BuildKit says.
    said: Digest,
    bills: [Digest; 2],
}

fn image_for(store: &Store, architecture: &str) -> StoredImage {
    let entries = vec![file(architecture, architecture)];
    let layer = store.add_layer_from_entries(entries, &options()).unwrap();
    let config = ImageConfig {
        architecture: architecture.into(),
        ..ImageConfig::default()
    };
    store.put_image(architecture, &config, &[layer]).unwrap()
}

impl World {
    fn new() -> Self {
        let origin = test_store();
        let images = ["amd64", "arm64"].map(|architecture| image_for(&origin, architecture));
        let mut content = Content::default();
        for image in &images {
            content.add(&origin, image, "a/b", &image.config.architecture);
        }
        let statement = b"{\"_type\":\"https://in-toto.io/Statement/v0.1\"}".to_vec();
        let config = json!({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": [Digest::of(&statement)],
        }});
        let said = manifest(
            &mut content,
            (CONFIG, config.to_string().into_bytes()),
            ("application/vnd.in-toto+json", statement),
            &json!({}),
        );
        let [amd, arm] = images
            .each_ref()
            .map(|image| (image.manifest.digest, image.manifest.size));
        let index = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                listed(amd, &json!({"platform": {"os": "linux", "architecture": "amd64"}})),
                listed(arm, &json!({
                    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
                    "annotations": {"com.example.kept": "yes"},
                })),
                listed(said, &json!({
                    "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {
                        "vnd.docker.reference.type": "attestation-manifest",
                        "vnd.docker.reference.digest": arm.0,
                    },
                })),
            ],
            "annotations": {"com.example.index": "kept"},
        });
        // Written as we would not.
        let index = serde_json::to_vec_pretty(&index).unwrap();
        let digest = Digest::of(&index);
        for version in ["1".to_owned(), digest.to_string()] {
            content.put(format!("/v2/a/b/manifests/{version}"), INDEX, index.clone());
        }
        let bills = [amd, (digest, index.len() as u64)].map(|(subject, size)| {
            let media_type = if subject == digest { INDEX } else { MANIFEST };
            let about = json!({
                "artifactType": BILL,
                "subject": {"mediaType": media_type, "digest": subject, "size": size},
            });
            let text = format!("the parts of {subject}").into_bytes();
            let empty = ("application/vnd.oci.empty.v1+json", b"{}".to_vec());
            let (bill, size) = manifest(&mut content, empty, (BILL, text), &about);
            let entry = listed((bill, size), &json!({"artifactType": BILL}));
            let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]});
            let path = format!("/v2/a/b/referrers/{subject}");
            content.put(path, INDEX, list.to_string().into_bytes());
            bill
        });
        Self {
            content,
            images,
            index,
            said: said.0,
            bills,
        }
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.index)
    }
}

/// Puts a manifest with one layer there; its digest and size.
fn manifest(
    content: &mut Content,
    config: (&str, Vec<u8>),
    layer: (&str, Vec<u8>),
    more: &Value,
) -> (Digest, u64) {
    let blobs = [config, layer].map(|(media_type, bytes)| {
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        content.put(format!("/v2/a/b/blobs/{digest}"), media_type, bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    });
    let [config, layer] = blobs;
    let mut document =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    extend(&mut document, more);
    let bytes = document.to_string().into_bytes();
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    content.put(format!("/v2/a/b/manifests/{digest}"), MANIFEST, bytes);
    (digest, size)
}

fn listed((digest, size): (Digest, u64), more: &Value) -> Value {
    let mut entry = json!({"mediaType": MANIFEST, "digest": digest, "size": size});
    extend(&mut entry, more);
    entry
}

fn extend(document: &mut Value, more: &Value) {
    let fields = more.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(fields);
}

fn only(architecture: &str) -> Wanted {
    Wanted::These(vec![Platform::new("linux", architecture)])
}

fn pull(store: &Store, reference: &ImageRef, wanted: &Wanted) -> cog_image::Result<StoredIndex> {
    let pulled = store.pull_several(reference, wanted)?;
    assert!(pulled.is_index());
    let index = store.image_index(&reference.familiar())?.unwrap();
    assert_eq!(index.descriptor.digest, pulled.entry.digest);
    Ok(index)
}

/// Pulls all of it, with what is said.
fn pulled(server: &Server) -> (TestStore, StoredIndex) {
    let store = test_store();
    let reference = server.reference("a/b:1");
    let index = pull(&store, &reference, &Wanted::All).unwrap();
    let images = index.images.iter().map(|image| &image.manifest);
    for subject in images.chain([&index.descriptor]) {
        store.pull_referrers(&reference, subject).unwrap();
    }
    (store, index)
}

#[test]
fn an_index_is_pulled_and_pushed_as_it_is() {
    let world = World::new();
    let (digest, said, bills) = (world.digest(), world.said, world.bills);
    let images = world
        .images
        .each_ref()
        .map(|image| image.manifest.digest.to_string());
    let bytes = world.index.clone();
    let server = Server::start(world.content);
    for lists_referrers in [true, false] {
        let (store, index) = pulled(&server);
        assert_eq!(index.descriptor.digest, digest);
        let platforms: Vec<String> = index
            .images
            .iter()
            .map(|image| image.platform().to_string())
            .collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        let report = validate(&store, &index.name).unwrap();
        assert!(report.is_sound() && report.absent == 0, "{report:?}");
        let hub = Hub::start(Manners {
            lists_referrers,
            ..Manners::default()
        });
        let target = hub.reference("c/d:2");
        let pushed = store
            .pushing_to(&target)
            .unwrap()
            .images(&index, &target)
            .unwrap();
        assert_eq!(pushed.digest, digest);
        assert_eq!(hub.manifest("c/d", "2").as_ref(), Some(&bytes));
        assert_eq!(
            hub.log().last().map(String::as_str),
            Some("PUT /v2/c/d/manifests/2")
        );
        let others = [said, bills[0], bills[1]].map(|one| one.to_string());
        for manifest in images.iter().chain(&others) {
            assert!(hub.manifest("c/d", manifest).is_some(), "{manifest}");
        }
        // And from there again.
        let again = test_store();
        let found = again.pull_several(&target, &Wanted::All).unwrap();
        assert_eq!(found.entry.digest, digest);
        let about = again.pull_referrers(&target, &found.entry).unwrap();
        assert_eq!((about.taken, about.left_out), (1, 0));
    }
}

#[test]
fn what_is_pulled_outlives_pruning_and_is_exported_whole() {
    let world = World::new();
    let server = Server::start(world.content);
    let (store, index) = pulled(&server);
    let options = PruneOptions {
        names: Names::Keep,
        keep_used_within: std::time::Duration::ZERO,
    };
    store.prune(&options).unwrap();
    let report = validate(&store, &index.name).unwrap();
    assert!(report.is_sound() && report.absent == 0, "{report:?}");
    let path = store.dir.path().join("layout");
    export_index(
        &store,
        &index,
        ExportTarget::OciDir,
        &path,
        &ExportOptions::default(),
    )
    .unwrap();
    let blob = |digest: &Digest| path.join("blobs/sha256").join(digest.hex());
    assert_eq!(
        fs_err::read(blob(&index.descriptor.digest)).unwrap(),
        world.index
    );
    for other in world.bills.iter().chain([&world.said]) {
        assert!(blob(other).exists(), "{other}");
    }
    assert!(
        validate_layout(ImportSource::OciDir, &path)
            .unwrap()
            .is_sound()
    );

    // Other layers make other manifests, which are listed for the same platforms.
    let gzip = ExportOptions {
        compression: Some(cog_image::Compression::Gzip),
    };
    let path = store.dir.path().join("converted");
    export_index(&store, &index, ExportTarget::OciDir, &path, &gzip).unwrap();
    let report = validate_layout(ImportSource::OciDir, &path).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let names: Vec<_> = fs_err::read_dir(path.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !names.contains(&world.said.hex().into()),
        "it is about another image"
    );
}

#[test]
fn a_part_of_an_index_lists_what_is_there() {
    let world = World::new();
    let [amd, arm] = world.images.each_ref().map(|image| image.manifest.digest);
    let said = world.said;
    let server = Server::start(world.content);
    let reference = server.reference("a/b:1");
    let store = test_store();
    let alone = store.pull_several(&reference, &only("amd64")).unwrap();
    assert!(!alone.is_index());
    assert_eq!(alone.entry.digest, amd);
    assert!(!store.blob_path(&arm).exists());

    let index = pull(&store, &reference, &only("arm64")).unwrap();
    let listed: Vec<Digest> = index
        .document
        .manifests
        .iter()
        .map(|entry| entry.digest)
        .collect();
    assert_eq!(listed, [arm, said], "with what is said about it");
    assert_eq!(index.images.len(), 1);
    let variant = index.document.manifests[0].platform.as_ref().unwrap();
    assert_eq!(variant.to_string(), "linux/arm64/v8");

    let both = ["arm64", "amd64"].map(|one| Platform::new("linux", one));
    let both = Wanted::These(both.to_vec());
    let whole = store.pull_several(&reference, &both).unwrap();
    assert_eq!(whole.entry.digest, Digest::of(&world.index));
    assert!(validate(&store, &reference.familiar()).unwrap().is_sound());
}

#[test]
fn platforms_that_are_not_there_are_told() {
    let world = World::new();
    let server = Server::start(world.content);
    let store = test_store();
    let error = |name: &str, wanted: &[&str]| {
        let wanted = wanted.iter().map(|one| Platform::new("linux", *one));
        let wanted = Wanted::These(wanted.collect());
        let result = store.pull_several(&server.reference(name), &wanted);
        result.unwrap_err().to_string()
    };
    let text = error("a/b:1", &["amd64", "s390x", "386"]);
    assert!(
        text.ends_with(
            "is not available for linux/s390x and linux/386, only for linux/amd64, linux/arm64/v8"
        ),
        "{text}"
    );
    // An image that no index lists.
    let text = error("a/b:amd64", &["arm64"]);
    assert!(
        text.ends_with("is not available for linux/arm64, only for linux/amd64"),
        "{text}"
    );
    let alone = store.pull_several(&server.reference("a/b:arm64"), &Wanted::All);
    let alone = alone.unwrap();
    assert!(!alone.is_index());
    assert_eq!(alone.images[0].platform(), Platform::new("linux", "arm64"));
}

#[test]
fn an_image_that_is_listed_and_gone_is_told_with_its_platform() {
    let world = World::new();
    let arm = world.images[1].manifest.digest.to_string();
    let server = Server::start_with(world.content, move |request, _| {
        request
            .path
            .ends_with(&arm)
            .then(|| crate::server::Answer::status(404))
    });
    let store = test_store();
    let reference = server.reference("a/b:1");
    let error = store.pull_several(&reference, &Wanted::All).unwrap_err();
    assert!(
        matches!(error, Error::Registry(RegistryError::ListedGone { .. })),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("lists an image for linux/arm64/v8, which"),
        "{error}"
    );
    assert_eq!(store.images().unwrap(), [], "nothing is named");
    // The other one can be had.
    store.pull_several(&reference, &only("amd64")).unwrap();
}

#[test]
fn an_index_of_indexes_is_refused_as_a_whole() {
    let mut world = World::new();
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": INDEX, "digest": world.digest(), "size": world.index.len()},
        listed(
            (world.images[0].manifest.digest, world.images[0].manifest.size),
            &json!({"platform": {"os": "linux", "architecture": "amd64"}}),
        ),
    ]});
    let bytes = inner.to_string().into_bytes();
    world
        .content
        .put("/v2/a/b/manifests/nested".into(), INDEX, bytes);
    let many = vec![listed((world.images[0].manifest.digest, 1), &json!({})); 1000];
    let many = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": many});
    let bytes = many.to_string().into_bytes();
    world
        .content
        .put("/v2/a/b/manifests/many".into(), INDEX, bytes);
    let server = Server::start(world.content);
    let store = test_store();
    let error = |name: &str| {
        let all = store.pull_several(&server.reference(name), &Wanted::All);
        all.unwrap_err().to_string()
    };
    assert!(error("a/b:nested").contains(&format!("it lists a `{INDEX}`")));
    assert!(error("a/b:many").contains("its index lists 1000 manifests"));
    let amd = store.pull_several(&server.reference("a/b:nested"), &only("amd64"));
    assert_eq!(amd.unwrap().images.len(), 1);
}
