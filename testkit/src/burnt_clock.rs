//! A clock that is burnt into a picture, and read back out of it wherever it is seen.
//!
//! 64 squares in two rows along the upper edge, dark or bright, the most
//! significant bit first: 48 bits of microseconds of the wall clock, then 16 bits
//! that check them. Squares are so large, and so far from each other in luma, that
//! a lossy encoder leaves no doubt. Every process of a machine, a browser too,
//! reads the same wall clock, so that the difference is the latency.

use contract::geometry::{I420Layout, PixelSize};
use nix::time::{ClockId, clock_gettime};

/// Squares in a row.
const COLUMNS: usize = 32;
/// Rows of squares.
const ROWS: usize = 2;
/// Bits of the time; the others check it.
const TIME_BITS: u32 = 48;
/// Luma of a 0 and of a 1.
const LUMA: [u8; 2] = [16, 235];
/// Luma that divides them.
const MIDDLE: u32 = 126;

/// Microseconds of the wall clock since the Unix epoch, in 48 bits.
///
/// # Panics
/// Never on Linux.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("every Linux kernel has it");
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec()).unwrap_or(0);
    (seconds * 1_000_000 + nanoseconds / 1000) & ((1 << TIME_BITS) - 1)
}

/// Burns a time into an I420 picture of `size`, which must be at least 256 wide.
///
/// # Panics
/// When `picture` is shorter than its layout.
pub fn burn(size: PixelSize, picture: &mut [u8], time_us: u64) {
    let layout = I420Layout::of(size);
    let word = time_us << (64 - TIME_BITS) | u64::from(check(time_us));
    let side = side(size);
    for (index, square) in squares().enumerate() {
        let bit = (word >> (63 - index)) & 1;
        for row in square.1 * side..(square.1 + 1) * side {
            let begin = row * layout.strides[0] + square.0 * side;
            picture[begin..begin + side].fill(LUMA[usize::from(bit == 1)]);
        }
        for plane in [1, 2] {
            for row in square.1 * side / 2..(square.1 + 1) * side / 2 {
                let begin =
                    layout.offsets[plane] + row * layout.strides[plane] + square.0 * side / 2;
                picture[begin..begin + side / 2].fill(128);
            }
        }
    }
}

/// Reads the time out of the luma of a picture of `size`, whose rows are `stride` bytes apart;
/// `None` when none is there.
#[must_use]
pub fn read(size: PixelSize, luma: &[u8], stride: usize) -> Option<u64> {
    let side = side(size);
    let mut word = 0_u64;
    for square in squares() {
        // The middle of the square: its edges are blurred.
        let inner = side / 4..side - side / 4;
        let mut sum = 0_u32;
        for row in inner.clone() {
            let begin = (square.1 * side + row) * stride + square.0 * side;
            let samples = luma.get(begin + inner.start..begin + inner.end)?;
            sum += samples.iter().map(|sample| u32::from(*sample)).sum::<u32>();
        }
        let pixels = u32::try_from(inner.len() * inner.len()).ok()?;
        word = word << 1 | u64::from(sum > MIDDLE * pixels);
    }
    let time_us = word >> (64 - TIME_BITS);
    let wanted = u64::from(check(time_us));
    (word & 0xffff == wanted).then_some(time_us)
}

/// Microseconds from a time that was burnt to `now_us`.
#[must_use]
pub fn age_us(now_us: u64, time_us: u64) -> u64 {
    now_us.wrapping_sub(time_us) & ((1 << TIME_BITS) - 1)
}

/// JavaScript that reads the clock in each picture which the first `video` element of a page shows,
/// of `size` pixels: `clock.ages` are latencies in microseconds, `clock.unread` counts pictures
/// without a clock.
#[must_use]
pub fn script(size: PixelSize) -> String {
    include_str!("burnt_clock.js")
        .replace("SIDE", &side(size).to_string())
        .replace("COLUMNS", &COLUMNS.to_string())
        .replace("ROWS", &ROWS.to_string())
        .replace("TIME_BITS", &TIME_BITS.to_string())
}

fn squares() -> impl Iterator<Item = (usize, usize)> {
    (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (column, row)))
}

/// Of a square: even, so that it covers whole chroma samples.
fn side(size: PixelSize) -> usize {
    (size.width as usize / COLUMNS) & !1
}

/// CRC-16/XMODEM of the six bytes of a time.
fn check(time_us: u64) -> u16 {
    let bytes = time_us.to_be_bytes();
    bytes[2..].iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            let carry = crc & 0x8000 != 0;
            (crc << 1) ^ if carry { 0x1021 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 640,
        height: 360,
    };

    #[test]
    fn a_time_is_read_as_it_was_burnt() {
        let layout = I420Layout::of(SIZE);
        let now = now_us();
        for time_us in [0, 1, now, (1 << TIME_BITS) - 1] {
            let mut picture = vec![99; layout.bytes];
            burn(SIZE, &mut picture, time_us);
            assert_eq!(read(SIZE, &picture, layout.strides[0]), Some(time_us));
            // What an encoder does to it, more or less.
            for sample in &mut picture {
                *sample = *sample / 2 + 50;
            }
            assert_eq!(read(SIZE, &picture, layout.strides[0]), Some(time_us));
        }
        assert!(age_us(now_us(), now) < 10_000_000);
        assert_eq!(age_us(5, (1 << TIME_BITS) - 5), 10);
    }

    #[test]
    fn a_picture_without_a_clock_or_with_a_wrong_bit_has_no_time() {
        let layout = I420Layout::of(SIZE);
        let mut picture = vec![99; layout.bytes];
        assert_eq!(read(SIZE, &[], layout.strides[0]), None);
        burn(SIZE, &mut picture, 0x1234_5678_9abc);
        for row in 0..20 {
            let begin = row * layout.strides[0] + 20 * 20;
            picture[begin..begin + 20]
                .iter_mut()
                .for_each(|sample| *sample = 251 - *sample);
        }
        assert_eq!(read(SIZE, &picture, layout.strides[0]), None);
    }

    #[test]
    fn the_check_is_the_published_one() {
        // CRC-16/XMODEM of the bytes 00 00 00 00 00 01 is its polynomial.
        assert_eq!(check(1), 0x1021);
        assert_eq!(check(0), 0);
    }
}
