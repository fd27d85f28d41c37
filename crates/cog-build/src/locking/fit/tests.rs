use cog_debian::ListedPackage;
use cog_image::Digest;
use cog_python::resolution::{IndexFile, Pinned};

use super::*;
use crate::lock::PackageSource;

fn listed(name: &str) -> ListedPackage {
    ListedPackage {
        name: name.to_owned(),
        version: "1".to_owned(),
        sha256: "00".repeat(32),
    }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&one| one.to_owned()).collect()
}

fn pins(names: &[&str], packages: &[&str]) -> SystemPins {
    SystemPins {
        names: texts(names),
        packages: packages.iter().map(|name| listed(name)).collect(),
    }
}

fn known() -> Known {
    let python = PythonPins {
        source: PackageSource::Wheels,
        distributions: vec![Pinned {
            name: "typing-extensions".to_owned(),
            version: Some("4".to_owned()),
            origin: PythonOrigin::Index {
                files: vec![IndexFile {
                    url: "x.whl".to_owned(),
                    hashes: Vec::new(),
                    size: None,
                }],
            },
        }],
    };
    Known {
        base: Some(PinnedBase {
            origin: Origin::Image {
                reference: "python:3.11-slim".to_owned(),
                digest: Digest::of(b"x"),
            },
            python: None,
        }),
        preferred: preferences(&python),
        refresh: Refresh::Nothing,
        python: Some(python),
        implied: pins(&["libgl1"], &["libgl1", "libx11-6"]),
        named: pins(&["ffmpeg"], &["ffmpeg"]),
        system_stays: true,
    }
}

fn without(names: &[&str]) -> Known {
    let upgrade = Upgrade::These(texts(names));
    let mut known = known();
    upgrade
        .forget(std::iter::once(&mut known), "cog.lock")
        .expect("they are there");
    known
}

#[test]
fn packages_of_the_distribution_stay_on_what_was_below_them() {
    let (implied, named) = (texts(&["libgl1"]), texts(&["ffmpeg"]));
    let all = known().versions(&implied, &named);
    assert!(matches!(&all.implied, Versions::Exactly(packages) if packages.len() == 2));
    assert!(matches!(&all.named, Versions::Exactly(packages) if packages.len() == 1));
    let more = known().versions(&implied, &texts(&["ffmpeg", "sox"]));
    assert_eq!(more.implied, all.implied);
    assert!(matches!(&more.named, Versions::Preferred(_)));
    let other = known().versions(&texts(&["libgl1", "git"]), &named);
    assert!(matches!(&other.implied, Versions::Preferred(_)));
    assert!(
        matches!(&other.named, Versions::Preferred(_)),
        "what is below is another"
    );
    assert_eq!(known().versions(&[], &[]), LockedSystem::default());
    assert_eq!(
        Known::default().versions(&implied, &named),
        LockedSystem::default()
    );
}

#[test]
fn what_is_upgraded_is_forgotten_and_nothing_else() {
    let python = without(&["Typing_Extensions"]);
    assert_eq!(python.python, None);
    assert_eq!(python.preferred, []);
    assert_eq!(python.refresh, Refresh::Everything);
    assert_eq!(python.base, known().base);
    assert!(python.system_stays);

    let system = without(&["libx11-6"]);
    assert_eq!(system.python, known().python);
    assert_eq!(system.refresh, Refresh::Nothing);
    assert_eq!(system.implied, pins(&["libgl1"], &["libgl1"]));
    assert!(!system.system_stays);

    for name in ["base", "python:3.11-slim"] {
        let base = without(&[name]);
        assert_eq!((base.base, base.python), (None, None));
        assert_eq!(base.preferred, known().preferred);
    }
    let system = without(&["system"]);
    let found = system.versions(&texts(&["libgl1"]), &texts(&["ffmpeg"]));
    assert_eq!(found, LockedSystem::default());

    let mut all = known();
    Upgrade::Everything
        .forget(std::iter::once(&mut all), "cog.lock")
        .expect("it takes any");
    let asked_anew = Known {
        refresh: Refresh::Everything,
        ..Known::default()
    };
    assert_eq!(all, asked_anew);
    let upgrade = Upgrade::These(texts(&["nupmy"]));
    let error = upgrade
        .forget(std::iter::once(&mut known()), "cog.lock")
        .expect_err("not there");
    assert_eq!(error.to_string(), "cog.lock has no `nupmy`");
}

#[test]
fn what_one_platform_has_can_be_upgraded_without_the_other() {
    let mut both = [known(), Known::default()];
    let upgrade = Upgrade::These(texts(&["typing-extensions"]));
    upgrade
        .forget(both.iter_mut(), "cog.lock")
        .expect("one has it");
    assert_eq!(both[0].python, None);
    assert_eq!(both[1], Known::default());
}
