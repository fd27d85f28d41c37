//! Adds certificates to what the image trusts, by writing the files that `update-ca-certificates`
//! would write: no container is needed, and a base without that program is served too.

use cog_image::{Entry, EntryKind, Layer};

use crate::certificate::{BUNDLE, Certificates};
use crate::context::temporary_folder;
use crate::error::Result;
use crate::executor::Executor;
use crate::step_output::StepOutput;

/// Where tools of the distribution find the certificate when they write the bundle again.
const SOURCE: &str = "usr/local/share/ca-certificates/cog-ca-cert.crt";
const COPY: &str = "tmp/cog-ca-cert.crt";

/// The layer with `certificates`, on top of the layers `below`.
pub(crate) fn run(
    executor: &Executor<'_>,
    certificates: &Certificates,
    below: &[Layer],
) -> Result<StepOutput> {
    let pem = certificates.pem();
    let bundle = append(&bundle_of(executor, below)?, &pem);
    let entry = |path: &str, content: Vec<u8>| Entry {
        path: path.into(),
        kind: EntryKind::Bytes(content),
        mode: 0o644,
    };
    let entries = vec![
        temporary_folder(),
        entry(COPY, pem.clone().into_bytes()),
        entry(SOURCE, pem.into_bytes()),
        entry(BUNDLE.trim_start_matches('/'), bundle),
    ];
    let options = executor.layer_options("cog: certificates");
    let layer = executor.store.add_layer_from_entries(entries, &options)?;
    Ok(StepOutput::layer(layer))
}

/// The bundle as the layers `below` have it; empty if they have none.
fn bundle_of(executor: &Executor<'_>, below: &[Layer]) -> Result<Vec<u8>> {
    let root = executor.store.rootfs(below)?;
    match root.find(BUNDLE.trim_start_matches('/')) {
        // A link would lead to wherever the image says.
        Some(path) if path.symlink_metadata()?.is_file() => Ok(fs_err::read(path)?),
        _ => Ok(Vec::new()),
    }
}

fn append(bundle: &[u8], pem: &str) -> Vec<u8> {
    let mut joined = bundle.to_vec();
    if !joined.is_empty() && !joined.ends_with(b"\n") {
        joined.push(b'\n');
    }
    joined.extend_from_slice(pem.as_bytes());
    joined
}
