//! A picture as dots.

/// Red, green, blue and opacity.
pub(super) type Dot = [u8; 4];

/// Dots that a picture may have, so that what some model has written takes no more than a quarter of a gigabyte here.
const MOST_DOTS: u64 = 64 << 20;

/// Rows of dots, the uppermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raster {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) dots: Vec<Dot>,
}

impl Raster {
    /// A transparent one; nothing if there can be no such picture, or it is too large.
    pub(super) fn new(width: u32, height: u32) -> Option<Self> {
        let dots = u64::from(width) * u64::from(height);
        if dots == 0 || dots > MOST_DOTS {
            return None;
        }
        Some(Self {
            width: usize::try_from(width).ok()?,
            height: usize::try_from(height).ok()?,
            dots: vec![[0; 4]; usize::try_from(dots).ok()?],
        })
    }

    /// The same picture, made smaller where it is larger than that: each dot is the mean of those in its place.
    pub(super) fn fitted(self, width: usize, height: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        if self.width <= width && self.height <= height {
            return self;
        }
        let is_wide = self.width * height >= self.height * width;
        let (width, height) = if is_wide {
            (width, (self.height * width / self.width).max(1))
        } else {
            ((self.width * height / self.height).max(1), height)
        };
        let dots = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| {
                self.mean(
                    x * self.width / width..((x + 1) * self.width).div_ceil(width),
                    y * self.height / height..((y + 1) * self.height).div_ceil(height),
                )
            });
        Self {
            dots: dots.collect(),
            width,
            height,
        }
    }

    /// What cannot be seen has no colour that counts.
    fn mean(&self, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> Dot {
        let number = (columns.len() * rows.len()) as u64;
        let mut sums = [0_u64; 4];
        for row in rows {
            let begin = row * self.width;
            for [red, green, blue, opacity] in
                &self.dots[begin + columns.start..begin + columns.end]
            {
                let opacity = u64::from(*opacity);
                for (sum, colour) in sums.iter_mut().zip([red, green, blue]) {
                    *sum += u64::from(*colour) * opacity;
                }
                sums[3] += opacity;
            }
        }
        let [red, green, blue, opacity] = sums;
        let colour = |sum: u64| byte(sum.checked_div(opacity).unwrap_or(0));
        [
            colour(red),
            colour(green),
            colour(blue),
            byte(opacity / number),
        ]
    }
}

fn byte(mean: u64) -> u8 {
    u8::try_from(mean).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_what_is_held() {
        assert!(Raster::new(8192, 8192).is_some());
        for (width, height) in [(8193, 8192), (0, 1), (1, 0), (u32::MAX, u32::MAX)] {
            assert_eq!(Raster::new(width, height), None);
        }
    }

    #[test]
    fn smaller_ones_are_of_means() {
        let raster = Raster {
            width: 4,
            height: 2,
            dots: vec![
                [0, 0, 0, 255],
                [100, 0, 0, 255],
                [9, 9, 9, 0],
                [50, 60, 70, 255],
                [200, 0, 0, 255],
                [100, 0, 0, 255],
                [9, 9, 9, 0],
                [9, 9, 9, 0],
            ],
        };
        assert_eq!(raster.clone().fitted(4, 2), raster);
        assert_eq!(raster.clone().fitted(400, 200), raster);
        let small = raster.clone().fitted(2, 9);
        assert_eq!((small.width, small.height), (2, 1));
        assert_eq!(small.dots, [[100, 0, 0, 255], [50, 60, 70, 63]]);
        let least = raster.fitted(0, 0);
        assert_eq!((least.width, least.height), (1, 1));
    }

    #[test]
    fn the_shape_stays() {
        for (width, height, fitted) in [
            (1000, 500, (100, 50)),
            (500, 1000, (30, 60)),
            (5000, 1, (100, 1)),
        ] {
            let raster = Raster::new(width, height).unwrap().fitted(100, 60);
            assert_eq!((raster.width, raster.height), fitted);
            assert_eq!(raster.dots.len(), fitted.0 * fitted.1);
        }
    }
}
