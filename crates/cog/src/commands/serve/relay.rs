//! Takes clients to a server whose port a daemon opens. Their port is ours and stays when another container takes over: they
//! wait for that, as they do for a server that has our socket.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::RwLock;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};

use crate::client;
use crate::runtime::block_on;

/// How often a server is asked whether it is there, and how long it has for an answer.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
const ASK_LIMIT: Duration = Duration::from_millis(250);

/// Clones lead the same clients. It ends with the process.
#[derive(Clone)]
pub(super) struct Relay {
    server: Arc<Sender<Option<SocketAddr>>>,
    gate: Gate,
}

/// Held for reading while somebody is let in, until they are at the server.
type Gate = Arc<RwLock<()>>;

impl Relay {
    /// Clients that come to `listener` wait until they are led to a server.
    pub(super) fn start(listener: TcpListener) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        let (server, changes) = channel(None);
        let gate = Gate::default();
        let relay = Self {
            server: Arc::new(server),
            gate: Arc::clone(&gate),
        };
        std::thread::spawn(move || block_on(lead(listener, changes, gate)));
        Ok(relay)
    }

    /// From now on they get to this one, as soon as it answers.
    pub(super) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(Some(server));
    }

    /// From now on they wait. Those who were led before are with their server, which may end then: it answers them.
    pub(super) async fn rest(&self) {
        let before = self.server.send_replace(None);
        drop(self.gate.write().await);
        if let Some(server) = before {
            // It takes in one after the other, and so has those who came before this question.
            answers(server).await;
        }
    }
}

/// Leads clients until there is nobody any more who could say where to.
async fn lead(
    listener: TcpListener,
    mut changes: Receiver<Option<SocketAddr>>,
    gate: Gate,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let server = *changes.borrow_and_update();
        let led = async {
            match server {
                Some(server) => lead_all(&listener, server, &gate).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = led => {}
            news = changes.changed() => news?,
        }
    }
}

async fn lead_all(listener: &tokio::net::TcpListener, server: SocketAddr, gate: &Gate) {
    // A daemon lets clients in before the server is there, and sends them away.
    while !answers(server).await {
        sleep(ASK_INTERVAL).await;
    }
    loop {
        let pass = Arc::clone(gate).read_owned().await;
        let Ok((mut client, _)) = listener.accept().await else {
            // Out of descriptors, most likely: some connections have to end first.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::spawn(async move {
            let connected = TcpStream::connect(server).await;
            drop(pass);
            let mut server = connected?;
            // As they would see each other without us.
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut server).await
        });
    }
}

async fn answers(server: SocketAddr) -> bool {
    let asked = timeout(ASK_LIMIT, client::get(server, "/health-check")).await;
    matches!(asked, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::Response;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::task::JoinHandle;

    use super::*;

    /// A server that says a word, whatever it is asked.
    async fn saying(word: &'static str) -> (SocketAddr, JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let service = service_fn(move |_| async move {
                        let body: Full<Bytes> = Full::from(Bytes::from_static(word.as_bytes()));
                        Ok::<_, Infallible>(Response::new(body))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (address, task)
    }

    #[test]
    fn clients_wait_for_the_next_server() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Relay::start(listener).unwrap();
        let heard = |asked: anyhow::Result<client::Response>| {
            String::from_utf8(asked.unwrap().body.to_vec()).unwrap()
        };
        block_on(async {
            let early = tokio::spawn(async move { client::get(address, "/").await });
            let (first, task) = saying("first").await;
            relay.lead_to(first);
            assert_eq!(heard(early.await?), "first");
            relay.rest().await;
            task.abort();
            let _ = task.await;
            let waiting = tokio::spawn(async move { client::get(address, "/").await });
            let (second, _task) = saying("second").await;
            relay.lead_to(second);
            assert_eq!(heard(waiting.await?), "second");
            Ok(())
        })
        .unwrap();
    }
}
