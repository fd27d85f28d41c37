use std::sync::Mutex;

use super::*;

/// What `variables` and `build.sdk_version` come to, in `folder`.
fn read(
    variables: &[(&str, &str)],
    sdk_version: Option<&str>,
    folder: &Path,
) -> Result<SdkSources, String> {
    let value = |name: &str| {
        let mut variables = variables.iter();
        let found = variables.find(|(one, _)| *one == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    SdkSources::read(value, sdk_version, folder).map_err(|error| error.to_string())
}

fn sdk(value: &str) -> Result<PackageSource, String> {
    read(&[(COG_SDK_WHEEL, value)], None, Path::new("/")).map(|sources| sources.sdk)
}

fn pinned(version: &str) -> PackageSource {
    PackageSource::Pypi(Pin::Version(version.parse().unwrap()))
}

#[test]
fn every_form_is_understood() {
    assert_eq!(sdk("pypi"), Ok(PackageSource::Pypi(Pin::Latest)));
    assert_eq!(sdk(" PyPI: "), Ok(PackageSource::Pypi(Pin::Latest)));
    assert_eq!(sdk("  "), Ok(PackageSource::Pypi(Pin::Latest)));
    assert_eq!(sdk("PYPI:0.18.0"), Ok(pinned("0.18.0")));
    let url = "https://x/cog-1-py3-none-any.whl";
    assert_eq!(sdk(url), Ok(PackageSource::Url(url.to_owned())));
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("mine.whl"), "").unwrap();
    let sources = read(&[(COGLET_WHEEL, "mine.whl")], None, folder.path()).unwrap();
    let file = folder.path().join("mine.whl");
    assert_eq!(sources.coglet, Some(PackageSource::File(file.clone())));
    assert_eq!(
        sources.details(),
        [format!("Using local coglet wheel: {}", file.display())]
    );
}

#[test]
fn pre_releases_are_written_as_python_has_them() {
    for (semantic, python) in [
        ("0.17.0-alpha1", "==0.17.0a1"),
        ("0.17.0-beta2", "==0.17.0b2"),
        ("0.17.0-rc1", "==0.17.0rc1"),
        ("0.17.0-dev1", "==0.17.0.dev1"),
        ("0.18.0a1", "==0.18.0a1"),
    ] {
        let sources = read(&[], Some(semantic), Path::new("/")).unwrap();
        let PackageSource::Pypi(pin) = sources.sdk else {
            panic!("{semantic} is a version");
        };
        assert_eq!(pin.to_string(), python);
        assert!(pin.is_prerelease(), "{semantic}");
    }
    assert!(!Pin::Version("0.18.0".parse().unwrap()).is_prerelease());
    assert!(!Pin::Latest.is_prerelease());
    let sources = read(&[], Some("prerelease"), Path::new("/")).unwrap();
    assert_eq!(sources.sdk, PackageSource::Pypi(Pin::Prerelease));
}

#[test]
fn the_variable_goes_before_cog_yaml() {
    let sources = read(
        &[(COG_SDK_WHEEL, "pypi:0.17.0")],
        Some("0.18.0"),
        Path::new("/"),
    );
    assert_eq!(sources.unwrap().sdk, pinned("0.17.0"));
}

#[test]
fn old_and_unreadable_versions_are_refused() {
    let old = |version: &str| {
        Err(format!(
            "cog version {version} is below the minimum required version 0.16.0"
        ))
    };
    assert_eq!(sdk("pypi:0.15.9"), old("0.15.9"));
    let error = read(&[], Some("0.15.0"), Path::new("/")).map(|sources| sources.sdk);
    assert_eq!(error, old("0.15.0"));
    assert_eq!(
        sdk("pypi:new; rm"),
        Err("COG_SDK_WHEEL: `new; rm` is no version: write it like `0.18.0`".to_owned())
    );
    // The server's versions have no such bound.
    let sources = read(&[(COGLET_WHEEL, "pypi:0.1.0")], None, Path::new("/"));
    assert_eq!(sources.unwrap().coglet, Some(pinned("0.1.0")));
}

#[test]
fn a_path_must_lead_to_one_wheel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let name = path.display();
    let of = |variable: &str| {
        let sources = read(
            &[(variable, &*path.to_string_lossy())],
            None,
            Path::new("/"),
        );
        sources.map(|sources| match variable {
            COGLET_WHEEL => sources.coglet.unwrap(),
            _ => sources.sdk,
        })
    };
    let add = |file: &str| fs_err::write(path.join(file), "").unwrap();
    assert_eq!(
        read(
            &[(COGLET_WHEEL, "/nonexistent/path/coglet.whl")],
            None,
            path
        ),
        Err("COGLET_WHEEL: path not found: /nonexistent/path/coglet.whl".to_owned())
    );
    add("coglet-1-cp310-abi3-macosx_11_0_arm64.whl");
    assert_eq!(
        of(COG_SDK_WHEEL),
        Err(format!(
            "COG_SDK_WHEEL: no wheel matching 'cog-*.whl' found in {name}"
        ))
    );
    assert_eq!(
        of(COGLET_WHEEL),
        Err(format!(
            "COGLET_WHEEL: no wheel for platform linux/amd64 found in {name}"
        ))
    );
    add("coglet-1-cp310-abi3-manylinux_2_17_x86_64.whl");
    add("cog-1-py3-none-any.whl");
    let file = |name: &str| Ok(PackageSource::File(path.join(name)));
    assert_eq!(
        of(COGLET_WHEEL),
        file("coglet-1-cp310-abi3-manylinux_2_17_x86_64.whl")
    );
    assert_eq!(of(COG_SDK_WHEEL), file("cog-1-py3-none-any.whl"));
    add("cog-2-py3-none-any.whl");
    assert_eq!(
        of(COG_SDK_WHEEL),
        Err(format!(
            "COG_SDK_WHEEL: multiple wheels matching 'cog-*.whl' found in {name}: cog-1-py3-none-any.whl, \
             cog-2-py3-none-any.whl"
        ))
    );
}

#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Reporter for Said {
    fn report(&self, event: Event<'_>) {
        let line = match event {
            Event::Warning { message } => format!("warning: {message}"),
            Event::Detail { message } => format!("detail: {message}"),
            other => panic!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

#[test]
fn what_has_no_effect_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let wheel = folder.path().join("cog-1-py3-none-any.whl");
    fs_err::write(&wheel, "").unwrap();
    let said = |variable: Option<&str>, version: Option<&str>| {
        let said = Said::default();
        let value = |name: &str| {
            variable
                .filter(|_| name == COG_SDK_WHEEL)
                .map(str::to_owned)
        };
        check(version, value, folder.path(), &said).unwrap();
        said.0.into_inner().unwrap()
    };
    assert_eq!(said(None, None), [""; 0]);
    assert_eq!(said(Some(" "), Some("")), [""; 0]);
    let belongs = format!("images get version {VERSION}, which belongs to this cog");
    assert_eq!(
        said(None, Some("0.18.0")),
        [format!(
            "warning: `build.sdk_version` is ignored: {belongs}"
        )]
    );
    assert_eq!(
        said(Some("."), Some("0.18.0")),
        [
            format!(
                "detail: Using local cog wheel: {}, in the Dockerfile of `cog debug` only",
                folder.path().join("./cog-1-py3-none-any.whl").display()
            ),
            format!("warning: `COG_SDK_WHEEL` and `build.sdk_version` are ignored: {belongs}"),
        ]
    );
}
