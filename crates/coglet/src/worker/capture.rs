//! What arrives on the worker's descriptors 1 and 2: the output of C code and of child processes.
//!
//! Python's own `print` does not come this way. A read may end anywhere, so lines are put together
//! here and no byte is lost; a line without an end is given out when its prediction ends.

use std::io;
use std::sync::Arc;

use tokio::net::unix::pipe;

use crate::secrets::Secrets;

/// A longer line is given out in pieces.
const MAX_LINE: usize = 1 << 20;
/// What a pipe holds if it does not tell.
const USUAL_CAPACITY: usize = 64 << 10;

/// One of the two pipes.
pub(super) struct Capture {
    /// `None` after everyone who could write to it has closed it.
    pipe: Option<pipe::Receiver>,
    lines: LineBuffer,
}

impl Capture {
    /// Where it gives out pieces of lines, it does not cut these secrets in two.
    pub(super) fn new(pipe: pipe::Receiver, secrets: &Arc<Secrets>) -> Self {
        Self {
            pipe: Some(pipe),
            lines: LineBuffer {
                secrets: Arc::clone(secrets),
                ..LineBuffer::default()
            },
        }
    }

    /// Resolves when something can be read; never if the pipe is closed.
    pub(super) async fn readable(&self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }

    /// Takes one read's worth of whole lines after `readable`.
    pub(super) fn read(&mut self) -> Option<String> {
        let mut buffer = [0; 16 << 10];
        match self.pipe.as_ref()?.try_read(&mut buffer) {
            Ok(0) => self.close(),
            Ok(length) => self.lines.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => self.close(),
        }
    }

    /// Takes everything that has been written until now, the unfinished line included.
    ///
    /// It asks the pipe itself: the event loop may not have heard yet of what was written just before
    /// the worker said that it is done. More than the pipe holds was written later, by a child that may
    /// never stop.
    pub(super) fn drain(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut buffer = [0; 16 << 10];
        let mut rest = self.capacity();
        while let Some(pipe) = &self.pipe
            && rest > 0
        {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => text.extend(self.close()),
                Ok(length) => {
                    rest = rest.saturating_sub(length);
                    text.extend(self.lines.push(&buffer[..length]));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        text.extend(self.lines.finish());
        Some(text).filter(|text| !text.is_empty())
    }

    fn capacity(&self) -> usize {
        let pipe = self.pipe.as_ref();
        pipe.and_then(|pipe| rustix::pipe::fcntl_getpipe_size(pipe).ok())
            .unwrap_or(USUAL_CAPACITY)
    }

    fn close(&mut self) -> Option<String> {
        self.pipe = None;
        self.lines.finish()
    }
}

/// Puts lines together.
#[derive(Debug, Default)]
struct LineBuffer {
    unfinished: Vec<u8>,
    secrets: Arc<Secrets>,
}

impl LineBuffer {
    /// The lines that are whole now, as one text.
    fn push(&mut self, bytes: &[u8]) -> Option<String> {
        // What is there already has no end: progress bars may write a little of a line very often.
        let newline = bytes.iter().rposition(|byte| *byte == b'\n');
        let before = self.unfinished.len();
        self.unfinished.extend_from_slice(bytes);
        let end = match newline {
            Some(newline) => before + newline + 1,
            None if self.unfinished.len() >= MAX_LINE => self.piece(),
            None => return None,
        };
        let rest = self.unfinished.split_off(end);
        let lines = std::mem::replace(&mut self.unfinished, rest);
        Some(String::from_utf8_lossy(&lines).into_owned())
    }

    /// How much of a line that is too long can be given out. All of it if it is all one secret.
    fn piece(&self) -> usize {
        let whole = whole_characters(&self.unfinished);
        match self.secrets.uncut(&self.unfinished[..whole]) {
            0 => whole,
            uncut => uncut,
        }
    }

    /// What is left, made into a line. It may break off within a secret.
    fn finish(&mut self) -> Option<String> {
        if self.unfinished.is_empty() {
            return None;
        }
        let line = std::mem::take(&mut self.unfinished);
        let line = String::from_utf8_lossy(&line);
        let mut line = self.secrets.hidden_in_beginning(&line).into_owned();
        line.push('\n');
        Some(line)
    }
}

/// How many of the bytes come before a character that is not here as a whole.
fn whole_characters(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0.. => 4,
            _ => 1,
        };
        if length > back + 1 {
            return bytes.len() - back - 1;
        }
        break;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_byte_is_lost(text in "[ab\n]{0,200}", cut in 1_usize..20) {
            let mut lines = LineBuffer::default();
            let mut out = String::new();
            for piece in text.as_bytes().chunks(cut) {
                let whole = lines.push(piece);
                prop_assert!(whole.as_ref().is_none_or(|whole| whole.ends_with('\n')));
                out.extend(whole);
            }
            let unfinished = lines.finish();
            prop_assert_eq!(unfinished.is_some(), !text.is_empty() && !text.ends_with('\n'));
            out.extend(unfinished);
            prop_assert_eq!(out.trim_end_matches('\n'), text.trim_end_matches('\n'));
        }
    }

    #[tokio::test]
    async fn what_comes_without_end_is_not_waited_for() {
        let (read, write) = std::io::pipe().unwrap();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let flood = std::thread::spawn(move || {
            use std::io::Write as _;
            let mut write = write;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                if write.write_all(&[b'\n'; 4096]).is_err() {
                    return;
                }
            }
        });
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let mut capture = Capture::new(
            pipe::Receiver::from_owned_fd(read.into()).unwrap(),
            &Arc::default(),
        );
        capture.readable().await;
        for _ in 0..20 {
            let text = capture.drain().unwrap_or_default();
            assert!(text.len() < 2 << 20, "{}", text.len());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(capture);
        flood.join().unwrap();
    }

    #[test]
    fn a_line_that_is_given_out_in_pieces_is_cut_between_characters() {
        for character in ["x", "é", "€", "😀"] {
            for offset in 0..4 {
                let mut lines = LineBuffer::default();
                let text = "y".repeat(offset) + &character.repeat(MAX_LINE);
                let mut out = String::new();
                for piece in text.as_bytes().chunks(MAX_LINE / 2 + 1) {
                    out.extend(lines.push(piece));
                }
                out.extend(lines.finish());
                assert!(out.trim_end() == text, "{character} {offset}");
            }
        }
        assert_eq!(whole_characters(b""), 0);
        assert_eq!(whole_characters(b"a\xff"), 1);
        assert_eq!(whole_characters(b"\x80\x80\x80\x80\x80"), 5);
    }

    #[test]
    fn no_secret_is_cut_in_two() {
        let mut lines = LineBuffer::default();
        let names = std::collections::HashSet::from(["key".to_owned()]);
        let input = r#"{"key": "hunter2-hunter2"}"#;
        let _given = lines.secrets.give(&input.into(), &names);
        let text = "x".repeat(MAX_LINE - 5) + "hunter2-hunter2 and";
        let (begun, rest) = text.as_bytes().split_at(MAX_LINE);
        assert!(lines.push(begun).is_some_and(|piece| piece.ends_with('x')));
        assert_eq!(lines.push(rest), None);
        let rest = lines.finish();
        assert_eq!(rest.as_deref(), Some("********** and\n"));
        lines.push(b"hunt");
        assert_eq!(lines.finish().as_deref(), Some("**********\n"));
    }

    #[test]
    fn a_line_in_many_pieces_is_not_searched_again_and_again() {
        let mut lines = LineBuffer::default();
        let began = std::time::Instant::now();
        for _ in 0..MAX_LINE - 1 {
            assert_eq!(lines.push(b"x"), None);
        }
        assert_eq!(lines.push(b"\n").map(|line| line.len()), Some(MAX_LINE));
        // Searching all of it each time would take minutes.
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn a_character_cut_in_two_stays_whole() {
        let mut lines = LineBuffer::default();
        assert_eq!(lines.push(&[0xc3]), None);
        assert_eq!(lines.push(&[0xa9, b'\n']), Some("é\n".into()));
    }
}
