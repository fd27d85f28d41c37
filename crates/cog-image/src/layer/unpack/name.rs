//! Names of entries: bytes, with slashes between components.

use crate::layer::inside::Refused;

/// `name` without `.` components and superfluous slashes; empty for the root.
pub(super) fn clean(name: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut clean = Vec::with_capacity(name.len());
    for component in name
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
    {
        if component == b".." {
            return Err(Refused::Because("has a path with `..`"));
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend(component);
    }
    if name.starts_with(b"/") && !clean.is_empty() {
        return Err(Refused::Because("has an absolute path"));
    }
    Ok(clean)
}

/// What is above the last component, and that; nothing for the root.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    })
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

/// For messages.
pub(super) fn shortened(name: &[u8]) -> String {
    name[..name.len().min(200)].escape_ascii().to_string()
}
