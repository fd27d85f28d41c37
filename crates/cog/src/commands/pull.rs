//! `cog pull`: an image from a registry into the local store.

use anyhow::{Context as _, bail};
use cog_errors::Colour;
use cog_image::{ImageRef, Store, StoredImage};
use serde_json::json;

use crate::args::PullArgs;
use crate::outputs::pretty;
use crate::session::Session;

pub(crate) fn pull(session: &Session<'_>, args: &PullArgs) -> anyhow::Result<()> {
    if args.json {
        session.printer.account().open();
    }
    let reference: ImageRef = args.image.parse()?;
    refuse_registry(&reference)?;
    let name = reference.familiar();
    session.printer.info(&format!("Pulling {name}..."));
    let store = session.store()?;
    let image =
        cog_build::pull(store, &reference).with_context(|| format!("failed to pull {name}"))?;
    referrers(session, store, &reference, &image);
    session.printer.success(&format!(
        "Pulled {} ({})",
        image.name, image.manifest.digest
    ));
    if args.json {
        let document = json!({
            "name": image.name,
            "digest": image.manifest.digest.to_string(),
            "created": image.config.created,
            "size": image.size(),
            "warnings": session.printer.account().close().warnings,
        });
        session
            .printer
            .result(format!("{}\n", pretty(&document)?))?;
    }
    Ok(())
}

/// A host and a port alone are a name by Docker's rule, of something that nobody means.
pub(super) fn refuse_registry(reference: &ImageRef) -> anyhow::Result<()> {
    match reference.mistaken_registry() {
        Some(registry) => bail!(
            "`{registry}` is a registry, and names no image in it: expected `{registry}/NAME`"
        ),
        None => Ok(()),
    }
}

/// What is said about the image comes with it, where it can be had.
fn referrers(session: &Session<'_>, store: &Store, reference: &ImageRef, image: &StoredImage) {
    let printer = session.printer;
    match store.pull_referrers(reference, image) {
        Ok(found) => {
            if found.taken > 0 {
                let (count, plural) = counted(found.taken);
                printer.info(&format!("{count} artifact{plural} about it came with it"));
            }
            if found.left_out > 0 {
                let (count, plural) = counted(found.left_out);
                printer.warning(&format!(
                    "{count} artifact{plural} about it {} left out: of another form than expected, too large, or gone",
                    if found.left_out == 1 { "was" } else { "were" }
                ));
            }
        }
        Err(error) => printer.warning(&format!(
            "what the registry says about the image could not be fetched: {}",
            cog_errors::render(&error, None, Colour::Off)
        )),
    }
}

fn counted(number: usize) -> (usize, &'static str) {
    (number, if number == 1 { "" } else { "s" })
}
