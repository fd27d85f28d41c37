//! An index that does not answer.

use std::net::TcpListener;

use cog_errors::Hint as _;
use cog_python::uv::UvError;

use crate::index::{Index, Offer};
use crate::support::{Project, TOLD, uv};

#[test]
fn an_extra_index_that_is_away_is_named_with_its_package_and_line() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let index = Index::new(vec![Offer::wheel("aaa", "1.0")]);
    // Nobody listens there any more.
    let away = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let options = [
        format!("--index-url {}", index.url),
        format!("--extra-index-url http://me:secret@{away}/simple/"),
    ];
    let project = Project::new(&[&options[0], &options[1], "aaa"]);
    let error = project.resolve(&uv).unwrap_err();
    let UvError::Unreachable(what) = &error else {
        panic!("{error}");
    };
    assert_eq!(what.host, Some(away.to_string()));
    assert!(what.package.is_some());
    let text = format!("{error}\n{}", error.hint().unwrap());
    assert!(
        !text.contains("secret") && !text.contains("requirements.in"),
        "{text}"
    );
    assert!(
        text.contains(&format!(
            "the line `--extra-index-url http://{away}/simple/` in requirements.txt"
        )),
        "{text}"
    );
    // uv tries again for some seconds, and says nothing meanwhile.
    let told = TOLD.lock().unwrap().join("\n");
    assert!(told.contains("… resolving Python packages"), "{told}");
}

#[test]
fn a_version_that_is_not_there_is_no_matter_of_the_network() {
    let store = tempfile::tempdir().unwrap();
    let Some(uv) = uv(store.path()) else { return };
    let index = Index::new(vec![Offer::wheel("aaa", "1.0")]);
    let option = format!("--index-url {}", index.url);
    let error = |line: &str| Project::new(&[&option, line]).resolve(&uv).unwrap_err();
    let version = error("aaa==2.0");
    assert!(
        matches!(version, UvError::NoSuchVersion { .. }),
        "{version}"
    );
    assert!(
        version
            .to_string()
            .contains("there is no version of aaa==2.0"),
        "{version}"
    );
    let name = error("ccc");
    assert!(matches!(name, UvError::NoSuchVersion { .. }), "{name}");
    let conflict = Project::new(&[&option, "aaa==1.0", "aaa>1"])
        .resolve(&uv)
        .unwrap_err();
    assert!(matches!(conflict, UvError::Conflict { .. }), "{conflict}");
    let syntax = error("aaa=1");
    let text = syntax.to_string();
    assert!(
        text.contains("in requirements.txt\n") && text.contains("aaa=1"),
        "{text}"
    );
}
