//! Hands images of the store to a container daemon: it pulls what it lacks from a registry of this process, or, where it
//! cannot reach that, gets an archive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use cog_engine::docker::{Daemon, Wanted};
use cog_image::serve::{Content, SentObserver, Served, Zstd};
use cog_image::{Store, StoredImage};
use tokio::sync::mpsc::{Sender, channel};

use crate::args::LoadArg;
use crate::printer::{Printer, Progress};
use crate::session::Session;
use crate::sizes::human_size;

/// How long a daemon that nobody has asked for may take to say that it is there.
const AUTO_PATIENCE: Duration = Duration::from_secs(1);
/// The same for one that somebody has asked for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pieces of an archive that wait for the daemon.
const PIECES: usize = 4;

/// An image that a daemon has now.
pub(crate) struct HandedOver {
    /// What the daemon calls it.
    pub(crate) id: String,
    /// Bytes that it took.
    sent: u64,
}

/// The form in which the daemon takes layers.
fn layers_for(daemon: &Daemon) -> Zstd {
    if daemon.understands_zstd() {
        Zstd::Understood
    } else {
        Zstd::Refused
    }
}

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
    let (repository, tag) = name
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains(['/', '@']) && !name.contains('@'))
        .with_context(|| format!("{} needs a name with a tag, not `{name}`", daemon.title()))?;
    // To say how large layers are, they may have to be read.
    let told = Told::begin(printer, daemon);
    let content = content(layers_for(daemon))?;
    for id in content.ids() {
        if let Some(image) = daemon.image(&id.to_string())? {
            daemon.tag(&image.id, repository, tag)?;
            return Ok(HandedOver {
                id: image.id,
                sent: 0,
            });
        }
    }
    let served = Served::start(store, content.clone(), told.observer())?;
    let reference = served.reference();
    if let Err(error) = daemon.pull(&reference) {
        if let Some(failure) = served.failure() {
            return Err(failure.into());
        }
        if served.was_read() {
            return Err(error.into());
        }
        printer.debug(&format!("{error}; an archive is sent instead"));
        let sent = send_archive(store, daemon, content, name, told.observer())?;
        let image = daemon.image(name)?;
        let id = image.with_context(|| format!("{} has lost {name}", daemon.title()))?;
        return Ok(HandedOver { id: id.id, sent });
    }
    let pulled = daemon.image(&reference)?;
    let pulled = pulled.with_context(|| format!("{} has lost the image", daemon.title()))?;
    let named = daemon.tag(&pulled.id, repository, tag);
    // The name of the place that it came from means nothing any more.
    let forgotten = daemon.untag(&reference);
    named?;
    forgotten?;
    Ok(HandedOver {
        id: pulled.id,
        sent: served.sent(),
    })
}

/// For a daemon that cannot pull from us, such as one in a virtual machine. Returns the number of bytes.
fn send_archive(
    store: &Store,
    daemon: &Daemon,
    content: Content,
    name: &str,
    observer: SentObserver,
) -> anyhow::Result<u64> {
    let (sender, pieces) = channel(PIECES);
    let (store, name) = (store.clone(), name.to_owned());
    let writer = std::thread::spawn(move || {
        let mut archive = Archive {
            sender,
            sent: 0,
            observer,
        };
        let written = content.write_archive(&store, &name, &mut archive);
        if written.is_err() {
            // Half an archive must not look whole.
            let broken = io::Error::other("the archive could not be written to its end");
            let _ = archive.sender.blocking_send(Err(broken));
        }
        written.map(|()| archive.sent)
    });
    let loaded = daemon.load(pieces);
    let written = writer
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that writes the archive ended"))?;
    match (written, loaded) {
        (Ok(sent), Ok(())) => Ok(sent),
        // The daemon hung up: it says why.
        (Err(cog_image::Error::Io(error)), Err(refused))
            if error.kind() == io::ErrorKind::BrokenPipe =>
        {
            Err(refused.into())
        }
        (Err(error), _) => Err(error.into()),
        (Ok(_), Err(refused)) => Err(refused.into()),
    }
}

/// Takes the archive's bytes to the daemon.
struct Archive {
    sender: Sender<io::Result<Bytes>>,
    sent: u64,
    observer: SentObserver,
}

impl io::Write for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.sender.blocking_send(Ok(piece));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.sent += bytes.len() as u64;
        (self.observer)(self.sent);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
