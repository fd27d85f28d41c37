//! Names of distributions, and hashes, as requirement lines have them.

/// The name that a requirement begins with, normalised: lower case, single dashes.
pub fn package_name(requirement: &str) -> Option<String> {
    let end = requirement
        .find(|character: char| !(character.is_ascii_alphanumeric() || "._-".contains(character)))
        .unwrap_or(requirement.len());
    let name = &requirement[..end];
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        .then(|| normalise(name))
}

/// The hashes of a line's `--hash` options.
pub(super) fn hashes_of(line: &str) -> Vec<String> {
    line.split("--hash")
        .skip(1)
        .filter_map(|rest| {
            let value = rest
                .strip_prefix('=')
                .unwrap_or(rest)
                .split_whitespace()
                .next()?;
            let (algorithm, digest) = value.split_once(':')?;
            Some(format!("{algorithm}:{}", digest.to_ascii_lowercase()))
        })
        .collect()
}

/// The name of what a line asks for, normalised; that of a bare URL is taken from its file name.
pub(super) fn of_requirement(line: &str) -> Option<String> {
    let requirement = line.split_whitespace().next().unwrap_or_default();
    match requirement.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('@') => {
            of_file(rest.split(['?', '#']).next()?.rsplit('/').next()?)
        }
        _ => package_name(line),
    }
}

/// The name that the file name of a wheel or source archive begins with.
pub(super) fn of_file(file: &str) -> Option<String> {
    let wheel = file.strip_suffix(".whl");
    let name = match wheel {
        Some(stem) => stem.split('-').next()?,
        None => file.rsplit_once('-')?.0,
    };
    package_name(name)
}

/// A package name in the form that names are compared in.
pub fn normalise(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}
