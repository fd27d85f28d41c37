//! The server's parts use each other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_two_parts_need_each_other() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut uses = Uses::new();
    for entry in fs_err::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        let part = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if part != "lib" && part != "main" {
            collect(&path, uses.entry(part).or_default());
        }
    }
    for (part, used) in &mut uses {
        used.remove(part);
    }
    assert!(uses["app"].contains("worker"), "{uses:#?}");
    // Whatever uses nothing that is left cannot be part of a circle.
    while let Some(leaf) = uses
        .iter()
        .find(|(_, used)| used.iter().all(|one| !uses.contains_key(one)))
        .map(|(part, _)| part.clone())
    {
        uses.remove(&leaf);
    }
    assert!(uses.is_empty(), "a circle is among: {uses:#?}");
}

/// Adds the parts that a file, or the files of a folder, name as `crate::part`; tests may use anything.
fn collect(path: &Path, used: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            collect(&entry.unwrap().path(), used);
        }
        return;
    }
    if path.ends_with("tests.rs") {
        return;
    }
    let text = fs_err::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for after in line.split("crate::").skip(1) {
            let names = match after.strip_prefix('{') {
                Some(list) => list.split(", ").collect(),
                None => vec![after],
            };
            for name in names {
                let end = name.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                let name = &name[..end.unwrap_or(name.len())];
                if !name.is_empty() {
                    used.insert(name.to_owned());
                }
            }
        }
    }
}
