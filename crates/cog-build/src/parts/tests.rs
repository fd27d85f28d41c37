use std::collections::BTreeMap;

use super::*;
use crate::separated::separate;

const MANY: usize = 1024;

/// The parts of `files` by name, without the code.
fn parts(files: &[(&str, u64)], limit: usize) -> Vec<(String, Vec<String>)> {
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    let named = |part: Part| {
        let members = part.members.iter().map(|at| sorted[*at].0.to_owned());
        (part.name.to_string(), members.collect())
    };
    let parts = split(&sorted, &[], limit);
    let all: usize = parts.iter().map(|part| part.members.len()).sum();
    assert_eq!(all, files.len(), "each file is in one part");
    assert!(parts.len() <= limit.max(1), "{} parts", parts.len());
    parts.into_iter().map(named).collect()
}

#[track_caller]
fn check(files: &[(&str, u64)], expected: &[(&str, &[&str])]) {
    let found = parts(files, MAX_PARTS);
    let found: Vec<(&str, Vec<&str>)> = found
        .iter()
        .map(|(name, members)| (name.as_str(), members.iter().map(String::as_str).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = expected
        .iter()
        .map(|(name, members)| (*name, members.to_vec()))
        .collect();
    assert_eq!(found, expected);
}

/// `count` empty files of `folder` whose names end with `suffix`.
fn files(folder: &str, count: usize, suffix: &str) -> Vec<(String, u64)> {
    let path = |number| format!("{folder}{number:05}{suffix}");
    (0..count).map(|number| (path(number), 0)).collect()
}

fn borrowed(files: &[(String, u64)]) -> Vec<(&str, u64)> {
    files
        .iter()
        .map(|(path, size)| (path.as_str(), *size))
        .collect()
}

/// How many files each part of `lists` has, by name.
fn counts(lists: &[Vec<(String, u64)>], limit: usize) -> BTreeMap<String, usize> {
    let all = lists.concat();
    parts(&borrowed(&all), limit)
        .into_iter()
        .map(|(name, members)| (name, members.len()))
        .collect()
}

fn count<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

#[test]
fn large_files_stand_alone() {
    check(&[], &[("source", &[])]);
    check(&[("run.py", 10)], &[("source", &["run.py"])]);
    check(
        &[
            ("run.py", 10),
            ("weights/a.bin", LARGE),
            ("weights/b.bin", LARGE - EACH - 1),
            ("weights/deep/c.bin", LARGE * 100),
            ("big.py", LARGE),
            ("odd\n\u{1b}name", LARGE),
        ],
        &[
            ("source big.py", &["big.py"]),
            ("source odd??name", &["odd\n\u{1b}name"]),
            ("source weights/a.bin", &["weights/a.bin"]),
            ("source weights/deep/c.bin", &["weights/deep/c.bin"]),
            ("source", &["run.py", "weights/b.bin"]),
        ],
    );
}

#[test]
fn folders_with_much_in_them_stand_alone() {
    // By bytes, in the lowest folder in which they are much.
    check(
        &[
            ("run.py", 10),
            ("cog.yaml", 10),
            ("data/a/1", LARGE / 2),
            ("data/a/2", LARGE / 2),
            ("data/b/1", LARGE / 2),
            ("data/c/1", LARGE / 2),
            ("data/read.py", 10),
            ("data-of-others", 10),
            ("few/1", LARGE / 2),
        ],
        &[
            ("source data/", &["data/b/1", "data/c/1"]),
            ("source data/a/", &["data/a/1", "data/a/2"]),
            (
                "source",
                &[
                    "cog.yaml",
                    "data-of-others",
                    "data/read.py",
                    "few/1",
                    "run.py",
                ],
            ),
        ],
    );
    // By number.
    assert_eq!(
        counts(
            &[
                files("data/few/", MANY / 2, ""),
                files("data/more/", MANY / 2, ""),
                files("almost/", MANY - 1, ".txt"),
                files("package/", 50, ".py"),
            ],
            MAX_PARTS
        ),
        count([("source data/", MANY), ("source", MANY - 1 + 50)])
    );
}

#[test]
fn code_stays_with_code_unless_there_is_very_much() {
    assert_eq!(
        counts(
            &[
                files("app/", MANY - 1, ".py"),
                files("app/images/", MANY, ".png"),
                files("venv/lib/", MANY, ".py"),
                files("venv/lib/", MANY, ".so"),
                files("", MANY * 2, ".py"),
            ],
            MAX_PARTS
        ),
        count([
            ("source app/images/", MANY),
            ("source venv/lib/", MANY),
            ("source venv/lib/ (code)", MANY),
            ("source", MANY * 3 - 1),
        ])
    );
    // Beside cog.yaml there may be very much else, too.
    assert_eq!(
        counts(
            &[
                files("", MANY - 5, ".png"),
                files("small/", 5, ".png"),
                files("", 3, ".py"),
            ],
            MAX_PARTS
        ),
        count([("source (files that are no code)", MANY), ("source", 3)])
    );
}

#[test]
fn the_number_of_parts_is_bounded() {
    let many: Vec<(String, u64)> = (0..500)
        .map(|number| (format!("shards/{number}.bin"), LARGE + number))
        .collect();
    let own = |found: &[(String, Vec<String>)]| {
        let own = found.iter().filter(|(name, _)| name.contains(".bin"));
        own.count()
    };
    for limit in 0..=MAX_PARTS {
        let found = parts(&borrowed(&many), limit);
        let room = limit.saturating_sub(1);
        assert_eq!(own(&found), room.saturating_sub((room / SHARED).max(1)));
    }
    let found = parts(&borrowed(&many), MAX_PARTS);
    assert_eq!(found.len(), MAX_PARTS);
    assert_eq!(
        found[0].0, "source shards/484.bin",
        "the largest stay by themselves"
    );
    let shared = &found[found.len() - 2];
    assert_eq!(shared.0, "source (shared 4)");
    assert!(shared.1.len() > 60, "they are spread: {}", shared.1.len());
}

#[test]
fn what_comes_or_goes_moves_little_else() {
    let shards = |count: u64| -> Vec<(String, u64)> {
        let path = |number| format!("shards/{number}.bin");
        (0..count)
            .map(|number| (path(number), LARGE + number))
            .collect()
    };
    // Parts that are not equal before and after, by name.
    let changed = |before: &[(String, u64)], after: &[(String, u64)]| {
        let (before, after) = (
            parts(&borrowed(before), MAX_PARTS),
            parts(&borrowed(after), MAX_PARTS),
        );
        let new = after.into_iter().filter(|part| !before.contains(part));
        new.map(|(name, _)| name).collect::<Vec<_>>()
    };
    // One more among those that are too many: it displaces the smallest of the others, which is shared now.
    let after = changed(&shards(100), &shards(101));
    assert_eq!(after.len(), 2, "{after:?}");
    assert!(after.contains(&"source shards/100.bin".to_owned()));
    // The first that is too many.
    let after = changed(&shards(16), &shards(17));
    assert_eq!(after.len(), 2, "{after:?}");
    // The same among few, and a small file, which is with the code.
    assert_eq!(changed(&shards(5), &shards(6)), ["source shards/5.bin"]);
    let mut small = shards(100);
    small.push(("notes.txt".to_owned(), 1));
    assert_eq!(changed(&shards(100), &small), ["source"]);
    // A folder that becomes large, and one that was.
    let files = |count| [files("a/", count, ""), files("b/", MANY, "")].concat();
    assert_eq!(
        changed(&files(MANY - 1), &files(MANY)),
        ["source a/", "source"]
    );
    assert_eq!(changed(&files(MANY), &files(MANY + 1)), ["source a/"]);
}

#[test]
fn what_is_asked_for_is_apart() {
    let large = 10 * 1024 * 1024;
    let files = [
        ("checkpoints/large-a", large),
        ("checkpoints/small", 1),
        ("checkpoints-old", 1),
        ("code/large", large),
        ("code/x.py", 1),
        ("root-large", large),
        ("run.py", 1),
    ];
    let mut sorted = files.to_vec();
    sorted.sort_unstable();
    let separated = separate(&files);
    let named = |limit| -> Vec<(String, usize, Origin)> {
        split(&sorted, &separated, limit)
            .into_iter()
            .map(|part| (part.name.to_string(), part.members.len(), part.origin))
            .collect()
    };
    let part = |name: &str, count, origin| (name.to_owned(), count, origin);
    assert_eq!(
        named(MAX_PARTS),
        [
            part("source root-large", 1, Origin::Separated),
            part("source checkpoints/", 2, Origin::Separated),
            part("source code/large", 1, Origin::Rule),
            part("source", 3, Origin::Rule),
        ]
    );
    assert_eq!(named(1), [part("source", 7, Origin::Rule)]);
    // A path that is not there is no part.
    let gone = [
        SeparatedPath::File("checkpoints".into()),
        SeparatedPath::Folder("run.py".into()),
    ];
    assert_eq!(split(&[("run.py", 1)], &gone, MAX_PARTS).len(), 1);
}

/// A tree from a fixed generator, with files and folders on both sides of what is large.
fn random_tree(seed: u64) -> Vec<(String, u64)> {
    let mut state = seed;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let sizes = [0, 100, LARGE / 300, LARGE / 7, LARGE / 2, LARGE, LARGE * 3];
    let suffixes = [".py", ".bin", "", ".json"];
    let count = 1 + next(400);
    let mut tree = BTreeMap::new();
    for number in 0..count {
        let depth = next(4);
        let folders: Vec<String> = (0..depth).map(|_| format!("f{}/", next(4))).collect();
        let folder = folders.concat();
        let suffix = suffixes[usize::try_from(next(4)).expect("it is small")];
        let largest = 1 + next(7);
        let size = sizes[usize::try_from(next(largest)).expect("it is small")];
        tree.insert(format!("{folder}{number}{suffix}"), size);
    }
    tree.into_iter().collect()
}

#[test]
fn every_tree_is_split_as_it_should_be() {
    for seed in 0..300 {
        let tree = random_tree(seed);
        let limit = 1 + usize::try_from(seed).expect("it is small") % MAX_PARTS;
        // That each file is in one part, and the number of parts, is checked there.
        parts(&borrowed(&tree), limit);
        let before = parts(&borrowed(&tree), MAX_PARTS);
        let size = |path: &String| {
            let at = tree.binary_search_by(|(one, _)| one.cmp(path));
            tree[at.expect("it is in the tree")].1
        };
        let (_, code) = before.last().expect("there is always one");
        assert!(code.iter().all(|path| size(path) < LARGE), "tree {seed}");
        let other = code
            .iter()
            .filter(|path| !CODE.iter().any(|suffix| path.ends_with(suffix)));
        let weight: u64 = other.map(|path| size(path) + EACH).sum();
        assert!(weight < LARGE, "tree {seed}: the top layer is small");
        // One file less.
        let mut less = tree.clone();
        less.remove(tree.len() / 2);
        let after = parts(&borrowed(&less), MAX_PARTS);
        let changed = after.iter().filter(|part| !before.contains(part));
        assert!(changed.count() <= 4, "tree {seed}: little moves");
    }
}
