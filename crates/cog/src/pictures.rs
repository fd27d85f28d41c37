//! Pictures in a terminal that shows some: what to print for one, by kitty's protocol or iTerm2's.
//!
//! Sent as they are. kitty's protocol takes PNG alone, and nothing is decoded here for it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::emulator::{self, Protocol};
use crate::live::Size;
use crate::outputs::contents;
use crate::printer::Printer;

/// What a piece of kitty's protocol may have, in letters of base64.
const PIECE: usize = 4096;

/// A picture's format, by its first bytes: what its type says came from somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Png,
    Jpeg,
    Gif,
    Webp,
}

/// A terminal in cells and in dots; no dots if it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) cells: Size,
    pub(crate) dots: (u32, u32),
}

/// Shows the pictures in an output, or says why it does not.
pub(crate) fn show(printer: &Printer, output: &Value) {
    let pictures: Vec<(Format, Vec<u8>)> = contents(output)
        .filter_map(|content| Some((Format::of(&content)?, content)))
        .collect();
    if pictures.is_empty() {
        return printer.info("`--show`: the output has no pictures");
    }
    let Some(room) = printer.room() else {
        return printer.info("`--show`: pictures are shown in a terminal only");
    };
    let Some(protocol) = emulator::of_environment().pictures() else {
        return printer.info(
            "`--show`: this terminal is not known to show pictures, as kitty, Ghostty, Konsole, iTerm2, WezTerm and mintty do",
        );
    };
    for (format, content) in pictures {
        match sequence(protocol, format, &content, room) {
            Some(sequence) => printer.picture(&sequence),
            None => printer.info(&format!(
                "`--show`: this terminal takes PNG, and not {}",
                format.name()
            )),
        }
    }
}

impl Format {
    fn of(content: &[u8]) -> Option<Self> {
        match content {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(Self::Gif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::Webp),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Gif => "GIF",
            Self::Webp => "WebP",
        }
    }
}

/// What to print; nothing if the protocol does not take the format.
fn sequence(protocol: Protocol, format: Format, content: &[u8], room: Room) -> Option<String> {
    match (protocol, format) {
        (Protocol::Kitty, Format::Png) => Some(kitty(content, room)),
        (Protocol::Kitty, _) => None,
        (Protocol::Iterm, _) => Some(iterm(content)),
    }
}

/// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
fn kitty(png: &[u8], room: Room) -> String {
    let text = STANDARD.encode(png);
    let pieces: Vec<&str> = pieces(&text).collect();
    let mut sequence = String::new();
    for (number, piece) in pieces.iter().enumerate() {
        // Shown where the cursor is, and not answered: nobody here would read that.
        let keys = match number {
            0 => format!("a=T,f=100,q=2{},", fitted(png, room)),
            _ => String::new(),
        };
        let more = u8::from(number + 1 < pieces.len());
        let _ = write!(sequence, "\x1b_G{keys}m={more};{piece}\x1b\\");
    }
    sequence
}

/// Base64 in pieces; each letter of it is one byte.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len())
        .step_by(PIECE)
        .map(|begin| &text[begin..(begin + PIECE).min(text.len())])
}

/// The key that makes a picture smaller which is larger than the terminal.
fn fitted(png: &[u8], room: Room) -> String {
    let Some((width, height)) = dimensions(png) else {
        return String::new();
    };
    let (across, down) = room.dots;
    if across == 0 || down == 0 || (width <= across && height <= down) {
        return String::new();
    }
    let is_wide = u64::from(width) * u64::from(down) >= u64::from(height) * u64::from(across);
    if is_wide {
        format!(",c={}", room.cells.columns)
    } else {
        // The last row is for what is printed next.
        format!(",r={}", room.cells.rows.saturating_sub(1).max(1))
    }
}

/// Width and height, which are the first that a PNG tells.
fn dimensions(png: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| {
        let bytes = png.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    Some((number(16)?, number(20)?))
}

/// <https://iterm2.com/documentation-images.html>; it makes what is too wide smaller by itself.
fn iterm(content: &[u8]) -> String {
    format!(
        "\x1b]1337;File=inline=1;preserveAspectRatio=1;size={}:{}\x07",
        content.len(),
        STANDARD.encode(content)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        cells: Size {
            columns: 80,
            rows: 24,
        },
        dots: (800, 480),
    };

    /// The beginning of a PNG of this size, and as many bytes more.
    fn png(width: u32, height: u32, more: usize) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend(width.to_be_bytes());
        png.extend(height.to_be_bytes());
        png.extend(std::iter::repeat_n(7, more));
        png
    }

    #[test]
    fn formats_are_known_by_their_bytes() {
        assert_eq!(Format::of(&png(1, 1, 0)), Some(Format::Png));
        assert_eq!(Format::of(b"\xff\xd8\xff\xe0"), Some(Format::Jpeg));
        assert_eq!(Format::of(b"GIF89a"), Some(Format::Gif));
        assert_eq!(Format::of(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::Webp));
        assert_eq!(Format::of(b"RIFF\0\0\0\0WAVE"), None);
        assert_eq!(Format::of(b""), None);
    }

    #[test]
    fn kitty_gets_pieces() {
        let picture = png(10, 10, 7000);
        let sent = sequence(Protocol::Kitty, Format::Png, &picture, ROOM).unwrap();
        assert!(
            sent.starts_with("\x1b_Ga=T,f=100,q=2,m=1;iVBOR"),
            "{}",
            &sent[..40]
        );
        let pieces: Vec<&str> = sent.split_terminator("\x1b\\").collect();
        assert_eq!(pieces.len(), 3);
        assert!(pieces[1].starts_with("\x1b_Gm=1;") && pieces[2].starts_with("\x1b_Gm=0;"));
        let text: String = pieces
            .iter()
            .map(|piece| piece.split_once(';').unwrap().1)
            .collect();
        assert_eq!(STANDARD.decode(text).unwrap(), picture);
        assert_eq!(sequence(Protocol::Kitty, Format::Jpeg, b"", ROOM), None);
    }

    #[test]
    fn what_is_too_large_is_made_smaller() {
        let key = |width, height| fitted(&png(width, height, 0), ROOM);
        assert_eq!(key(800, 480), "");
        assert_eq!(key(1024, 480), ",c=80");
        assert_eq!(key(400, 1024), ",r=23");
        assert_eq!(key(1600, 960), ",c=80");
        let unknown = Room {
            dots: (0, 0),
            ..ROOM
        };
        assert_eq!(fitted(&png(9000, 9000, 0), unknown), "");
        assert_eq!(fitted(b"\x89PNG", ROOM), "");
    }

    #[test]
    fn iterm_gets_it_whole() {
        assert_eq!(
            sequence(Protocol::Iterm, Format::Gif, b"GIF8", ROOM).unwrap(),
            "\x1b]1337;File=inline=1;preserveAspectRatio=1;size=4:R0lGOA==\x07"
        );
    }
}
