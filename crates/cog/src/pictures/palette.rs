//! Few colours for a picture of many.

use std::collections::BTreeSet;

use super::raster::{Dot, Raster};

/// Bits of a channel by which colours are told apart.
const BITS: u32 = 5;
/// Dots that are less opaque are not drawn.
const OPAQUE: u8 = 128;

type Colour = [u8; 3];

/// A picture of numbered colours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) width: usize,
    pub(super) colours: Vec<Colour>,
    /// The number of each dot's colour; nothing where the background is seen.
    pub(super) dots: Vec<Option<u16>>,
}

/// The picture with at most so many colours.
pub(super) fn reduce(raster: &Raster, most: usize) -> Indexed {
    if let Some(exact) = exact(raster, most) {
        return exact;
    }
    let mut bins = Bins::of(raster);
    let colours = bins.colours(most.max(1));
    Indexed {
        width: raster.width,
        dots: dithered(raster, &colours),
        colours,
    }
}

fn seen(dot: Dot) -> Option<Colour> {
    let [red, green, blue, opacity] = dot;
    (opacity >= OPAQUE).then_some([red, green, blue])
}

/// As it is, if it has no more colours than that, as drawings have.
fn exact(raster: &Raster, most: usize) -> Option<Indexed> {
    let mut colours = BTreeSet::new();
    for colour in raster.dots.iter().copied().filter_map(seen) {
        if colours.insert(colour) && colours.len() > most {
            return None;
        }
    }
    let colours: Vec<Colour> = colours.into_iter().collect();
    let number = |colour| u16::try_from(colours.binary_search(&colour).ok()?).ok();
    let dots = raster.dots.iter().map(|dot| seen(*dot).and_then(number));
    Some(Indexed {
        width: raster.width,
        dots: dots.collect(),
        colours,
    })
}

/// Colours that are near each other.
#[derive(Clone, Default)]
struct Bin {
    count: u64,
    sums: [u64; 3],
}

impl Bin {
    fn mean(&self) -> Colour {
        let mean = |sum: u64| u8::try_from(sum / self.count.max(1)).unwrap_or(u8::MAX);
        self.sums.map(mean)
    }
}

/// All that there are, cut where they are many and different, until there are as many parts as there may be colours.
struct Bins(Vec<Bin>);

impl Bins {
    fn of(raster: &Raster) -> Self {
        let mut bins = vec![Bin::default(); 1 << (3 * BITS)];
        for colour in raster.dots.iter().copied().filter_map(seen) {
            let bin = &mut bins[place(colour)];
            bin.count += 1;
            for (sum, value) in bin.sums.iter_mut().zip(colour) {
                *sum += u64::from(value);
            }
        }
        bins.retain(|bin| bin.count > 0);
        Self(bins)
    }

    fn colours(&mut self, most: usize) -> Vec<Colour> {
        let mut parts = vec![Part::of(&mut self.0)];
        while parts.len() < most {
            let widest = parts
                .iter()
                .enumerate()
                .filter(|(_, part)| part.bins.len() > 1)
                .max_by_key(|(_, part)| part.weight());
            let Some((number, _)) = widest else {
                break;
            };
            let [left, right] = parts.swap_remove(number).halves();
            parts.extend([left, right]);
        }
        parts.iter().map(Part::mean).collect()
    }
}

/// Bins that share a colour.
struct Part<'b> {
    bins: &'b mut [Bin],
    /// The channel in which they are most different, and by how much.
    channel: usize,
    spread: u8,
}

impl<'b> Part<'b> {
    fn of(bins: &'b mut [Bin]) -> Self {
        let spread = |channel: usize| {
            let values = bins.iter().map(|bin| bin.mean()[channel]);
            let (least, most) = values.fold((u8::MAX, 0), |(least, most), value| {
                (least.min(value), most.max(value))
            });
            most.saturating_sub(least)
        };
        let channel = (0..3).max_by_key(|channel| spread(*channel)).unwrap_or(0);
        Self {
            spread: spread(channel),
            channel,
            bins,
        }
    }

    fn count(&self) -> u64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    /// How much it is worth to cut it.
    fn weight(&self) -> u64 {
        self.count() * u64::from(self.spread) * u64::from(self.spread)
    }

    /// As many dots on each side, and at least one bin.
    fn halves(self) -> [Self; 2] {
        let half = self.count() / 2;
        let Self { bins, channel, .. } = self;
        bins.sort_by_key(|bin| bin.mean()[channel]);
        let mut before = 0;
        let middle = bins.iter().position(|bin| {
            before += bin.count;
            before >= half
        });
        let middle = middle.map_or(1, |middle| middle + 1);
        let last = bins.len() - 1;
        let (left, right) = bins.split_at_mut(middle.min(last));
        [Self::of(left), Self::of(right)]
    }

    fn mean(&self) -> Colour {
        let mut all = Bin::default();
        for bin in self.bins.iter() {
            all.count += bin.count;
            for (sum, more) in all.sums.iter_mut().zip(bin.sums) {
                *sum += more;
            }
        }
        all.mean()
    }
}

fn place([red, green, blue]: Colour) -> usize {
    let part = |value: u8| usize::from(value >> (8 - BITS));
    (part(red) << (2 * BITS)) | (part(green) << BITS) | part(blue)
}

/// Each dot as the nearest colour; what that is wrong by is made up for by its neighbours (Floyd and Steinberg).
fn dithered(raster: &Raster, colours: &[Colour]) -> Vec<Option<u16>> {
    let mut nearest = Nearest {
        colours,
        known: vec![None; 1 << (3 * BITS)],
    };
    // Errors of this row and the next, in sixteenths, with a column more on each side.
    let mut errors = vec![[0_i32; 3]; raster.width + 2];
    let mut below = errors.clone();
    let mut dots = Vec::with_capacity(raster.dots.len());
    for row in raster.dots.chunks(raster.width) {
        for (x, dot) in row.iter().enumerate() {
            let Some(colour) = seen(*dot) else {
                dots.push(None);
                continue;
            };
            let mut wanted = colour.map(i32::from);
            for (value, error) in wanted.iter_mut().zip(errors[x + 1]) {
                *value = (*value + error / 16).clamp(0, 255);
            }
            let number = nearest.to(wanted.map(|value| u8::try_from(value).unwrap_or(u8::MAX)));
            dots.push(u16::try_from(number).ok());
            for channel in 0..3 {
                let error = wanted[channel] - i32::from(colours[number][channel]);
                errors[x + 2][channel] += error * 7;
                below[x][channel] += error * 3;
                below[x + 1][channel] += error * 5;
                below[x + 2][channel] += error;
            }
        }
        std::mem::swap(&mut errors, &mut below);
        below.fill([0; 3]);
    }
    dots
}

/// The nearest of some colours, looked for once for each bin.
struct Nearest<'c> {
    colours: &'c [Colour],
    known: Vec<Option<usize>>,
}

impl Nearest<'_> {
    fn to(&mut self, colour: Colour) -> usize {
        let colours = self.colours;
        *self.known[place(colour)].get_or_insert_with(|| {
            let distance = |other: &Colour| -> u32 {
                let channels = colour.iter().zip(other);
                channels
                    .map(|(one, other)| u32::from(one.abs_diff(*other)).pow(2))
                    .sum()
            };
            let numbered = colours.iter().enumerate();
            numbered
                .min_by_key(|(_, other)| distance(other))
                .map_or(0, |(number, _)| number)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every colour of a cube, as photos have.
    fn many() -> Raster {
        let mut raster = Raster::new(256, 256).unwrap();
        for (number, dot) in raster.dots.iter_mut().enumerate() {
            let [x, y] = [number % 256, number / 256].map(|value| u8::try_from(value).unwrap());
            *dot = [x, y, x / 2 + y / 2, 255];
        }
        raster
    }

    #[test]
    fn few_colours_stay_as_they_are() {
        let raster = Raster {
            width: 2,
            height: 2,
            dots: vec![
                [1, 2, 3, 255],
                [1, 2, 4, 255],
                [1, 2, 3, 128],
                [9, 9, 9, 127],
            ],
        };
        let expected = Indexed {
            width: 2,
            colours: vec![[1, 2, 3], [1, 2, 4]],
            dots: vec![Some(0), Some(1), Some(0), None],
        };
        assert_eq!(reduce(&raster, 2), expected);
        let one = reduce(&raster, 1);
        assert_eq!(one.colours, [[1, 2, 3]]);
        assert_eq!(one.dots, [Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn many_become_few_and_the_picture_looks_the_same() {
        let raster = many();
        // Few colours have none for the corners.
        let corners = [(0, 0), (240, 240), (0, 240), (128, 16), (100, 100)];
        let middle = [(100, 100), (120, 150)];
        for (most, places, tolerance) in [(256, &corners[..], 6), (16, &middle, 6)] {
            let indexed = reduce(&raster, most);
            assert_eq!(indexed.colours.len(), most);
            // Means of squares of 16 by 16 dots.
            for (left, top) in places {
                for channel in 0..3 {
                    let mean = |value: &dyn Fn(usize) -> u8| -> i64 {
                        let dots = (0..256).map(|dot| (top + dot / 16) * 256 + left + dot % 16);
                        dots.map(|dot| i64::from(value(dot))).sum::<i64>() / 256
                    };
                    let before = mean(&|dot| raster.dots[dot][channel]);
                    let after = mean(&|dot| {
                        let number = indexed.dots[dot].unwrap();
                        indexed.colours[usize::from(number)][channel]
                    });
                    assert!(
                        (before - after).abs() <= tolerance,
                        "{most} {left} {top}: {before} {after}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_seen_has_no_colour() {
        let raster = Raster::new(3, 1).unwrap();
        let indexed = reduce(&raster, 256);
        assert_eq!((indexed.colours.len(), indexed.dots), (0, vec![None; 3]));
    }
}
