//! From requirements to files, through a lock.

use std::os::unix::fs::MetadataExt as _;

use cog_python::resolution::Resolution;

use crate::index::{Index, Offer, wheel};
use crate::support::{Project, uv};

#[test]
fn what_a_lock_says_is_installed_from_the_cache_of_the_store_without_copying() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let index = Index::new(vec![Offer::wheel("aaa", "1.0"), Offer::wheel("aaa", "2.0")]);
    let option = format!("--index-url {}", index.url);
    let local = ("my wheels/bbb-3.0-py3-none-any.whl", &*wheel("bbb", "3.0"));
    let project = Project::with_files(&[local], &[&option, "aaa<2", local.0]).unwrap();
    let resolution = project.resolve(&uv).unwrap();
    assert_eq!(
        resolution.pin("aaa").unwrap().version.as_deref(),
        Some("1.0")
    );
    assert_eq!(
        resolution.pin("bbb").unwrap().version.as_deref(),
        Some("3.0")
    );
    assert!(resolution.pin("requests").is_some());

    let text = serde_json::to_string(&resolution).unwrap();
    assert!(!text.contains(project.path().to_str().unwrap()), "{text}");
    let locked: Resolution = serde_json::from_str(&text).unwrap();
    project.install(&uv, &locked).unwrap();
    let find = |name: &str| {
        let lib = project.prefix().join("lib");
        let mut folders = fs_err::read_dir(lib).unwrap().flatten();
        folders
            .next()
            .unwrap()
            .path()
            .join("site-packages")
            .join(name)
    };
    assert_eq!(
        fs_err::read_to_string(find("aaa.py")).unwrap(),
        "VERSION = \"1.0\"\n"
    );
    assert!(find("bbb.py").is_file());
    if std::env::var_os("UV_CACHE_DIR").is_none() {
        assert!(store.path().join("uv/cache").is_dir());
        let same_disk = fs_err::metadata(store.path()).unwrap().dev()
            == fs_err::metadata(project.path()).unwrap().dev();
        let links = fs_err::metadata(find("aaa.py")).unwrap().nlink();
        assert!(links > 1 || !same_disk, "{links}");
    }
}

#[test]
fn credentials_reach_the_index_and_not_the_lock() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let index = Index::new(vec![Offer::wheel("aaa", "1.0")]);
    let url = index.url.replace("http://", "http://me:secret@");
    let project = Project::new(&[&format!("--index-url {url}"), "aaa"]);
    let resolution = project.resolve(&uv).unwrap();
    assert!(
        !serde_json::to_string(&resolution)
            .unwrap()
            .contains("secret")
    );
    project.install(&uv, &resolution).unwrap();
}
