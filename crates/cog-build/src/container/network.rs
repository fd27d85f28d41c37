//! What a build container has of this machine's network: whom to trust, and which proxies to use. Neither leaves a trace
//! in its layer, and no step's key depends on it.

use std::path::Path;

use cog_image::{Rootfs, trust};
use cog_python::uv::proxies;

use super::Mount;
use crate::certificate::BUNDLE;
use crate::error::Result;

/// Where containers see the certificates to trust. Not in the usual place: packages that install certificates replace
/// the file there.
pub(crate) const HOST_BUNDLE: &str = "/tmp/.cog-host-certificates.crt";

/// Variables that make programs trust [`HOST_BUNDLE`].
const BUNDLE_VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "NODE_EXTRA_CA_CERTS",
];

/// `wget` knows no variable for certificates, but one for its settings.
const WGET_VARIABLE: &str = "WGETRC";
const WGET_SETTINGS: &str = "/tmp/.cog-wgetrc";

/// Adds all of it to what a container over `root` gets. Files for it are written into `folder`.
pub(super) fn add(
    root: &Rootfs,
    folder: &Path,
    mounts: &mut Vec<Mount>,
    env: &mut Vec<(String, String)>,
) -> Result<()> {
    if let Some(bundle) = trust::bundle_over(root)? {
        let file = folder.join("certificates.crt");
        fs_err::write(&file, bundle)?;
        mounts.push(Mount::read_only(file, HOST_BUNDLE));
        let settings = folder.join("wgetrc");
        fs_err::write(&settings, format!("ca_certificate = {HOST_BUNDLE}\n"))?;
        mounts.push(Mount::read_only(settings, WGET_SETTINGS));
        point_at_bundle(env);
    }
    for (name, value) in proxies() {
        set_default(env, &name, &value);
    }
    Ok(())
}

/// The project's own choice stays. What `COG_CA_CERT` sets for the image is none: its bundle knows nothing of what this
/// machine trusts, and ours has all that is in it.
fn point_at_bundle(env: &mut Vec<(String, String)>) {
    for name in BUNDLE_VARIABLES {
        env.retain(|(known, value)| known != name || value != BUNDLE);
        set_default(env, name, HOST_BUNDLE);
    }
    set_default(env, WGET_VARIABLE, WGET_SETTINGS);
}

fn set_default(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    if !env.iter().any(|(known, _)| known == name) {
        env.push((name.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_choice_stays() {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut env = [
            ("SSL_CERT_FILE", "/own.pem"),
            ("REQUESTS_CA_BUNDLE", BUNDLE),
        ]
        .map(owned)
        .to_vec();
        point_at_bundle(&mut env);
        let values = |name: &str| {
            let of_name = env.iter().filter(|(known, _)| known == name);
            of_name.map(|(_, value)| &**value).collect::<Vec<_>>()
        };
        assert_eq!(values("SSL_CERT_FILE"), ["/own.pem"]);
        assert_eq!(values("REQUESTS_CA_BUNDLE"), [HOST_BUNDLE]);
        assert_eq!(values("CURL_CA_BUNDLE"), [HOST_BUNDLE]);
        assert_eq!(values("WGETRC"), [WGET_SETTINGS]);
    }
}
