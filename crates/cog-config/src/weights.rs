//! `weights` entries.

use crate::config::Weights;
use crate::error::Problem;
use crate::parse::{Draft, WeightsDraft};

pub(crate) fn check(draft: &Draft, problems: &mut Vec<Problem>) -> Vec<Weights> {
    let mut add = |message: String, draft: &WeightsDraft| {
        problems.push(Problem {
            message,
            location: draft.location,
            hint: None,
        });
    };
    let mut seen: Vec<Weights> = Vec::new();
    for (index, entry) in draft.weights.iter().enumerate() {
        let mut weights = entry.weights.clone();
        weights.target = cleaned(&weights.target);
        let field = |name: &str| format!("weights[{index}].{name}");
        if let Some(message) = name_problem(&weights.name, &seen) {
            add(found(&field("name"), &weights.name, message), entry);
        }
        if let Some(message) = target_problem(&weights.target, &seen) {
            add(found(&field("target"), &weights.target, &message), entry);
        }
        if weights.sources.is_empty() {
            add(
                format!("invalid {}: source is required", field("source")),
                entry,
            );
        }
        for (number, source) in weights.sources.iter().enumerate() {
            let source_field = if entry.single {
                field("source")
            } else {
                field(&format!("source[{number}]"))
            };
            for (list, patterns) in [("include", &source.include), ("exclude", &source.exclude)] {
                for (position, pattern) in patterns.iter().enumerate() {
                    if let Some(message) = pattern_problem(pattern) {
                        add(
                            format!("invalid {source_field}.{list}[{position}]: {message}"),
                            entry,
                        );
                    }
                }
            }
        }
        seen.push(weights);
    }
    if let Some(first) = draft.weights.first() {
        let set = |text: &Option<crate::parse::Text>| {
            text.as_ref().is_some_and(|text| !text.text.is_empty())
        };
        match (set(&draft.model), set(&draft.image)) {
            (true, _) => {}
            (false, true) => add(
                "invalid image: weights require 'model', not 'image' — rename 'image' to 'model'"
                    .to_owned(),
                first,
            ),
            (false, false) => add(
                "invalid model: weights require 'model' in cog.yaml — rename 'image' to 'model'"
                    .to_owned(),
                first,
            ),
        }
    }
    seen
}

fn found(field: &str, value: &str, message: &str) -> String {
    if value.is_empty() {
        format!("invalid {field}: {message}")
    } else {
        format!("invalid {field} \"{value}\": {message}")
    }
}

fn name_problem(name: &str, seen: &[Weights]) -> Option<&'static str> {
    if name.is_empty() {
        return Some("name is required");
    }
    let piece = |piece: &str| {
        !piece.is_empty()
            && piece
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if !name.split(['.', '_', '-']).all(piece) {
        return Some(
            "must contain only lowercase alphanumeric characters, hyphens, dots, or underscores (e.g. \
             \"my-model-weights\")",
        );
    }
    seen.iter()
        .any(|other| other.name == name)
        .then_some("duplicate weight name")
}

fn target_problem(target: &str, seen: &[Weights]) -> Option<String> {
    if target.is_empty() {
        return Some("target is required".into());
    }
    if !target.starts_with('/') {
        return Some("target must be an absolute path".into());
    }
    if target == "/" {
        return Some("target must not be the container root \"/\"".into());
    }
    if seen.iter().any(|other| other.target == target) {
        return Some("duplicate weight target".into());
    }
    let inside = |outer: &str, inner: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let overlapping = seen
        .iter()
        .find(|other| inside(&other.target, target) || inside(target, &other.target))?;
    Some(format!(
        "target overlaps with \"{}\"; weight targets must be disjoint",
        overlapping.name
    ))
}

fn pattern_problem(pattern: &str) -> Option<&'static str> {
    let pattern = pattern.trim();
    if pattern.is_empty() {
        return Some("pattern must not be empty");
    }
    if pattern.starts_with('!') {
        return Some("negation patterns (starting with '!') are not supported");
    }
    pattern
        .contains('\\')
        .then_some("patterns must use forward slashes, not backslashes")
}

/// The path without `.`, `..`, doubled and trailing slashes, as far as it can be told from its text.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}
