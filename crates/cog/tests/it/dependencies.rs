//! Dependencies between our crates point one way, and the server stays apart from the build.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// For each crate, the crates of ours that it may use.
const ALLOWED: [(&str, &[&str]); 15] = [
    ("bare-hop", &[]),
    (
        "cog",
        &[
            "cog-build",
            "cog-config",
            "cog-engine",
            "cog-errors",
            "cog-files",
            "cog-image",
            "cog-inputs",
            "cog-schema",
        ],
    ),
    (
        "cog-build",
        &[
            "cog-config",
            "cog-debian",
            "cog-engine",
            "cog-errors",
            "cog-files",
            "cog-image",
            "cog-python",
            "cog-schema",
        ],
    ),
    ("cog-config", &["cog-errors", "cog-files"]),
    // The engine runs packages' scripts in its tests.
    ("cog-debian", &["cog-engine", "cog-errors", "cog-files"]),
    ("cog-engine", &["cog-errors"]),
    ("cog-errors", &[]),
    ("cog-files", &[]),
    ("cog-image", &["cog-errors", "cog-files"]),
    ("cog-inputs", &[]),
    ("cog-python", &["cog-errors", "cog-files"]),
    ("cog-schema", &["cog-errors", "cog-files", "cog-inputs"]),
    ("cog-testing", &[]),
    ("coglet", &["cog-errors", "cog-files", "cog-inputs"]),
    ("xtask", &["cog", "cog-schema", "coglet"]),
];

#[test]
fn dependencies_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let allowed = BTreeMap::from(ALLOWED);
    let ours: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let may_use = allowed
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` is new: say here what it may use"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            let used = dependency["name"]
                .as_str()
                .expect("a dependency has a name");
            let for_tests = used == "cog-testing" && dependency["kind"] == "dev";
            assert!(
                !ours.contains(&used) || may_use.contains(&used) || for_tests,
                "`{name}` must not depend on `{used}`"
            );
        }
    }
    assert_eq!(
        ours.len(),
        ALLOWED.len(),
        "every crate of the workspace is listed"
    );
}
