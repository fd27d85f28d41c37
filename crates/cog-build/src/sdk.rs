//! The SDK as part of this program: the Python sources that models import and that coglet starts.

use sha2::{Digest as _, Sha256};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// The version of SDK, server and command-line tool.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Path below the folder of packages, and content, of every file of the SDK.
pub(crate) fn files() -> &'static [(&'static str, &'static [u8])] {
    embedded::FILES
}

/// A hash over the SDK's files.
pub(crate) fn digest() -> String {
    let mut hasher = Sha256::new();
    for (path, content) in files() {
        for part in [path.as_bytes(), content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_embedded() {
        let names: Vec<&str> = files().iter().map(|(path, _)| *path).collect();
        assert!(names.contains(&"cog/__init__.py"), "{names:?}");
        assert!(names.iter().all(|name| !name.contains("__pycache__")));
    }
}
