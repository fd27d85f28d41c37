//! Hands images of the store to a container daemon: it pulls what it lacks from a registry of this process, or, where it
//! cannot reach that, gets an archive.

use std::collections::HashSet;
use std::io;

use bytes::Bytes;
use cog_engine::docker::{Daemon, DaemonImage, DaemonKind};
use cog_image::serve::{Content, SentObserver, Served, Zstd};
use cog_image::{Digest, Store};
use tokio::sync::mpsc::{Sender, channel};

use super::error::DaemonError;
use super::names::Owner;

/// Pieces of an archive that wait for the daemon.
const PIECES: usize = 4;
/// Bytes of one: gRPC takes messages of 4 MiB.
const PIECE: usize = 256 * 1024;

/// An image that a daemon has now.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// What the daemon calls it.
    pub id: String,
    /// Bytes that it took.
    pub sent: u64,
    /// The way that they took.
    pub route: Route,
}

/// How a daemon gets an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// It had it, under whatever name.
    Named,
    /// It pulled what it lacked.
    Pulled,
    /// By an archive: it cannot pull from this process.
    Archive,
}

/// Who is told how far it is.
pub struct Observers<'a> {
    /// Of bytes that were sent so far.
    pub sent: SentObserver,
    /// Of what is of interest to those who look for a mistake.
    pub detail: &'a dyn Fn(&str),
}

/// The form in which `daemon` takes layers.
pub fn layers_for(daemon: &Daemon) -> Zstd {
    if daemon.understands_zstd() {
        Zstd::Understood
    } else {
        Zstd::Refused
    }
}

/// Gives the daemon `content` under the name `repository:tag`. What it has already is only named.
pub fn hand_over(
    store: &Store,
    daemon: &Daemon,
    (repository, tag): (&str, &str),
    content: Content,
    observers: &Observers<'_>,
) -> Result<HandedOver, DaemonError> {
    let name = format!("{repository}:{tag}");
    for id in content.ids() {
        if let Some(image) = daemon.image(&id.to_string())? {
            daemon.tag(&image.id, repository, tag)?;
            if is_whole(daemon, &content, Some(&image), &name)? {
                return Ok(HandedOver {
                    id: image.id,
                    sent: 0,
                    route: Route::Named,
                });
            }
        }
    }
    let served = {
        let tag = Owner::here().tag("served");
        Served::start(store, content.clone(), &tag, observers.sent.clone())?
    };
    let reference = served.reference();
    if let Err(error) = daemon.pull(&reference) {
        if let Some(failure) = served.failure() {
            return Err(failure.into());
        }
        if served.was_read() {
            return Err(error.into());
        }
        (observers.detail)(&format!("{error}; an archive is sent instead"));
        let form = if daemon.keeps_blobs().unwrap_or_default() {
            Form::Layout(content.addresses())
        } else {
            Form::Docker
        };
        let sent = Archive::of(store, content, &name, form).send(daemon, 0, observers)?;
        return Ok(HandedOver {
            id: here(daemon, &name, &name)?,
            sent,
            route: Route::Archive,
        });
    }
    let mut sent = served.sent();
    let pulled = daemon.image(&reference)?;
    let is_whole = is_whole(daemon, &content, pulled.as_ref(), &reference)?;
    if !is_whole {
        (observers.detail)(&format!(
            "{} has pulled no layer whose files it has; archives bring those that it lacks",
            daemon.title()
        ));
        for portion in content.portions(&served.given()) {
            let form = Form::Layout(portion);
            let archive = Archive::of(store, content.clone(), &reference, form);
            sent = archive.send(daemon, sent, observers)?;
            if daemon.has_all_of(&reference)? {
                break;
            }
        }
    }
    let id = match pulled {
        Some(pulled) if is_whole => pulled.id,
        _ => here(daemon, &reference, &name)?,
    };
    let named = daemon.tag(&id, repository, tag);
    // The name of the place that it came from means nothing any more.
    let forgotten = daemon.untag(&reference);
    named?;
    forgotten?;
    Ok(HandedOver {
        id,
        sent,
        route: Route::Pulled,
    })
}

/// The id of an image that the daemon has just got as `reference`.
fn here(daemon: &Daemon, reference: &str, name: &str) -> Result<String, DaemonError> {
    let found = daemon.image(reference)?;
    found
        .map(|image| image.id)
        .ok_or_else(|| DaemonError::Lost {
            daemon: daemon.title(),
            name: name.to_owned(),
        })
}

/// Whether the daemon has all of the image `name` that it was given, or had: `image` is what it says of it, if it says
/// something.
fn is_whole(
    daemon: &Daemon,
    content: &Content,
    image: Option<&DaemonImage>,
    name: &str,
) -> Result<bool, DaemonError> {
    let [config, _] = content.ids();
    // Who calls images by their config keeps files alone, of which none can be missing.
    let keeps_files = image.is_some_and(|image| image.id == config.to_string());
    if keeps_files || daemon.kind() == DaemonKind::Podman {
        return Ok(true);
    }
    Ok(daemon.has_all_of(name)?)
}

/// What an archive is like.
enum Form {
    /// Docker's, with plain layers: every version reads it.
    Docker,
    /// An OCI layout, for a daemon that keeps images as registries have them; with these layers alone.
    Layout(HashSet<Digest>),
}

/// An image for a daemon that cannot pull it, such as one in a virtual machine, or not all of it.
struct Archive {
    store: Store,
    content: Content,
    /// What the image is called in it.
    name: String,
    form: Form,
}

impl Archive {
    fn of(store: &Store, content: Content, name: &str, form: Form) -> Self {
        Self {
            store: store.clone(),
            content,
            name: name.to_owned(),
            form,
        }
    }

    fn write(&self, out: &mut Pieces) -> cog_image::Result<()> {
        let Self { store, name, .. } = self;
        match &self.form {
            Form::Docker => self.content.write_archive(store, name, out),
            Form::Layout(layers) => self.content.write_layout(store, name, layers, out),
        }
    }

    /// The daemon loads it, after `before` bytes that it took otherwise. Returns the number of all.
    fn send(
        self,
        daemon: &Daemon,
        before: u64,
        observers: &Observers<'_>,
    ) -> Result<u64, DaemonError> {
        let (sender, pieces) = channel(PIECES);
        let mut out = Pieces::new(sender);
        out.sent = before;
        out.observer = Some(observers.sent.clone());
        let writer = std::thread::spawn(move || {
            let written = self.write(&mut out);
            if written.is_err() {
                // Half an archive must not look whole.
                let broken = io::Error::other("the archive could not be written to its end");
                let _ = out.sender.blocking_send(Err(broken));
            }
            written.map(|()| out.sent)
        });
        let loaded = daemon.load(pieces);
        let written = writer
            .join()
            .map_err(|_| io::Error::other("the thread that writes the archive ended"))?;
        match (written, loaded) {
            (Ok(sent), Ok(())) => Ok(sent),
            // The daemon hung up: it says why.
            (Err(cog_image::Error::Io(error)), Err(refused)) if is_hang_up(&error) => {
                Err(refused.into())
            }
            (Err(error), _) => Err(error.into()),
            (Ok(_), Err(refused)) => Err(refused.into()),
        }
    }
}

/// Whether whoever read has gone.
pub(super) fn is_hang_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Takes what is written to a daemon.
pub(super) struct Pieces {
    sender: Sender<io::Result<Bytes>>,
    sent: u64,
    observer: Option<SentObserver>,
}

impl Pieces {
    pub(super) fn new(sender: Sender<io::Result<Bytes>>) -> Self {
        Self {
            sender,
            sent: 0,
            observer: None,
        }
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE)];
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.sender.blocking_send(Ok(piece));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.sent += bytes.len() as u64;
        if let Some(observer) = &self.observer {
            observer(self.sent);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use io::Write as _;

    use super::*;

    #[test]
    fn no_piece_is_larger_than_a_message_may_be() {
        let content: Vec<u8> = (0..=250).cycle().take(9 * PIECE / 4).collect();
        let (sender, mut receiver) = channel(PIECES);
        let mut pieces = Pieces::new(sender);
        pieces.write_all(&content).unwrap();
        assert_eq!(pieces.sent, content.len() as u64);
        drop(pieces);
        let mut taken = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            let piece = piece.unwrap();
            assert!(piece.len() <= PIECE);
            taken.extend_from_slice(&piece);
        }
        assert_eq!(taken, content);
    }
}
