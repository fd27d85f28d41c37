//! `cog pull`: an image from a registry into the local store.

use anyhow::Context as _;
use cog_image::ImageRef;

use crate::args::PullArgs;
use crate::session::Session;

pub(crate) fn pull(session: &Session<'_>, args: &PullArgs) -> anyhow::Result<()> {
    let reference: ImageRef = args.image.parse()?;
    let name = reference.familiar();
    session.printer.info(&format!("Pulling {name}..."));
    let image = cog_build::pull(session.store()?, &reference)
        .with_context(|| format!("failed to pull {name}"))?;
    session.printer.success(&format!(
        "Pulled {} ({})",
        image.name, image.manifest.digest
    ));
    Ok(())
}
