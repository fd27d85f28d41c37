//! PNG, read and written: <https://www.w3.org/TR/png-3/>.
//!
//! Every kind of it is read; of animated ones the first picture. Checksums are not looked at: who sees a picture sees
//! what is wrong with it.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::raster::{Dot, Raster};

const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// Where the dots of each pass of an interlaced picture are: the first column and row, and the steps between them.
const PASSES: [Pass; 7] = [
    Pass::new([0, 0], [8, 8]),
    Pass::new([4, 0], [8, 8]),
    Pass::new([0, 4], [4, 8]),
    Pass::new([2, 0], [4, 4]),
    Pass::new([0, 2], [2, 4]),
    Pass::new([1, 0], [2, 2]),
    Pass::new([0, 1], [1, 2]),
];
const ALL: [Pass; 1] = [Pass::new([0, 0], [1, 1])];

struct Pass {
    first: [usize; 2],
    step: [usize; 2],
}

impl Pass {
    const fn new(first: [usize; 2], step: [usize; 2]) -> Self {
        Self { first, step }
    }
}

/// What a picture's dots are written as.
struct Form {
    width: u32,
    height: u32,
    /// Bits of a sample.
    depth: usize,
    colour: Colour,
    is_interlaced: bool,
    palette: Vec<[u8; 3]>,
    /// The opacity of colours: of those of a palette, or one colour that is not seen.
    transparency: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Grey,
    Rgb,
    Palette,
    GreyWithOpacity,
    RgbWithOpacity,
}

impl Colour {
    fn of(kind: u8) -> Option<Self> {
        Some(match kind {
            0 => Self::Grey,
            2 => Self::Rgb,
            3 => Self::Palette,
            4 => Self::GreyWithOpacity,
            6 => Self::RgbWithOpacity,
            _ => return None,
        })
    }

    fn samples(self) -> usize {
        match self {
            Self::Grey | Self::Palette => 1,
            Self::GreyWithOpacity => 2,
            Self::Rgb => 3,
            Self::RgbWithOpacity => 4,
        }
    }
}

/// The dots; nothing if it is damaged, or larger than any screen.
pub(super) fn decode(content: &[u8]) -> Option<Raster> {
    let mut rest = content.strip_prefix(SIGNATURE)?;
    let (mut form, mut data): (Option<Form>, Vec<u8>) = (None, Vec::new());
    while let Some((kind, chunk, after)) = chunk(rest) {
        rest = after;
        match (kind, &mut form) {
            (b"IHDR", None) => form = Some(Form::of(chunk)?),
            (b"PLTE", Some(form)) => form.palette = chunk.as_chunks::<3>().0.to_vec(),
            (b"tRNS", Some(form)) => form.transparency = chunk.to_vec(),
            (b"IDAT", Some(_)) => data.extend_from_slice(chunk),
            (b"IEND", _) => break,
            _ => {}
        }
    }
    form?.dots(&data)
}

/// Kind and content of the first, and what follows it.
fn chunk(text: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (length, rest) = text.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (content, rest) = rest.split_at_checked(length)?;
    // The checksum.
    Some((kind, content, rest.get(4..).unwrap_or_default()))
}

impl Form {
    fn of(head: &[u8]) -> Option<Self> {
        let (width, rest) = head.split_first_chunk::<4>()?;
        let (height, rest) = rest.split_first_chunk::<4>()?;
        let [depth, colour, _, _, interlaced] = *rest.first_chunk::<5>()?;
        let (depth, colour) = (usize::from(depth), Colour::of(colour)?);
        let depths: &[usize] = match colour {
            Colour::Grey => &[1, 2, 4, 8, 16],
            Colour::Palette => &[1, 2, 4, 8],
            Colour::Rgb | Colour::GreyWithOpacity | Colour::RgbWithOpacity => &[8, 16],
        };
        depths.contains(&depth).then(|| Self {
            width: u32::from_be_bytes(*width),
            height: u32::from_be_bytes(*height),
            depth,
            colour,
            is_interlaced: interlaced == 1,
            palette: Vec::new(),
            transparency: Vec::new(),
        })
    }

    fn dots(&self, data: &[u8]) -> Option<Raster> {
        let mut raster = Raster::new(self.width, self.height)?;
        let mut data = ZlibDecoder::new(data);
        let passes = if self.is_interlaced {
            &PASSES[..]
        } else {
            &ALL
        };
        let bits = self.colour.samples() * self.depth;
        for pass in passes {
            let columns = (raster.width.saturating_sub(pass.first[0])).div_ceil(pass.step[0]);
            if columns == 0 {
                continue;
            }
            let mut before = vec![0; (columns * bits).div_ceil(8)];
            let mut row = before.clone();
            for y in (pass.first[1]..raster.height).step_by(pass.step[1]) {
                let mut filter = [0];
                data.read_exact(&mut filter).ok()?;
                data.read_exact(&mut row).ok()?;
                unfilter(filter[0], &mut row, &before, bits.div_ceil(8))?;
                for column in 0..columns {
                    let x = pass.first[0] + column * pass.step[0];
                    raster.dots[y * raster.width + x] = self.dot(&row, column);
                }
                std::mem::swap(&mut row, &mut before);
            }
        }
        Some(raster)
    }

    fn dot(&self, row: &[u8], column: usize) -> Dot {
        let samples = self.colour.samples();
        let sample = |number: usize| self.sample(row, column * samples + number);
        let byte = |number: usize| self.byte(sample(number));
        match self.colour {
            Colour::Grey => {
                let grey = byte(0);
                [grey, grey, grey, self.opacity(&[sample(0)])]
            }
            Colour::GreyWithOpacity => {
                let grey = byte(0);
                [grey, grey, grey, byte(1)]
            }
            Colour::Rgb => {
                let opacity = self.opacity(&[sample(0), sample(1), sample(2)]);
                [byte(0), byte(1), byte(2), opacity]
            }
            Colour::RgbWithOpacity => [byte(0), byte(1), byte(2), byte(3)],
            Colour::Palette => {
                let index = usize::from(sample(0));
                let [red, green, blue] = self.palette.get(index).copied().unwrap_or_default();
                let opacity = self.transparency.get(index).copied();
                [red, green, blue, opacity.unwrap_or(u8::MAX)]
            }
        }
    }

    fn sample(&self, row: &[u8], number: usize) -> u16 {
        match self.depth {
            16 => u16::from_be_bytes([row[number * 2], row[number * 2 + 1]]),
            8 => row[number].into(),
            depth => {
                let bit = number * depth;
                let shift = 8 - depth - bit % 8;
                ((row[bit / 8] >> shift) & self.largest()).into()
            }
        }
    }

    /// The largest sample, of those that have up to eight bits.
    fn largest(&self) -> u8 {
        u8::MAX >> (8 - self.depth.min(8))
    }

    fn byte(&self, sample: u16) -> u8 {
        match self.depth {
            16 => sample.to_be_bytes()[0],
            8 => sample.to_be_bytes()[1],
            _ => sample.to_be_bytes()[1] * (u8::MAX / self.largest()),
        }
    }

    /// Of a colour without one of its own.
    fn opacity(&self, samples: &[u16]) -> u8 {
        let unseen = self.transparency.as_chunks::<2>().0.iter();
        let unseen = unseen.map(|sample| u16::from_be_bytes(*sample));
        if !self.transparency.is_empty() && unseen.eq(samples.iter().copied()) {
            0
        } else {
            u8::MAX
        }
    }
}

/// Undoes what makes rows compress better; `distance` is how far back the same byte of the dot before it is.
fn unfilter(filter: u8, row: &mut [u8], before: &[u8], distance: usize) -> Option<()> {
    for at in 0..row.len() {
        let (left, above_left) = match at.checked_sub(distance) {
            Some(left) => (row[left], before[left]),
            None => (0, 0),
        };
        let above = before[at];
        let predicted = match filter {
            0 => return Some(()),
            1 => left,
            2 => above,
            3 => left.midpoint(above),
            4 => nearest(left, above, above_left),
            _ => return None,
        };
        row[at] = row[at].wrapping_add(predicted);
    }
    Some(())
}

/// Of three neighbours the one that goes on as they do.
fn nearest(left: u8, above: u8, above_left: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(above) - i16::from(above_left);
    let distance = |neighbour: u8| (estimate - i16::from(neighbour)).abs();
    if distance(left) <= distance(above) && distance(left) <= distance(above_left) {
        left
    } else if distance(above) <= distance(above_left) {
        above
    } else {
        above_left
    }
}

/// A PNG of these dots, for a terminal that takes nothing else.
pub(super) fn encode(raster: &Raster) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in raster.dots.chunks(raster.width) {
        // Each dot as what is different from the one before it.
        let mut filtered = vec![1];
        let mut before = [0; 4];
        for dot in row {
            filtered.extend((0..4).map(|at| dot[at].wrapping_sub(before[at])));
            before = *dot;
        }
        rows.write_all(&filtered).expect("memory can be written");
    }
    let data = rows.finish().expect("memory can be written");
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let mut head = [number(raster.width), number(raster.height)].concat();
    head.extend([8, 6, 0, 0, 0]);
    let mut png = SIGNATURE.to_vec();
    for (kind, content) in [(b"IHDR", &head[..]), (b"IDAT", &data), (b"IEND", &[])] {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(content);
        png.extend(number(content.len()));
        png.extend(kind);
        png.extend(content);
        png.extend(sum.sum().to_be_bytes());
    }
    png
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One with these rows, filters included.
    fn png(head: (u32, u32, u8, u8, u8), more: &[(&[u8; 4], &[u8])], rows: &[u8]) -> Vec<u8> {
        let (width, height, depth, colour, interlaced) = head;
        let mut ihdr = [width.to_be_bytes(), height.to_be_bytes()].concat();
        ihdr.extend([depth, colour, 0, 0, interlaced]);
        let mut data = ZlibEncoder::new(Vec::new(), Compression::fast());
        data.write_all(rows).unwrap();
        let data = data.finish().unwrap();
        // In two pieces, as large ones are.
        let (first, second) = data.split_at(data.len() / 2);
        let mut chunks: Vec<(&[u8; 4], &[u8])> = vec![(b"IHDR", &ihdr)];
        chunks.extend_from_slice(more);
        chunks.extend([(b"IDAT", first), (b"IDAT", second), (b"IEND", &[][..])]);
        let mut png = SIGNATURE.to_vec();
        for (kind, content) in chunks {
            png.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
            png.extend(kind);
            png.extend(content);
            png.extend([0; 4]);
        }
        png
    }

    fn dots(png: &[u8]) -> Vec<Dot> {
        decode(png).unwrap().dots
    }

    #[test]
    fn every_kind_is_read() {
        const SEEN: u8 = 255;
        let grey = |value| [value, value, value, SEEN];
        let palette: &[(&[u8; 4], &[u8])] = &[(b"PLTE", &[1, 2, 3, 4, 5, 6]), (b"tRNS", &[7])];
        for (name, head, more, rows, expected) in [
            (
                "1 bit",
                (3, 1, 1, 0, 0),
                &[][..],
                &[0, 0b1010_0000][..],
                vec![grey(255), grey(0), grey(255)],
            ),
            (
                "2 bits",
                (2, 1, 2, 0, 0),
                &[],
                &[0, 0b1001_0000],
                vec![grey(170), grey(85)],
            ),
            (
                "4 bits",
                (3, 1, 4, 0, 0),
                &[],
                &[0, 0xf1, 0x20],
                vec![grey(255), grey(17), grey(34)],
            ),
            (
                "grey",
                (2, 1, 8, 0, 0),
                &[],
                &[0, 9, 200],
                vec![grey(9), grey(200)],
            ),
            (
                "16 bits",
                (2, 1, 16, 0, 0),
                &[],
                &[0, 9, 99, 200, 1],
                vec![grey(9), grey(200)],
            ),
            (
                "a grey that is not seen",
                (2, 1, 8, 0, 0),
                &[(b"tRNS", &[0, 9][..])],
                &[0, 9, 8],
                vec![[9, 9, 9, 0], grey(8)],
            ),
            (
                "rgb",
                (1, 1, 8, 2, 0),
                &[],
                &[0, 1, 2, 3],
                vec![[1, 2, 3, SEEN]],
            ),
            (
                "a colour that is not seen",
                (2, 1, 16, 2, 0),
                &[(b"tRNS", &[0, 1, 0, 2, 0, 3][..])],
                &[0, 0, 1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 4],
                vec![[0, 0, 0, 0], [0, 0, 0, SEEN]],
            ),
            (
                "palette",
                (3, 1, 4, 3, 0),
                palette,
                &[0, 0x10, 0x50],
                vec![[4, 5, 6, SEEN], [1, 2, 3, 7], [0, 0, 0, SEEN]],
            ),
            (
                "grey and opacity",
                (1, 1, 8, 4, 0),
                &[],
                &[0, 5, 6],
                vec![[5, 5, 5, 6]],
            ),
            (
                "rgb and opacity",
                (1, 1, 16, 6, 0),
                &[],
                &[0, 1, 9, 2, 9, 3, 9, 4, 9],
                vec![[1, 2, 3, 4]],
            ),
        ] {
            assert_eq!(dots(&png(head, more, rows)), expected, "{name}");
        }
    }

    #[test]
    fn filters_are_undone() {
        let rows = [
            0, 10, 20, 30, // as it is
            1, 1, 1, 1, // of the left: 1 2 3
            2, 1, 1, 1, // of what is above: 2 3 4
            3, 9, 0, 0, // of the mean of both: 10 6 5
            4, 1, 1, 1, // of the nearest: 11 7 7
        ];
        let greys: Vec<u8> = dots(&png((3, 5, 8, 0, 0), &[], &rows))
            .iter()
            .map(|dot| dot[0])
            .collect();
        assert_eq!(greys, [10, 20, 30, 1, 2, 3, 2, 3, 4, 10, 6, 5, 11, 7, 7]);
        assert_eq!(decode(&png((1, 1, 8, 0, 0), &[], &[5, 1])), None);
    }

    #[test]
    fn interlaced_ones_come_in_seven_passes() {
        // Each dot of 5 by 5 holds the number of its pass.
        let mut rows = Vec::new();
        for (number, columns, count) in [
            (1, 1, 1),
            (2, 1, 1),
            (3, 2, 1),
            (4, 1, 2),
            (5, 3, 1),
            (6, 2, 3),
            (7, 5, 2),
        ] {
            for _ in 0..count {
                rows.push(0);
                rows.extend(vec![number; columns]);
            }
        }
        let raster = decode(&png((5, 5, 8, 0, 1), &[], &rows)).unwrap();
        let passes: Vec<u8> = raster.dots.iter().map(|dot| dot[0]).collect();
        assert_eq!(
            passes,
            [
                1, 6, 4, 6, 2, //
                7, 7, 7, 7, 7, //
                5, 6, 5, 6, 5, //
                7, 7, 7, 7, 7, //
                3, 6, 4, 6, 3, //
            ]
        );
        // Passes that have no column have no row either.
        assert_eq!(dots(&png((1, 1, 8, 0, 1), &[], &[0, 7])), [[7, 7, 7, 255]]);
    }

    #[test]
    fn what_is_damaged_is_no_picture() {
        let whole = png(
            (2, 2, 8, 2, 0),
            &[],
            &[0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6],
        );
        assert!(decode(&whole).is_some());
        for end in 0..whole.len() - 20 {
            assert_eq!(decode(&whole[..end]), None, "{end}");
        }
        for head in [
            (0, 2, 8, 2, 0),
            (u32::MAX, u32::MAX, 8, 2, 0),
            (2, 2, 3, 0, 0),
            (2, 2, 16, 3, 0),
            (2, 2, 8, 5, 0),
        ] {
            assert_eq!(decode(&png(head, &[], &[0; 64])), None, "{head:?}");
        }
        assert_eq!(decode(&png((2, 2, 8, 2, 0), &[], &[0, 1])), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut raster = Raster::new(7, 3).unwrap();
        for (number, dot) in raster.dots.iter_mut().enumerate() {
            let number = u8::try_from(number * 11).unwrap();
            *dot = [number, 255 - number, number / 2, 200];
        }
        assert_eq!(decode(&encode(&raster)), Some(raster));
    }
}
