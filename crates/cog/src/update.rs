//! A word about newer versions, as somebody says it whom `COG_UPDATE_URL` names.
//!
//! Without that variable nobody is asked: the address that the published tool asks knows nothing of our versions. The
//! question is asked beside the command, which never waits for it; the answer is shown by the commands that follow.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use cog_files::{Links, read_regular_text};
use cog_image::registry::{Client, ClientOptions};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::printer::Printer;
use crate::runtime::block_on;

/// Where to ask.
const COG_UPDATE_URL: &str = "COG_UPDATE_URL";
/// Keeps us from asking.
const COG_NO_UPDATE_CHECK: &str = "COG_NO_UPDATE_CHECK";

/// How often it is asked at most.
const INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of an answer, and of the file that keeps it.
const MOST: usize = 16 * 1024;
/// Letters of what is shown.
const MOST_SHOWN: usize = 500;

/// What is remembered between commands.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct State {
    /// What to show.
    message: String,
    /// When it was last asked.
    last_checked: String,
    /// The version that asked.
    version: String,
}

/// Shows what was answered last, and asks again if that is long ago. Whatever goes wrong is no affair of the command.
pub(crate) fn check(printer: &Printer) {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(url) = variable(COG_UPDATE_URL).filter(|_| variable(COG_NO_UPDATE_CHECK).is_none())
    else {
        return;
    };
    let Some(file) = variable("HOME").map(|home| Path::new(&home).join(STATE_FILE)) else {
        return;
    };
    let step = next(&file, Timestamp::now());
    if let Some(message) = &step.message {
        printer.info(message);
    }
    if step.asks {
        // Nor is one asked sooner again that does not answer.
        let message = step.message.unwrap_or_default();
        let _ = write(&file, &State::new(message, Timestamp::now()));
        // It ends with the command, answered or not.
        std::thread::spawn(move || ask(&url, &file));
    }
}

const STATE_FILE: &str = ".config/cog/update-state.json";

/// What is done before a command.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    message: Option<String>,
    asks: bool,
}

fn next(file: &Path, now: Timestamp) -> Step {
    let nothing = Step {
        message: None,
        asks: false,
    };
    let text = read_regular_text(file, Links::Followed, MOST as u64);
    let known: Option<State> = text.ok().and_then(|text| serde_json::from_str(&text).ok());
    let Some(state) = known.filter(|state| state.version == VERSION) else {
        let _ = write(file, &State::new(String::new(), Timestamp::UNIX_EPOCH));
        return nothing;
    };
    let last: Option<Timestamp> = state.last_checked.parse().ok();
    Step {
        asks: last.is_none_or(|last| now.duration_since(last).abs() > INTERVAL),
        message: Some(shown(&state.message)).filter(|message| !message.is_empty()),
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl State {
    fn new(message: String, last_checked: Timestamp) -> Self {
        Self {
            message,
            last_checked: last_checked.to_string(),
            version: VERSION.to_owned(),
        }
    }
}

/// One line of plain letters.
fn shown(message: &str) -> String {
    let letters = message
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let text: String = letters.take(MOST_SHOWN).collect();
    text.trim().to_owned()
}

#[derive(Deserialize)]
struct Answer {
    message: String,
}

fn ask(url: &str, file: &Path) -> anyhow::Result<()> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let url = format!("{url}{separator}version={VERSION}&commit=&os={os}&arch={architecture}");
    let client = Client::new(ClientOptions::from_environment()?)?;
    let page = block_on(async {
        let page = tokio::time::timeout(PATIENCE, client.page(&url, MOST));
        Ok(page.await??)
    })?;
    let page = page.context("there is no such page")?;
    let Answer { message } = serde_json::from_slice(&page)?;
    write(file, &State::new(message, Timestamp::now()))?;
    Ok(())
}

/// Another command may do the same: the file is always whole.
fn write(file: &Path, state: &State) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let temporary: PathBuf = folder.join(format!(".update-state.{}", std::process::id()));
    let written = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| io::Write::write_all(&mut file, &serde_json::to_vec(state)?))
        .and_then(|()| fs_err::rename(&temporary, file));
    if written.is_err() {
        let _ = fs_err::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_command_of_a_version_only_begins_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cog/update-state.json");
        let now = at("2026-01-01T12:00:00Z");
        let quiet = Step {
            message: None,
            asks: false,
        };
        assert_eq!(next(&file, now), quiet);
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let asks = Step {
            message: None,
            asks: true,
        };
        assert_eq!(next(&file, now), asks);
        let other = r#"{"message": "old", "lastChecked": "", "version": "0.0.1"}"#;
        fs_err::write(&file, other).unwrap();
        assert_eq!(next(&file, now), quiet);
    }

    #[test]
    fn an_answer_is_shown_for_an_hour_before_it_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        let state = State::new("newer:\u{1b}[2J 9.9\n".into(), at("2026-01-01T12:00:00Z"));
        write(&file, &state).unwrap();
        let message = Some("newer: [2J 9.9".to_owned());
        for (now, asks) in [
            ("2026-01-01T12:59:00Z", false),
            ("2026-01-01T13:01:00Z", true),
            // A clock that was wrong.
            ("2020-01-01T00:00:00Z", true),
        ] {
            let step = Step {
                message: message.clone(),
                asks,
            };
            assert_eq!(next(&file, at(now)), step, "{now}");
        }
    }

    #[test]
    fn what_is_answered_is_kept() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/check", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let length = connection.read(&mut request).unwrap();
            let body = r#"{"message": "cog 9.9 is out"}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.write_all((head + body).as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.json");
        ask(&url, &file).unwrap();
        let request = server.join().unwrap();
        let line = format!("GET /check?version={VERSION}&commit=&os=linux&arch=");
        assert!(request.starts_with(&line), "{request}");
        let request = request.to_lowercase();
        assert!(request.contains("accept: application/json"), "{request}");
        let step = next(&file, Timestamp::now());
        assert_eq!(step.message.as_deref(), Some("cog 9.9 is out"));
        assert!(!step.asks);
    }
}
