//! Images by their digests, as people give them: the first digits, or all.

use std::collections::BTreeMap;

use super::Store;
use super::images::name_of;
use crate::digest::Digest;
use crate::error::Result;

impl Store {
    /// The images whose digests begin with these hex digits, each with its names. For images for several platforms that
    /// is the digest of their index, as in [`Store::images`].
    pub fn names_by_digest(&self, digits: &str) -> Result<BTreeMap<Digest, Vec<String>>> {
        let mut found: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for entry in self.index()?.manifests {
            let Some(name) = name_of(&entry) else {
                continue;
            };
            if entry.artifact_type.is_none() && entry.digest.hex().starts_with(digits) {
                found.entry(entry.digest).or_default().push(name.to_owned());
            }
        }
        Ok(found)
    }
}
