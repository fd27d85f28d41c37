//! Whom to trust: the certificates of this machine, and those of `COG_CA_CERT`.
//!
//! Everything that talks to the outside world, and everything that is started to do so, asks here.

mod bundle;
mod certificates;
mod verifier;

use std::ffi::OsString;
use std::path::PathBuf;

pub use bundle::{bundle_over, extended_bundle, reaches_containers};
pub use certificates::{COG_CA_CERT, CertificateError, Certificates};
pub(crate) use verifier::{NothingTrusted, Verifier};

/// Names a bundle of certificates that replaces the system's.
pub const SSL_CERT_FILE: &str = "SSL_CERT_FILE";
/// Names folders of certificates that replace the system's.
const SSL_CERT_DIR: &str = "SSL_CERT_DIR";

/// Where Linux distributions have the certificates they trust.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file with the certificates that this machine trusts: that of `SSL_CERT_FILE`, else the system's.
pub fn host_bundle() -> Option<PathBuf> {
    bundle(std::env::var_os(SSL_CERT_FILE), &SYSTEM_BUNDLES)
}

fn bundle(chosen: Option<OsString>, system: &[&str]) -> Option<PathBuf> {
    chosen
        .map(PathBuf::from)
        .into_iter()
        .chain(system.iter().map(PathBuf::from))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_bundle_comes_before_the_systems() {
        let dir = tempfile::tempdir().unwrap();
        let [chosen, system] = ["chosen", "system"].map(|name| {
            let path = dir.path().join(name);
            fs_err::write(&path, "").unwrap();
            path
        });
        let known = [
            "/nowhere",
            dir.path().to_str().unwrap(),
            system.to_str().unwrap(),
        ];
        assert_eq!(bundle(Some(chosen.clone().into()), &known), Some(chosen));
        assert_eq!(
            bundle(Some("/nowhere".into()), &known),
            Some(system.clone())
        );
        assert_eq!(bundle(None, &known), Some(system.clone()));
        assert_eq!(bundle(None, &known[..2]), None, "a folder is no bundle");
    }
}
