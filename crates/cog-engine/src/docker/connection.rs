//! A plain connection to a daemon, for what its client does not offer.

use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;

/// What requests say that they are for. Daemons read no name there.
pub(super) const HOST_NAME: HeaderValue = HeaderValue::from_static("daemon");

/// Bytes there and back.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Connects to the daemon at `address`. The error says why that is not possible.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Connection>, String> {
    let words = |error: std::io::Error| error.to_string();
    Ok(match address {
        Address::Socket(path) => Box::new(UnixStream::connect(path).await.map_err(words)?),
        Address::Tcp(authority) => Box::new(TcpStream::connect(authority).await.map_err(words)?),
        Address::Tls(..) => return Err("not over TLS".to_owned()),
    })
}
