//! The names of fields, and which of them a misspelt one may mean.

pub(crate) const TOP: [&str; 9] = [
    "build",
    "image",
    "model",
    "run",
    "predict",
    "train",
    "concurrency",
    "environment",
    "weights",
];
pub(crate) const BUILD: [&str; 10] = [
    "python_version",
    "gpu",
    "cuda",
    "cudnn",
    "python_requirements",
    "python_packages",
    "system_packages",
    "run",
    "pre_install",
    "sdk_version",
];
pub(crate) const COMMAND: [&str; 2] = ["command", "mounts"];
pub(crate) const MOUNT: [&str; 3] = ["type", "id", "target"];
/// The second has no effect.
pub(crate) const CONCURRENCY: [&str; 2] = ["max", "default_target"];
pub(crate) const WEIGHTS: [&str; 3] = ["name", "target", "source"];
pub(crate) const SOURCE: [&str; 3] = ["uri", "include", "exclude"];

/// What people write who know other tools.
const OTHER_WORDS: [(&str, &str); 8] = [
    ("python", "python_version"),
    ("requirements", "python_requirements"),
    ("packages", "python_packages"),
    ("apt", "system_packages"),
    ("apt_packages", "system_packages"),
    ("commands", "run"),
    ("env", "environment"),
    ("predictor", "run"),
];

/// More than this many letters wrong is another word.
const MAX_DISTANCE: usize = 2;

/// The field that the unknown one at `path` may mean: one of its neighbours by a similar name, or one that belongs
/// elsewhere in the file.
pub(crate) fn meant(path: &str, known: &[&str]) -> Option<String> {
    let (parent, key) = match path.rsplit_once('.') {
        Some((parent, key)) => (Some(parent), key),
        None => (None, path),
    };
    let spelling = key.to_lowercase().replace('-', "_");
    if let Some(name) = similar(&spelling, known) {
        return Some(match parent {
            Some(parent) => format!("{parent}.{name}"),
            None => name.to_owned(),
        });
    }
    match parent {
        None => similar(&spelling, &BUILD).map(|name| format!("build.{name}")),
        Some("build") => similar(&spelling, &TOP).map(str::to_owned),
        Some(_) => None,
    }
}

fn similar<'known>(spelling: &str, known: &[&'known str]) -> Option<&'known str> {
    let word = OTHER_WORDS.iter().find(|(word, _)| *word == spelling);
    let word = word.and_then(|(_, name)| known.iter().find(|known| *known == name));
    let near = || {
        let distances = known.iter().map(|name| (distance(spelling, name), name));
        // Of a short word, two wrong letters leave nothing.
        let allowed = MAX_DISTANCE.min(spelling.chars().count() / 3);
        let (distance, name) = distances.min()?;
        (distance <= allowed).then_some(name)
    };
    word.or_else(near).copied()
}

/// How many letters must be changed, added, left out or swapped with the next to make one word the other.
fn distance(one: &str, other: &str) -> usize {
    let [one, other]: [Vec<char>; 2] = [one, other].map(|word| word.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, left) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in other.iter().enumerate() {
            let changed = rows[i][j] + usize::from(left != right);
            let mut best = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == other[j - 1] && one[i - 1] == *right {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_fields_are_recognised() {
        for (path, known, expected) in [
            (
                "build.pyton_version",
                &BUILD[..],
                Some("build.python_version"),
            ),
            ("build.python-version", &BUILD, Some("build.python_version")),
            (
                "build.system_package",
                &BUILD,
                Some("build.system_packages"),
            ),
            ("build.python", &BUILD, Some("build.python_version")),
            ("build.gup", &BUILD, Some("build.gpu")),
            ("buidl", &TOP, Some("build")),
            ("Predict", &TOP, Some("predict")),
            ("python_version", &TOP, Some("build.python_version")),
            ("build.environment", &BUILD, Some("environment")),
            ("env", &TOP, Some("environment")),
            ("weights.0.targte", &WEIGHTS, Some("weights.0.target")),
            ("build.fast", &BUILD, None),
            ("stats", &TOP, None),
            ("x", &TOP, None),
            ("", &TOP, None),
            ("<<", &TOP, None),
        ] {
            assert_eq!(meant(path, known).as_deref(), expected, "{path}");
        }
    }
}
