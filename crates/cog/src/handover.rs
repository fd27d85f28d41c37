//! Hands images of the store to a container daemon, and shows how far that is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cog_build::{HandedOver, Observers};
use cog_engine::docker::{Daemon, Wanted};
use cog_image::serve::{Content, SentObserver, Zstd};
use cog_image::{Platform, Store, StoredImage};

use crate::args::LoadArg;
use crate::printer::{Printer, Progress};
use crate::session::Session;
use crate::sizes::human_size;

/// How long a daemon that nobody has asked for may take to say that it is there.
const AUTO_PATIENCE: Duration = Duration::from_secs(1);
/// The same for one that somebody has asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives a built image to the daemon that the flag asks for. What nobody has asked for does not fail the build.
pub(crate) fn load(
    session: &Session<'_>,
    image: &StoredImage,
    load: LoadArg,
) -> anyhow::Result<()> {
    let wanted = match load {
        LoadArg::None => return Ok(()),
        LoadArg::Auto => Wanted::Any,
        LoadArg::Docker => Wanted::Docker,
        LoadArg::Podman => Wanted::Podman,
    };
    if load == LoadArg::Auto && image.platform() != Platform::host() {
        session.printer.debug(&format!(
            "not handed to a daemon: it is for {}, and `--load docker` does it all the same",
            image.platform()
        ));
        return Ok(());
    }
    if let (LoadArg::Auto, Some(daemon)) = (load, session.built_by()) {
        // Who had it built there, expects it there.
        return give(session, daemon, image);
    }
    if load != LoadArg::Auto {
        return give(session, &Daemon::find(wanted, PATIENCE)?, image);
    }
    let daemon = match Daemon::find(wanted, AUTO_PATIENCE) {
        Ok(daemon) => daemon,
        Err(error) => {
            session
                .printer
                .debug(&format!("not handed to a daemon: {error}"));
            return Ok(());
        }
    };
    if !daemon.is_local() {
        session.printer.info(&format!(
            "{} at {} is not on this machine: `--load docker` sends it the image",
            daemon.title(),
            daemon.place()
        ));
        return Ok(());
    }
    if let Err(error) = give(session, &daemon, image) {
        let why = cog_errors::render(error.as_ref(), None, cog_errors::Colour::Off);
        session.printer.warning(&format!(
            "the image is built, but {} does not have it: {}",
            daemon.title(),
            why.trim_end()
        ));
    }
    Ok(())
}

fn give(session: &Session<'_>, daemon: &Daemon, image: &StoredImage) -> anyhow::Result<()> {
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
    Ok(())
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
    // To say how large layers are, they may have to be read.
    let told = Told::begin(printer, daemon);
    let content = content(cog_build::layers_for(daemon))?;
    let observers = Observers {
        sent: told.observer(),
        detail: &|detail| printer.debug(detail),
    };
    Ok(cog_build::hand_over(
        store, daemon, name, content, &observers,
    )?)
}

/// What is shown meanwhile.
struct Told {
    printer: Printer,
    title: String,
    bar: indicatif::ProgressBar,
}

impl Told {
    fn begin(printer: &Printer, daemon: &Daemon) -> Self {
        let title = format!("handing the image to {}", daemon.title());
        printer.begins(&title);
        Self {
            bar: printer.spinner(&title),
            printer: printer.clone(),
            title,
        }
    }

    fn observer(&self) -> SentObserver {
        let (printer, title, bar) = (self.printer.clone(), self.title.clone(), self.bar.clone());
        Arc::new(move |sent| {
            let so_far = format!("{title}: {}", human_size(sent));
            match printer.progress() {
                Progress::Bars => bar.set_message(so_far),
                Progress::Lines | Progress::Quiet => printer.goes_on(&so_far),
            }
        })
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.printer.ends(&self.title);
    }
}
