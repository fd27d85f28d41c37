//! Hashes that the requirements ask for.

use cog_python::uv::UvError;

use crate::index::{Index, Offer, wheel_with};
use crate::support::{Project, uv};

const WRONG: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn a_file_of_the_index_has_an_allowed_hash_or_is_refused() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let offer = Offer::wheel("aaa", "1.0");
    let right = offer.sha256.clone();
    let index = Index::new(vec![offer]);
    let with = |hash: &str| {
        let option = format!("--index-url {}", index.url);
        let project = Project::new(&[&option, &format!("aaa==1.0 --hash=sha256:{hash}")]);
        let resolution = project.resolve(&uv)?;
        project.install(&uv, &resolution)
    };
    with(&right).unwrap();
    let error = with(WRONG).unwrap_err();
    assert!(matches!(error, UvError::Hash(_)), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "no file of `aaa` 1.0 has a hash that requirements.txt allows; it has sha256:{right}"
        )
    );
}

#[test]
fn what_is_downloaded_is_what_was_promised() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let honest = Offer::wheel("aaa", "1.0");
    let allowed = honest.sha256.clone();
    // The page says one thing and the file is another.
    let content = wheel_with("aaa", "1.0", "import os\n");
    let index = Index::new(vec![Offer { content, ..honest }]);
    let option = format!("--index-url {}", index.url);
    for line in ["aaa==1.0", &format!("aaa==1.0 --hash=sha256:{allowed}")] {
        let project = Project::new(&[&option, line]);
        let resolution = project.resolve(&uv).unwrap();
        let error = project.install(&uv, &resolution).unwrap_err();
        assert!(error.to_string().contains("ash mismatch"), "{error}");
    }
}

#[test]
fn where_every_package_needs_a_hash_none_may_lack_it() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let offers = [Offer::wheel("aaa", "1.0"), Offer::wheel("bbb", "1.0")];
    let lines: Vec<String> = offers
        .iter()
        .map(|offer| format!("{}==1.0 --hash=sha256:{}", offer.name, offer.sha256))
        .collect();
    let index = Index::new(offers.to_vec());
    let option = format!("--index-url {}", index.url);
    let project = Project::new(&[&option, "--require-hashes", &lines[0], &lines[1]]);
    let resolution = project.resolve(&uv).unwrap();
    project.install(&uv, &resolution).unwrap();
    let project = Project::new(&[&option, "--require-hashes", &lines[0], "bbb==1.0"]);
    let error = project.resolve(&uv).unwrap_err();
    assert!(error.to_string().contains("no hash for `bbb`"), "{error}");
}
