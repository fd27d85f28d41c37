//! Which package somebody meant who named one that is not there.

use super::version;

/// Shorter names are too much like each other.
const MIN_LENGTH: usize = 4;

/// The name among `names` that `wrong` most likely stands for: its successor under a newer number, what is left of it
/// without an ending, or what differs by a slip of the finger.
pub fn closest_name<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut names: Vec<&str> = names.into_iter().filter(|name| *name != wrong).collect();
    names.sort_unstable();
    names.dedup();
    successor(wrong, &names)
        .or_else(|| mistyped(wrong, &names))
        .or_else(|| shortened(wrong, &names))
}

/// Libraries have the number of their interface in their names, and since the year's 2038 problem was solved some end
/// in `t64`.
fn successor<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let renamed = format!("{wrong}t64");
    if let Ok(position) = names.binary_search(&renamed.as_str()) {
        return Some(names[position]);
    }
    let wanted = without_numbers(wrong);
    if wanted.len() < MIN_LENGTH {
        return None;
    }
    let same = names.iter().filter(|name| without_numbers(name) == wanted);
    same.max_by(|left, right| version::compare(left, right))
        .copied()
}

fn without_numbers(name: &str) -> String {
    let name = name.strip_suffix("t64").unwrap_or(name);
    name.chars()
        .filter(|character| !character.is_ascii_digit() && *character != '.')
        .collect()
}

/// What many names begin with says nothing about what is meant.
const COMMON: [&str; 3] = ["lib", "python3-", "python-"];

fn mistyped<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let own = COMMON.iter().find_map(|common| wrong.strip_prefix(common));
    let limit = match own.unwrap_or(wrong).len() {
        0..MIN_LENGTH => return None,
        MIN_LENGTH..6 => 1,
        _ => 2,
    };
    names
        .iter()
        .filter(|name| name.len().abs_diff(wrong.len()) <= limit)
        .map(|name| (distance(wrong, name), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// `libgl1-mesa-glx` is `libgl1` now: of libraries, the beginning says which it is.
fn shortened<'a>(wrong: &str, names: &[&'a str]) -> Option<&'a str> {
    let mut rest = wrong.strip_prefix("lib").map(|_| wrong)?;
    while let Some((shorter, _)) = rest.rsplit_once('-') {
        rest = shorter;
        if !rest.contains(|character: char| character.is_ascii_digit()) {
            return None;
        }
        if let Ok(position) = names.binary_search(&rest) {
            return Some(names[position]);
        }
    }
    None
}

/// How many characters have to be added, removed, changed, or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, byte) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let changed = previous[column] + usize::from(byte != other);
            let mut least = changed
                .min(previous[column + 1] + 1)
                .min(current[column] + 1);
            let swapped =
                row > 0 && column > 0 && *byte == right[column - 1] && left[row - 1] == *other;
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let names = [
            "ffmpeg",
            "libasound2-data",
            "libasound2t64",
            "libao4",
            "libffi-dev",
            "libffi8",
            "libgl1",
            "libgl1-mesa-dri",
            "libicu72",
            "libicu76",
            "libssl3t64",
            "libsndfile1",
            "libtiff6",
            "python3",
            "python3-six",
            "curl",
            "python3-dev",
            "zsh",
            "git",
            "libssl-dev",
        ];
        for (wrong, expected) in [
            ("libgl1-mesa-glx", Some("libgl1")),
            ("libasound2", Some("libasound2t64")),
            ("libssl1.1", Some("libssl3t64")),
            ("libffi7", Some("libffi8")),
            ("libicu66", Some("libicu76")),
            ("libtiff5", Some("libtiff6")),
            ("libgl", Some("libgl1")),
            ("libsndfiel1", Some("libsndfile1")),
            ("libfoo", None),
            ("python3-sax", None),
            ("ffmepg", Some("ffmpeg")),
            ("crul", Some("curl")),
            ("python-dev", Some("python3-dev")),
            ("gti", None),
            ("zhs", None),
            ("something-else", None),
            ("libunknown-dev", None),
            ("python3-unknown", None),
            ("", None),
        ] {
            assert_eq!(closest_name(wrong, names), expected, "{wrong}");
        }
    }

    #[test]
    fn distances_are_counted() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "ab", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
