//! Sixel: bands of six rows, drawn colour by colour. <https://vt100.net/docs/vt3xx-gp/chapter14.html>

use std::fmt::Write as _;

use super::palette::{Indexed, reduce};
use super::raster::Raster;

/// Rows of a band.
const BAND: usize = 6;
/// Letters in a row that are worth a number.
const WORTH_COUNTING: usize = 4;

/// What to print for a picture in at most so many colours.
pub(super) fn encode(raster: &Raster, colours: usize) -> String {
    let indexed = reduce(raster, colours);
    let (width, height) = (raster.width, raster.height);
    // Dots that are not drawn stay as they are; dots are as high as they are wide.
    let mut text = format!("\x1bP0;1;0q\"1;1;{width};{height}");
    for (number, colour) in indexed.colours.iter().enumerate() {
        let [red, green, blue] = colour.map(percent);
        let _ = write!(text, "#{number};2;{red};{green};{blue}");
    }
    for (number, band) in indexed.dots.chunks(width * BAND).enumerate() {
        if number > 0 {
            text.push('-');
        }
        draw(&mut text, &indexed, band);
    }
    text.push_str("\x1b\\");
    text
}

/// Each colour of the band from its left.
fn draw(text: &mut String, indexed: &Indexed, band: &[Option<u16>]) {
    let width = indexed.width;
    // For each colour a letter's bits in each column; nothing of those that are not in it.
    let mut drawn: Vec<Option<Vec<u8>>> = vec![None; indexed.colours.len()];
    for (place, colour) in band.iter().enumerate() {
        if let Some(colour) = colour {
            let columns = drawn[usize::from(*colour)].get_or_insert_with(|| vec![0; width]);
            columns[place % width] |= 1 << (place / width);
        }
    }
    let mut is_first = true;
    for (number, columns) in drawn.iter().enumerate() {
        let Some(columns) = columns else {
            continue;
        };
        if !std::mem::take(&mut is_first) {
            text.push('$');
        }
        let _ = write!(text, "#{number}");
        let end = columns.iter().rposition(|bits| *bits > 0);
        let columns = &columns[..end.map_or(0, |end| end + 1)];
        for run in columns.chunk_by(|one, other| one == other) {
            let letter = char::from(b'?' + run[0]);
            if run.len() >= WORTH_COUNTING {
                let _ = write!(text, "!{}{letter}", run.len());
            } else {
                text.extend(std::iter::repeat_n(letter, run.len()));
            }
        }
    }
}

/// Of the whole channel, as sixel counts.
fn percent(value: u8) -> u32 {
    (u32::from(value) * 100 + 127) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: [u8; 4] = [255, 0, 0, 255];
    const BLUE: [u8; 4] = [0, 0, 255, 255];
    const NONE: [u8; 4] = [0, 0, 0, 0];

    fn encoded(width: usize, dots: &[[u8; 4]]) -> String {
        let raster = Raster {
            width,
            height: dots.len() / width,
            dots: dots.to_vec(),
        };
        let text = encode(&raster, 256);
        let (head, body) = text.split_once('q').unwrap();
        assert_eq!(head, "\x1bP0;1;0");
        body.strip_suffix("\x1b\\").unwrap().to_owned()
    }

    #[test]
    fn colours_are_drawn_one_after_the_other() {
        assert_eq!(encoded(1, &[RED]), "\"1;1;1;1#0;2;100;0;0#0@");
        assert_eq!(
            encoded(2, &[RED, BLUE, BLUE, NONE]),
            "\"1;1;2;2#0;2;0;0;100#1;2;100;0;0#0A@$#1@"
        );
        let last = [[NONE; 2].as_slice(), &[NONE, RED]].concat();
        assert_eq!(encoded(2, &last), "\"1;1;2;2#0;2;100;0;0#0?A");
    }

    #[test]
    fn bands_have_six_rows() {
        assert_eq!(encoded(1, &[RED; 8]), "\"1;1;1;8#0;2;100;0;0#0~-#0B");
        let low = [vec![NONE; 6], vec![BLUE]].concat();
        assert_eq!(encoded(1, &low), "\"1;1;1;7#0;2;0;0;100-#0@");
    }

    #[test]
    fn what_repeats_is_counted() {
        assert_eq!(encoded(3, &[RED; 3]), "\"1;1;3;1#0;2;100;0;0#0@@@");
        assert_eq!(encoded(900, &[RED; 900]), "\"1;1;900;1#0;2;100;0;0#0!900@");
        let gap = [RED, NONE, NONE, NONE, NONE, NONE, RED, NONE];
        assert_eq!(encoded(8, &gap), "\"1;1;8;1#0;2;100;0;0#0@!5?@");
    }
}
