//! Pictures in a terminal that shows some: what to print for one, by kitty's protocol or iTerm2's, or as sixels.
//!
//! Sent as they are where the terminal takes them so. kitty's protocol takes PNG alone, and sixels are dots of few
//! colours: for these PNG and JPEG are decoded.

mod jpeg;
mod palette;
mod png;
mod raster;
mod sixel;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use self::raster::Raster;
use crate::attributes::{self, Attributes};
use crate::emulator::{self, Protocol};
use crate::live::Size;
use crate::outputs::contents;
use crate::printer::Printer;

/// What a piece of kitty's protocol may have, in letters of base64.
const PIECE: usize = 4096;
/// Dots of a cell, where a terminal does not tell.
const USUAL_CELL: (usize, usize) = (8, 16);
/// Colours of sixels: more are of no use, and where a terminal does not tell it has that many.
const MOST_COLOURS: usize = 256;

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
    let Some(way) = Way::find() else {
        return printer.info(
            "`--show`: this terminal is not known to show pictures, as kitty, Ghostty, Konsole, iTerm2, WezTerm and mintty do, and says of itself that it draws no sixels",
        );
    };
    for (format, content) in pictures {
        match sequence(way, format, &content, room) {
            Ok(sequence) => printer.picture(&sequence),
            Err(why) => printer.info(&format!("`--show`: {why}")),
        }
    }
}

/// How a picture gets onto the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Protocol(Protocol),
    Sixels { colours: usize },
}

impl Way {
    /// Those who name themselves are not asked.
    fn find() -> Option<Self> {
        if let Some(protocol) = emulator::of_environment().pictures() {
            return Some(Self::Protocol(protocol));
        }
        Self::answered(attributes::ask()?)
    }

    fn answered(attributes: Attributes) -> Option<Self> {
        let Attributes { sixel, colours } = attributes;
        let colours = colours.unwrap_or(MOST_COLOURS).min(MOST_COLOURS);
        (sixel && colours > 1).then_some(Self::Sixels { colours })
    }
}

/// Why a picture is not shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unshown {
    #[error("this terminal takes PNG and JPEG, and not {0}")]
    Format(&'static str),
    #[error("a {0} that is damaged, or has more than 64 million dots")]
    Unreadable(&'static str),
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

/// What to print.
fn sequence(way: Way, format: Format, content: &[u8], room: Room) -> Result<String, Unshown> {
    let small = || {
        let (width, height) = room.for_pictures();
        Ok(decode(format, content)?.fitted(width, height))
    };
    Ok(match way {
        Way::Protocol(Protocol::Iterm) => iterm(content),
        Way::Protocol(Protocol::Kitty) if format == Format::Png => kitty(content, room),
        Way::Protocol(Protocol::Kitty) => {
            let picture = png::encode(&small()?);
            kitty(&picture.ok_or(Unshown::Unreadable(format.name()))?, room)
        }
        Way::Sixels { colours } => sixel::encode(&small()?, colours),
    })
}

fn decode(format: Format, content: &[u8]) -> Result<Raster, Unshown> {
    let name = format.name();
    let decoded = match format {
        Format::Png => png::decode(content),
        Format::Jpeg => jpeg::decode(content),
        Format::Gif | Format::Webp => return Err(Unshown::Format(name)),
    };
    decoded.ok_or(Unshown::Unreadable(name))
}

impl Room {
    /// Dots of the terminal without its last row, which is for what is printed next.
    fn for_pictures(self) -> (usize, usize) {
        let (columns, rows) = (self.cells.columns.max(1), self.cells.rows.max(2));
        let size = |dots: u32, cells: usize, usual: usize| match usize::try_from(dots) {
            Ok(dots) if dots > 0 => dots,
            _ => cells * usual,
        };
        let height = size(self.dots.1, rows, USUAL_CELL.1);
        (
            size(self.dots.0, columns, USUAL_CELL.0),
            height - height / rows,
        )
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
        let kitty = Way::Protocol(Protocol::Kitty);
        let sent = sequence(kitty, Format::Png, &picture, ROOM).unwrap();
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
    }

    /// A square of 40 by 40 dots: red on the left, blue on the right.
    const JPEG: &[u8] = include_bytes!("two-halves.jpg");

    #[test]
    fn kitty_gets_a_png_of_a_jpeg() {
        let kitty = Way::Protocol(Protocol::Kitty);
        let sent = sequence(kitty, Format::Jpeg, JPEG, ROOM).unwrap();
        let text: String = sent
            .split_terminator("\x1b\\")
            .map(|piece| piece.split_once(';').unwrap().1)
            .collect();
        let shown = png::decode(&STANDARD.decode(text).unwrap()).unwrap();
        assert_eq!((shown.width, shown.height), (40, 40));
        let near = |dot: usize, colour: [u8; 4]| {
            let differences = shown.dots[dot].iter().zip(colour);
            let furthest = differences.map(|(one, other)| one.abs_diff(other)).max();
            assert!(furthest < Some(16), "{:?}", shown.dots[dot]);
        };
        near(20 * 40 + 4, [255, 0, 0, 255]);
        near(20 * 40 + 36, [0, 0, 255, 255]);
    }

    #[test]
    fn sixels_fit_the_terminal() {
        let sixels = Way::Sixels { colours: 16 };
        let sent = sequence(sixels, Format::Jpeg, JPEG, ROOM).unwrap();
        assert!(sent.starts_with("\x1bP0;1;0q\"1;1;40;40#0;2;"), "{sent}");
        let narrow = Room {
            dots: (20, 480),
            ..ROOM
        };
        let sent = sequence(sixels, Format::Jpeg, JPEG, narrow).unwrap();
        assert!(sent.starts_with("\x1bP0;1;0q\"1;1;20;20#"), "{sent}");
        let unknown = Room {
            dots: (0, 0),
            ..ROOM
        };
        assert_eq!(ROOM.for_pictures(), (800, 460));
        assert_eq!(unknown.for_pictures(), (640, 368));
    }

    #[test]
    fn what_cannot_be_shown_is_said() {
        let sixels = Way::Sixels { colours: 16 };
        let kitty = Way::Protocol(Protocol::Kitty);
        for way in [sixels, kitty] {
            let why = |format, content| sequence(way, format, content, ROOM).unwrap_err();
            assert_eq!(why(Format::Gif, b"GIF8"), Unshown::Format("GIF"));
            assert_eq!(why(Format::Webp, b"RIFF"), Unshown::Format("WebP"));
            let half = &JPEG[..40];
            assert_eq!(why(Format::Jpeg, half), Unshown::Unreadable("JPEG"));
        }
        let why = sequence(sixels, Format::Png, &png(1, 1, 3), ROOM);
        assert_eq!(why, Err(Unshown::Unreadable("PNG")));
    }

    #[test]
    fn terminals_that_draw_sixels_get_as_many_colours_as_they_have() {
        let way = |sixel, colours| Way::answered(Attributes { sixel, colours });
        assert_eq!(way(false, Some(256)), None);
        assert_eq!(way(true, Some(0)), None);
        for (colours, used) in [(None, 256), (Some(16), 16), (Some(1024), 256)] {
            assert_eq!(way(true, colours), Some(Way::Sixels { colours: used }));
        }
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
            sequence(Way::Protocol(Protocol::Iterm), Format::Gif, b"GIF8", ROOM).unwrap(),
            "\x1b]1337;File=inline=1;preserveAspectRatio=1;size=4:R0lGOA==\x07"
        );
    }
}
