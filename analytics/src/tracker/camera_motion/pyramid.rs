//! A small luma picture at several sizes.

use contract::geometry::PixelSize;

/// Sizes of the picture: the small one, its half and its quarter.
pub(super) const LEVELS: usize = 3;

/// Pictures are shrunk by a whole factor until they are no wider. Camera motion is the same
/// for all pixels, so few suffice.
const WIDTH_MAX: usize = 320;

/// One, in fractions of 24 bits.
const ONE: usize = 1 << 24;

/// Rows of eight-bit luma, without padding.
#[derive(Debug, Default)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

/// The same picture, each level half as wide and high as the one before.
#[derive(Debug, Default)]
pub(super) struct Pyramid {
    pub(super) levels: [Plane; LEVELS],
    /// Column sums of one row of the small picture.
    sums: Vec<u16>,
}

/// How many pixels of a picture of `size` become one, on each side.
pub(super) fn shrink_factor(size: PixelSize) -> usize {
    (size.width as usize).div_ceil(WIDTH_MAX).max(1)
}

impl Pyramid {
    /// Takes in a luma plane with `stride` bytes a row. `false`, and nothing is changed, when
    /// the plane is shorter than its size says.
    pub(super) fn fill(&mut self, luma: &[u8], stride: usize, size: PixelSize) -> bool {
        let (width, height) = (size.width as usize, size.height as usize);
        let bytes = stride.saturating_mul(height);
        if width == 0 || height == 0 || stride < width || luma.len() < bytes - (stride - width) {
            return false;
        }
        let factor = shrink_factor(size);
        let [small, half, quarter] = &mut self.levels;
        small.resize(width / factor, height / factor);
        shrink(luma, stride, factor, small, &mut self.sums);
        half.halve(small);
        quarter.halve(half);
        true
    }
}

impl Plane {
    fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels.resize(width * height, 0);
    }

    /// Takes in the mean of each two by two pixels.
    fn halve(&mut self, from: &Self) {
        self.resize(from.width / 2, from.height / 2);
        if self.pixels.is_empty() {
            return;
        }
        let rows = from.pixels.chunks_exact(2 * from.width);
        for (target, rows) in self.pixels.chunks_exact_mut(self.width).zip(rows) {
            let (upper, lower) = rows.split_at(from.width);
            let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
            for (pixel, (upper, lower)) in target.iter_mut().zip(pairs) {
                let sum = [upper[0], upper[1], lower[0], lower[1]]
                    .map(u16::from)
                    .iter()
                    .sum::<u16>();
                #[expect(clippy::cast_possible_truncation, reason = "a mean of bytes")]
                let mean = ((sum + 2) / 4) as u8;
                *pixel = mean;
            }
        }
    }
}

/// The mean of each `factor` by `factor` pixels. At most [`SIDE_MAX`] / [`WIDTH_MAX`] = 26
/// rows are summed, so that sixteen bits suffice for a column.
///
/// [`SIDE_MAX`]: contract::geometry::SIDE_MAX
fn shrink(luma: &[u8], stride: usize, factor: usize, small: &mut Plane, sums: &mut Vec<u16>) {
    if small.pixels.is_empty() {
        return;
    }
    // Multiplied with its reciprocal: a division for each pixel would be most of the time.
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^24")]
    let share = (ONE / (factor * factor)) as u32;
    sums.clear();
    sums.resize(small.width * factor, 0);
    for (index, target) in small.pixels.chunks_exact_mut(small.width).enumerate() {
        sums.fill(0);
        for row in luma[index * factor * stride..].chunks(stride).take(factor) {
            for (sum, pixel) in sums.iter_mut().zip(row) {
                *sum += u16::from(*pixel);
            }
        }
        match factor {
            1 => mean_of_columns::<1>(sums, share, target),
            2 => mean_of_columns::<2>(sums, share, target),
            3 => mean_of_columns::<3>(sums, share, target),
            4 => mean_of_columns::<4>(sums, share, target),
            5 => mean_of_columns::<5>(sums, share, target),
            6 => mean_of_columns::<6>(sums, share, target),
            _ => {
                for (pixel, sums) in target.iter_mut().zip(sums.chunks_exact(factor)) {
                    *pixel = mean(sums, share);
                }
            }
        }
    }
}

/// The usual factors, up to 1080p, are known to the compiler: twice as quick.
fn mean_of_columns<const FACTOR: usize>(sums: &[u16], share: u32, target: &mut [u8]) {
    for (pixel, sums) in target.iter_mut().zip(sums.as_chunks::<FACTOR>().0) {
        *pixel = mean(sums, share);
    }
}

/// Rounded; `share` is [`ONE`] over the number of pixels.
fn mean(sums: &[u16], share: u32) -> u8 {
    let sum: u32 = sums.iter().map(|sum| u32::from(*sum)).sum();
    // At most 255.5 times ONE, which is below 2^32.
    #[expect(clippy::cast_possible_truncation, reason = "a mean of bytes")]
    let mean = ((sum * share + ONE as u32 / 2) >> ONE.ilog2()) as u8;
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_holds_means() {
        // 642 x 6 shrinks by three to 214 x 2; each pixel is its column's number in the small one.
        let size = PixelSize {
            width: 642,
            height: 6,
        };
        let stride = 648;
        let mut luma = vec![255; stride * 6];
        for row in luma.chunks_exact_mut(stride) {
            for (x, pixel) in row[..642].iter_mut().enumerate() {
                *pixel = u8::try_from(x / 3).expect("below 214");
            }
        }
        let mut pyramid = Pyramid::default();
        assert!(pyramid.fill(&luma, stride, size));
        let [small, half, quarter] = &pyramid.levels;
        assert_eq!((small.width, small.height), (214, 2));
        assert_eq!((small.pixels[0], small.pixels[213]), (0, 213));
        assert_eq!((half.width, half.height), (107, 1));
        assert_eq!(half.pixels[..3], [1, 3, 5], "0.5, 2.5 and 4.5, rounded up");
        assert_eq!(quarter.pixels.len(), 0, "too low a picture");
    }

    #[test]
    fn a_plane_that_is_too_short_is_refused() {
        let size = PixelSize {
            width: 64,
            height: 48,
        };
        let mut pyramid = Pyramid::default();
        assert!(!pyramid.fill(&[0; 64 * 47], 64, size));
        assert!(!pyramid.fill(&[0; 64 * 48], 32, size));
        assert!(!pyramid.fill(
            &[],
            0,
            PixelSize {
                width: 0,
                height: 0
            }
        ));
        assert!(
            pyramid.fill(&[0; 80 * 48 - 16], 80, size),
            "the last row may be unpadded"
        );
    }
}
