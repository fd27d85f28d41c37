use super::*;
use crate::suite::{Architecture, Archive};

/// Builds an index of lines `name version; field: value; …` and resolves `names`.
fn resolved(lines: &[&str], names: &[&str]) -> Result<Vec<String>, String> {
    let mut index = Index::default();
    let text: Vec<String> = lines.iter().map(|line| stanza(line)).collect();
    index
        .add(
            text.join("\n").as_bytes(),
            Archive::Main,
            Architecture::Amd64,
        )
        .unwrap();
    let positions = resolve(&index, Suite::Bookworm, names).map_err(|error| error.to_string())?;
    let shown = |position: usize| {
        let package = index.package(position);
        format!("{} {}", package.name, package.version)
    };
    Ok(positions.into_iter().map(shown).collect())
}

fn stanza(line: &str) -> String {
    let mut parts = line.split("; ");
    let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
    let sum = "00".repeat(32);
    let mut text = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: {name}.deb\nSize: 1\nSHA256: {sum}\n"
    );
    for field in parts {
        text.push_str(field);
        text.push('\n');
    }
    text
}

fn check(lines: &[&str], names: &[&str], expected: &[&str]) {
    assert_eq!(resolved(lines, names).unwrap(), expected, "{lines:?}");
}

#[test]
fn essential_packages_are_always_chosen_and_dependencies_come_first() {
    check(
        &[
            "c 1; Depends: b",
            "b 1; Essential: yes; Pre-Depends: z",
            "a 1; Essential: yes",
            "z 1",
            "other 1",
        ],
        &["c"],
        &["a 1", "z 1", "b 1", "c 1"],
    );
}

#[test]
fn the_newest_version_that_will_do_is_chosen() {
    let lines = ["a 1.10", "a 1.9", "a 1.2", "b 1; Depends: a (<< 1.10)"];
    check(&lines, &["a"], &["a 1.10"]);
    check(&lines, &["b"], &["a 1.9", "b 1"]);
}

#[test]
fn of_alternatives_a_chosen_one_wins_else_the_first_that_can_be_installed() {
    check(
        &["a 1; Depends: x | y", "x 1", "y 1"],
        &["a"],
        &["x 1", "a 1"],
    );
    check(
        &["a 1; Depends: x | y", "x 1", "y 1"],
        &["y", "a"],
        &["y 1", "a 1"],
    );
    check(
        &["a 1; Depends: x (>= 2) | y", "x 1", "y 1"],
        &["a"],
        &["y 1", "a 1"],
    );
    // The first cannot be installed for want of something deeper, and leaves no trace.
    check(
        &[
            "a 1; Depends: x | y",
            "x 1; Depends: w, missing",
            "w 1",
            "y 1",
        ],
        &["a"],
        &["y 1", "a 1"],
    );
}

#[test]
fn virtual_packages_are_provided_by_the_most_common_package() {
    let lines = [
        "a 1; Depends: awk",
        "gawk 1; Provides: awk; Priority: optional",
        "mawk 1; Provides: awk; Priority: required",
        "busy 1; Provides: awk; Priority: optional",
    ];
    check(&lines, &["a"], &["mawk 1", "a 1"]);
    check(&lines, &["gawk", "a"], &["gawk 1", "a 1"]);
    check(&lines, &["awk"], &["mawk 1"]);
}

#[test]
fn only_versioned_provisions_satisfy_constraints() {
    let lines = [
        "a 1; Depends: x (>= 2)",
        "old 1; Provides: x",
        "mid 1; Provides: x (= 1)",
        "new 1; Provides: x (= 2)",
    ];
    check(&lines, &["a"], &["new 1", "a 1"]);
}

#[test]
fn circles_are_no_problem() {
    check(
        &["a 1; Depends: b", "b 1; Depends: c", "c 1; Depends: a"],
        &["a"],
        &["c 1", "b 1", "a 1"],
    );
}

#[test]
fn packages_that_exclude_each_other_are_not_both_chosen() {
    check(
        &["a 1; Depends: x | y", "b 1; Breaks: x (<< 2)", "x 1", "y 1"],
        &["b", "a"],
        &["b 1", "y 1", "a 1"],
    );
    // The only one to provide something.
    check(
        &["a 1; Conflicts: mta; Provides: mta", "b 1; Depends: mta"],
        &["a", "b"],
        &["a 1", "b 1"],
    );
    let lines = ["a 1; Conflicts: b", "b 1"];
    assert_eq!(
        resolved(&lines, &["a", "b"]).unwrap_err(),
        "package `b` cannot be installed: it conflicts with `a`"
    );
}

#[test]
fn what_cannot_be_installed_is_explained() {
    let lines = [
        "a 1; Depends: b",
        "b 1; Depends: c (>= 2) | d",
        "c 1",
        "e 1; Depends: ?",
    ];
    assert_eq!(
        resolved(&lines, &["nothing"]).unwrap_err(),
        "Debian bookworm has no package `nothing`"
    );
    assert_eq!(
        resolved(&lines, &["a"]).unwrap_err(),
        "package `b` cannot be installed: nothing satisfies `c (>= 2) | d`"
    );
    assert_eq!(
        resolved(&lines, &["e"]).unwrap_err(),
        "package `e` cannot be installed: `?` is no relation"
    );
}

#[test]
fn entangled_dependencies_are_given_up() {
    // Every package needs one of two of the next rank, and the last rank needs what is not there.
    let mut lines: Vec<String> = (0..30)
        .flat_map(|rank| {
            let depends = format!("Depends: a{next} | b{next}", next = rank + 1);
            ["a", "b"].map(|name| format!("{name}{rank} 1; {depends}"))
        })
        .collect();
    lines.push("a30 1; Depends: missing".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert!(resolved(&lines, &["a0"]).is_err());
}
