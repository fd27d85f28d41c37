//! `cog pull`: an image from a registry into the local store, or images for several platforms.

use anyhow::{Context as _, bail};
use cog_build::Architecture;
use cog_errors::Colour;
use cog_image::registry::Wanted;
use cog_image::{ImageRef, Pulled, Store, StoredImage};
use serde_json::json;

use crate::args::{PullArgs, PulledArg};
use crate::image_argument;
use crate::outputs::pretty;
use crate::session::Session;

pub(crate) fn pull(session: &Session<'_>, args: &PullArgs) -> anyhow::Result<()> {
    if args.json {
        session.printer.account().open();
    }
    image_argument::refuse_digest(&args.image)?;
    let reference: ImageRef = args.image.parse()?;
    refuse_registry(&reference)?;
    let name = reference.familiar();
    session.printer.info(&format!("Pulling {name}..."));
    let store = session.store()?;
    let pulled = match wanted(&args.platform) {
        None => cog_build::pull(store, &reference)
            .map(Pulled::from)
            .map_err(anyhow::Error::from),
        Some(wanted) => store.pull_several(&reference, &wanted).map_err(Into::into),
    };
    let pulled = pulled.with_context(|| format!("failed to pull {name}"))?;
    referrers(session, store, &reference, &pulled);
    let platforms = pulled.images.iter().map(StoredImage::platform);
    let platforms: Vec<String> = platforms.map(|one| one.to_string()).collect();
    let digest = pulled.entry.digest;
    let several = if pulled.is_index() {
        let shown = pulled.images.iter().map(|image| image.platform().shown());
        format!(" for {}", shown.collect::<Vec<_>>().join(", "))
    } else {
        String::new()
    };
    session
        .printer
        .success(&format!("Pulled {name} ({digest}){several}"));
    if args.json {
        let created = pulled.images.iter().map(|image| image.config.created);
        let document = json!({
            "name": name,
            "digest": digest.to_string(),
            "platforms": platforms,
            "created": created.max().unwrap_or(0),
            "size": pulled.size(),
            "warnings": session.printer.account().close().warnings,
        });
        session.printer.result(
            "the report of the pull",
            format!("{}\n", pretty(&document)?),
        )?;
    }
    Ok(())
}

/// Which images of an index are wanted; nothing for this machine's.
fn wanted(platforms: &[PulledArg]) -> Option<Wanted> {
    if platforms.is_empty() {
        return None;
    }
    let mut these: Vec<Architecture> = Vec::new();
    for one in platforms {
        match one {
            PulledArg::All => return Some(Wanted::All),
            PulledArg::One(one) => these.push(*one),
        }
    }
    these.sort_unstable();
    these.dedup();
    let these = these.into_iter().map(Architecture::platform);
    Some(Wanted::These(these.collect()))
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

/// What is said about the images, and about the index of several, comes with them, where it can be had.
fn referrers(session: &Session<'_>, store: &Store, reference: &ImageRef, pulled: &Pulled) {
    let printer = session.printer;
    let mut subjects = vec![&pulled.entry];
    if pulled.is_index() {
        subjects.extend(pulled.images.iter().map(|image| &image.manifest));
    }
    let (mut taken, mut left_out) = (0, 0);
    for subject in subjects {
        match store.pull_referrers(reference, subject) {
            Ok(found) => {
                taken += found.taken;
                left_out += found.left_out;
            }
            Err(error) => {
                printer.warning(&format!(
                    "what the registry says about the image could not be fetched: {}",
                    cog_errors::render(&error, None, Colour::Off)
                ));
                break;
            }
        }
    }
    if taken > 0 {
        let (count, plural) = counted(taken);
        printer.info(&format!("{count} artifact{plural} about it came with it"));
    }
    if left_out > 0 {
        let (count, plural) = counted(left_out);
        printer.warning(&format!(
            "{count} artifact{plural} about it {} left out: of another form than expected, too large, or gone",
            if left_out == 1 { "was" } else { "were" }
        ));
    }
}

fn counted(number: usize) -> (usize, &'static str) {
    (number, if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_each_named_once() {
        let [amd, arm] = [Architecture::Amd64, Architecture::Arm64];
        let these = |all: &[Architecture]| {
            Some(Wanted::These(
                all.iter().map(|one| one.platform()).collect(),
            ))
        };
        let one = PulledArg::One;
        assert_eq!(wanted(&[]), None);
        assert_eq!(wanted(&[one(arm)]), these(&[arm]));
        assert_eq!(wanted(&[one(arm), one(amd), one(arm)]), these(&[amd, arm]));
        assert_eq!(wanted(&[one(arm), PulledArg::All]), Some(Wanted::All));
    }
}
