//! Bundles for programs that can be told of one file only, which then replaces what they would trust by themselves.

use std::collections::HashSet;
use std::io::Read as _;
use std::path::Path;

use super::certificates::{BEGIN, END};
use super::{CertificateError, Certificates, host_bundle};
use crate::Rootfs;

/// Where images have theirs.
const OF_IMAGES: &str = "etc/ssl/certs/ca-certificates.crt";
/// No bundle is nearly as long.
const MAX_LENGTH: u64 = 16 << 20;

/// What programs of this machine are to trust where `COG_CA_CERT` adds something to what they do trust; nothing where it
/// is not set.
pub fn extended_bundle() -> Result<Option<String>, CertificateError> {
    let Some(given) = Certificates::of_environment()? else {
        return Ok(None);
    };
    Ok(Some(join(&[of_this_machine()?, given.pem()])))
}

/// What programs in a container with the file system `root` are to trust: what this machine trusts, what `COG_CA_CERT`
/// adds, and what the image does by itself. Nothing if that is the image's own affair.
pub fn bundle_over(root: &Rootfs) -> Result<Option<String>, CertificateError> {
    if !reaches_containers()? {
        return Ok(None);
    }
    let (machine, given) = (of_this_machine()?, Certificates::of_environment()?);
    let given = given.map_or_else(String::new, |given| given.pem());
    Ok(Some(join(&[machine, given, of_image(root)?])))
}

/// Whether [`bundle_over`] has something for containers.
pub fn reaches_containers() -> Result<bool, CertificateError> {
    Ok(host_bundle().is_some() || Certificates::of_environment()?.is_some())
}

fn of_this_machine() -> Result<String, CertificateError> {
    host_bundle().map_or_else(|| Ok(String::new()), |path| read(&path))
}

/// A link in an image would lead to wherever it says, and is not followed.
fn of_image(root: &Rootfs) -> Result<String, CertificateError> {
    match root.find(OF_IMAGES) {
        Some(path) if fs_err::symlink_metadata(&path)?.is_file() => read(&path),
        _ => Ok(String::new()),
    }
}

/// Comments in it may be in any encoding.
fn read(path: &Path) -> Result<String, CertificateError> {
    let file = fs_err::File::open(path)?;
    let length = file.metadata()?.len().min(MAX_LENGTH);
    // In one piece: every start of a container waits for it.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(MAX_LENGTH).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|other| String::from_utf8_lossy(other.as_bytes()).into_owned()))
}

/// The certificates of all `bundles`, each once, without what stands between them.
fn join(bundles: &[String]) -> String {
    let mut seen = HashSet::new();
    let mut joined = String::with_capacity(bundles.iter().map(String::len).sum());
    for certificate in bundles.iter().flat_map(|bundle| certificates(bundle)) {
        if seen.insert(certificate) {
            joined.push_str(certificate);
            joined.push('\n');
        }
    }
    joined
}

fn certificates(bundle: &str) -> impl Iterator<Item = &str> {
    bundle.split_inclusive(END).filter_map(|part| {
        let start = part.rfind(BEGIN)?;
        part.ends_with(END).then(|| &part[start..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, EntryKind, LayerOptions, Store};

    fn pem(content: &str) -> String {
        format!("{BEGIN}\n{content}\n{END}")
    }

    #[test]
    fn each_certificate_is_there_once() {
        let [a, b, c] = ["AA", "BB", "CC"].map(pem);
        let first = format!("# comment\n{a}\n\n{b}\n");
        let second = format!("{b}\n# half of one\n{BEGIN}\nXX\n{c}\n{BEGIN}\nYY");
        assert_eq!(join(&[first, second]), format!("{a}\n{b}\n{c}\n"));
        assert_eq!(join(&[]), "");
    }

    #[test]
    fn what_an_image_trusts_is_read_without_following_links() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let entry = |kind| Entry {
            path: OF_IMAGES.into(),
            kind,
            mode: 0o644,
        };
        let of = |kind| {
            let layer = store
                .add_layer_from_entries(vec![entry(kind)], &LayerOptions::default())
                .unwrap();
            let root = store.rootfs(&[layer]).unwrap();
            of_image(&root).unwrap()
        };
        assert_eq!(of(EntryKind::Bytes(b"own".to_vec())), "own");
        assert_eq!(of(EntryKind::Symlink("/etc/hosts".into())), "");
        let nothing = store.rootfs(&[]).unwrap();
        assert_eq!(of_image(&nothing).unwrap(), "");
    }
}
