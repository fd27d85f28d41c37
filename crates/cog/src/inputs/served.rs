//! Files of the command line that are too large for a request: the model's server fetches them from here.
//!
//! They are served on the loopback, under names that nobody can guess, for as long as the value lives. The model gets
//! copies of its own, as of any URL, whatever engine and image it runs in.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::outputs::mime_of;

/// The request line and headers of a client that means well.
const MAX_HEAD: u64 = 16 * 1024;
/// How long a client may take to ask. What it asked for it may read as slowly as it likes: models read files bit by bit.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server of files.
#[derive(Debug)]
pub(crate) struct Served {
    address: std::net::SocketAddr,
    token: String,
    files: Files,
}

type Files = Arc<Mutex<Vec<(String, std::fs::File)>>>;

impl Served {
    /// Begins to listen.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let files = Files::default();
        let shown = Arc::clone(&files);
        // Ends with the program.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let files = Arc::clone(&shown);
                std::thread::spawn(move || answer(&connection, &files));
            }
        });
        Ok(Self {
            address,
            token: token()?,
            files,
        })
    }

    /// The URL of a file, which ends with the file's name.
    pub(crate) fn add(&self, path: &Path, file: std::fs::File) -> String {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("/{}/{}/{}", self.token, files.len(), escaped(&name));
        files.push((place.clone(), file));
        format!("http://{}{place}", self.address)
    }
}

fn token() -> io::Result<String> {
    let mut random = [0_u8; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

/// All but letters, digits and some signs as `%XX`.
pub(super) fn escaped(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Answers one request; one that makes no sense gets no answer.
fn answer(mut connection: &TcpStream, files: &Files) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut head = BufReader::new(connection).take(MAX_HEAD);
    let mut request = String::new();
    head.read_line(&mut request)?;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split(' ');
    let (method, place) = (words.next(), words.next().unwrap_or_default());
    let found = {
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let found = files.iter().find(|(known, _)| known == place);
        found
            .map(|(name, _)| name.clone())
            .zip(found.map(|(_, file)| file.try_clone()))
    };
    let Some((name, file)) = found else {
        return connection.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let mut content = Whole::of(file?)?;
    let mime = mime_of(&name);
    let length = content.length;
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if method == Some("GET") {
        io::copy(&mut content, &mut connection)?;
    }
    Ok(())
}

/// A file from its beginning, whoever else reads it: several requests share one.
struct Whole {
    file: std::fs::File,
    length: u64,
    place: u64,
}

impl Whole {
    fn of(file: std::fs::File) -> io::Result<Self> {
        Ok(Self {
            length: file.metadata()?.len(),
            file,
            place: 0,
        })
    }
}

impl io::Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length - self.place).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let length =
            std::os::unix::fs::FileExt::read_at(&self.file, &mut buffer[..wanted], self.place)?;
        self.place += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(url: &str, method: &str) -> String {
        let rest = url.strip_prefix("http://").unwrap();
        let (address, path) = rest.split_once('/').unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        write!(
            connection,
            "{method} /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_are_served_under_their_names_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b.m4a");
        fs_err::write(&path, "content").unwrap();
        let served = Served::start().unwrap();
        let url = served.add(
            &path,
            std::fs::File::from(fs_err::File::open(&path).unwrap()),
        );
        assert!(url.ends_with("/0/a%20b.m4a"), "{url}");
        for _ in 0..2 {
            let answer = ask(&url, "GET");
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ncontent"),
                "{answer}"
            );
            assert!(answer.contains("Content-Length: 7\r\n"), "{answer}");
        }
        assert!(ask(&url, "HEAD").ends_with("\r\n\r\n"));
        for other in [
            url.replace("/0/", "/1/"),
            url.replace("a%20b", "b"),
            "http://{}/".replace("{}", &served.address.to_string()),
        ] {
            assert!(ask(&other, "GET").starts_with("HTTP/1.1 404"), "{other}");
        }
    }
}
