//! Hands images of the store to a container daemon, and shows how far that is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cog_build::{HandedOver, Observers};
use cog_engine::docker::{Daemon, Wanted};
use cog_image::serve::{Content, Zstd};
use cog_image::{Platform, Store, StoredImage};

use crate::args::LoadArg;
use crate::printer::Printer;
use crate::session::Session;
use crate::sizes::human_size;

/// How long a daemon that nobody has asked for may take to say that it is there.
const AUTO_PATIENCE: Duration = Duration::from_secs(1);
/// The same for one that somebody has asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that has an image of ours.
pub(crate) struct Given {
    pub(crate) daemon: &'static str,
    /// Bytes that it lacked.
    pub(crate) sent: u64,
}

/// Gives a built image to the daemon that the flag asks for, if there is one. What nobody has asked for does not fail the
/// build.
pub(crate) fn load(
    session: &Session<'_>,
    image: &StoredImage,
    load: LoadArg,
) -> anyhow::Result<Option<Given>> {
    let wanted = match load {
        LoadArg::None => return Ok(None),
        LoadArg::Auto => Wanted::Any,
        LoadArg::Docker => Wanted::Docker,
        LoadArg::Podman => Wanted::Podman,
    };
    if load == LoadArg::Auto && image.platform() != Platform::host() {
        session.printer.debug(&format!(
            "not handed to a daemon: it is for {}, and `--load docker` does it all the same",
            image.platform()
        ));
        return Ok(None);
    }
    if let (LoadArg::Auto, Some(daemon)) = (load, session.built_by()) {
        // Who had it built there, expects it there.
        return give(session, daemon, image).map(Some);
    }
    if load != LoadArg::Auto {
        return give(session, &Daemon::find(wanted, PATIENCE)?, image).map(Some);
    }
    let daemon = match Daemon::find(wanted, AUTO_PATIENCE) {
        Ok(daemon) => daemon,
        Err(error) => {
            session
                .printer
                .debug(&format!("not handed to a daemon: {error}"));
            return Ok(None);
        }
    };
    if !daemon.is_local() {
        session.printer.info(&format!(
            "{} at {} is not on this machine: `--load docker` sends it the image",
            daemon.title(),
            daemon.place()
        ));
        return Ok(None);
    }
    match give(session, &daemon, image) {
        Ok(given) => Ok(Some(given)),
        Err(error) => {
            let why = cog_errors::render(error.as_ref(), None, cog_errors::Colour::Off);
            session.printer.warning(&format!(
                "the image is built, but {} does not have it: {}",
                daemon.title(),
                why.trim_end()
            ));
            Ok(None)
        }
    }
}

/// What builds that were killed had left in a daemon.
pub(crate) struct Tidied {
    pub(crate) daemon: &'static str,
    /// The names of the images.
    pub(crate) removed: Vec<String>,
}

/// Removes that from the daemon that answers, if one does.
pub(crate) fn tidy(session: &Session<'_>) -> Option<Tidied> {
    let told = |error: &dyn std::fmt::Display| {
        session
            .printer
            .debug(&format!("no daemon is tidied up: {error}"));
    };
    let daemon = Daemon::find(Wanted::Any, AUTO_PATIENCE);
    let daemon = daemon.map_err(|error| told(&error)).ok()?;
    let removed = cog_build::remove_ended(&daemon);
    let removed = removed.map_err(|error| told(&error)).ok()?;
    Some(Tidied {
        daemon: daemon.title(),
        removed,
    })
}

fn give(session: &Session<'_>, daemon: &Daemon, image: &StoredImage) -> anyhow::Result<Given> {
    let store = session.store()?;
    let handed = hand_over(session.printer, store, daemon, &image.name, |zstd| {
        Content::of_image(store, image, zstd)
    })?;
    session.printer.info(&format!(
        "{} has {} ({} sent)",
        daemon.title(),
        image.name,
        human_size(handed.sent)
    ));
    Ok(Given {
        daemon: daemon.title(),
        sent: handed.sent,
    })
}

/// Gives the daemon what `content` makes under `name`, which has a tag. What it has already is only named.
pub(crate) fn hand_over(
    printer: &Printer,
    store: &Store,
    daemon: &Daemon,
    name: &str,
    content: impl FnOnce(Zstd) -> cog_image::Result<Content>,
) -> anyhow::Result<HandedOver> {
    let name = name
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains(['/', '@']) && !name.contains('@'))
        .with_context(|| format!("{} needs a name with a tag, not `{name}`", daemon.title()))?;
    let title = format!("handing the image to {}", daemon.title());
    // How much the daemon will ask for, it alone knows.
    let shown = Arc::new(printer.transfer(&title, None));
    // To say how large layers are, they may have to be read.
    let content = content(cog_build::layers_for(daemon))?;
    let sent = Arc::clone(&shown);
    let observers = Observers {
        sent: Arc::new(move |bytes| sent.advance(bytes)),
        detail: &|detail| printer.debug(detail),
    };
    Ok(cog_build::hand_over(
        store, daemon, name, content, &observers,
    )?)
}
