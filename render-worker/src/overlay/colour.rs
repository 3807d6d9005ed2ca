//! Colours: RGB as people name them, and YUV as the picture holds them.

use frame_bus::ColourMatrix;

/// A colour as sRGB bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

/// The same in limited range: luma 16 to 235, chroma 16 to 240.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Yuv {
    /// Luma.
    pub y: u8,
    /// Blue difference.
    pub u: u8,
    /// Red difference.
    pub v: u8,
}

/// For text.
pub const WHITE: Rgb = Rgb(255, 255, 255);
/// Behind text, and around lines so that they show on a bright ground too.
pub const INK: Rgb = Rgb(13, 17, 23);

/// Colours of tracks: each one after the third is the farthest, in OKLab, from all before
/// it, among those bright and vivid enough to be seen on video of any content. So ids close
/// to each other look least alike.
pub const TRACKS: [Rgb; 16] = [
    Rgb(34, 197, 94),
    Rgb(249, 115, 22),
    Rgb(56, 189, 248),
    Rgb(221, 0, 255),
    Rgb(255, 221, 85),
    Rgb(255, 170, 255),
    Rgb(68, 255, 221),
    Rgb(255, 0, 136),
    Rgb(136, 119, 255),
    Rgb(102, 255, 0),
    Rgb(170, 153, 0),
    Rgb(221, 119, 187),
    Rgb(238, 170, 34),
    Rgb(255, 102, 255),
    Rgb(153, 221, 119),
    Rgb(187, 153, 255),
];

impl Rgb {
    /// Converts by the matrix the picture was made with (ITU-R BT.601 or BT.709, 8 bit).
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "limited range ends at 240"
    )]
    pub fn to_yuv(self, matrix: ColourMatrix) -> Yuv {
        let (red_weight, blue_weight) = luma_weights(matrix);
        let [red, green, blue] = [self.0, self.1, self.2].map(|byte| f32::from(byte) / 255.0);
        let luma = red_weight * red + (1.0 - red_weight - blue_weight) * green + blue_weight * blue;
        let u = (blue - luma) / (2.0 * (1.0 - blue_weight));
        let v = (red - luma) / (2.0 * (1.0 - red_weight));
        Yuv {
            y: (16.0 + 219.0 * luma).round() as u8,
            u: (128.0 + 224.0 * u).round() as u8,
            v: (128.0 + 224.0 * v).round() as u8,
        }
    }

    /// The same hue, darker: `part` of the light, 0 to 1.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a byte is a byte"
    )]
    pub fn shaded(self, part: f32) -> Self {
        let shade = |byte: u8| (f32::from(byte) * part.clamp(0.0, 1.0)).round() as u8;
        Self(shade(self.0), shade(self.1), shade(self.2))
    }
}

/// The weights of red and blue in luma.
#[must_use]
pub fn luma_weights(matrix: ColourMatrix) -> (f32, f32) {
    match matrix {
        ColourMatrix::Bt601 => (0.299, 0.114),
        ColourMatrix::Bt709 => (0.2126, 0.0722),
    }
}

/// All colours of the overlay, converted once.
#[derive(Debug, Clone)]
pub struct Palette {
    /// Text, zones and lines.
    pub white: Yuv,
    /// Plates without a hue, and outlines.
    pub ink: Yuv,
    matrix: ColourMatrix,
    tracks: [Yuv; TRACKS.len()],
    plates: [Yuv; TRACKS.len()],
}

impl Palette {
    /// Converts the colours for pictures of this matrix.
    #[must_use]
    pub fn new(matrix: ColourMatrix) -> Self {
        Self {
            white: WHITE.to_yuv(matrix),
            ink: INK.to_yuv(matrix),
            matrix,
            tracks: TRACKS.map(|colour| colour.to_yuv(matrix)),
            // Dark enough that white text has a contrast of at least 4.5 on each (see the test).
            plates: TRACKS.map(|colour| colour.shaded(PLATE_SHADE).to_yuv(matrix)),
        }
    }

    /// The colour of a track's lines: the same for the same id, as long as it lives.
    #[must_use]
    pub fn track(&self, id: u64) -> Yuv {
        self.tracks[slot(id)]
    }

    /// The ground of a track's label.
    #[must_use]
    pub fn plate(&self, id: u64) -> Yuv {
        self.plates[slot(id)]
    }

    /// A colour that somebody chose.
    #[must_use]
    pub fn chosen(&self, colour: Rgb) -> Yuv {
        colour.to_yuv(self.matrix)
    }

    /// The ground of a label of a chosen colour.
    #[must_use]
    pub fn chosen_plate(&self, colour: Rgb) -> Yuv {
        colour.shaded(CHOSEN_PLATE_SHADE).to_yuv(self.matrix)
    }
}

const PLATE_SHADE: f32 = 0.5;
/// White may be chosen, which is brighter than all of [`TRACKS`].
const CHOSEN_PLATE_SHADE: f32 = 0.4;

fn slot(id: u64) -> usize {
    usize::try_from(id % TRACKS.len() as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(byte: u8) -> f32 {
        let value = f32::from(byte) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    }

    /// OKLab (Ottosson 2020), in which distance is close to perceived difference.
    fn oklab(colour: Rgb) -> [f32; 3] {
        let (r, g, b) = (linear(colour.0), linear(colour.1), linear(colour.2));
        let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
        let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
        let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
        [
            0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
            1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
            0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
        ]
    }

    fn distance(a: Rgb, b: Rgb) -> f32 {
        let (a, b) = (oklab(a), oklab(b));
        a.iter()
            .zip(&b)
            .map(|(a, b)| (a - b).powi(2))
            .sum::<f32>()
            .sqrt()
    }

    #[test]
    fn known_conversions() {
        let yuv = |y, u, v| Yuv { y, u, v };
        for matrix in [ColourMatrix::Bt601, ColourMatrix::Bt709] {
            assert_eq!(WHITE.to_yuv(matrix), yuv(235, 128, 128));
            assert_eq!(Rgb(0, 0, 0).to_yuv(matrix), yuv(16, 128, 128));
        }
        let red = Rgb(255, 0, 0);
        assert_eq!(red.to_yuv(ColourMatrix::Bt601), yuv(81, 90, 240));
        assert_eq!(red.to_yuv(ColourMatrix::Bt709), yuv(63, 102, 240));
    }

    #[test]
    fn tracks_are_told_apart() {
        for (index, first) in TRACKS.iter().enumerate() {
            for second in &TRACKS[index + 1..] {
                let apart = distance(*first, *second);
                assert!(apart > 0.115, "{first:?} and {second:?} are {apart} apart");
            }
        }
        let palette = Palette::new(ColourMatrix::Bt709);
        assert_eq!(palette.track(7), palette.track(7));
        assert_ne!(palette.track(7), palette.track(8));
    }

    #[test]
    fn white_text_shows_on_every_plate() {
        // WCAG 2.1, success criterion 1.4.3.
        let luminance = |colour: Rgb| {
            0.2126 * linear(colour.0) + 0.7152 * linear(colour.1) + 0.0722 * linear(colour.2)
        };
        let tracks = TRACKS.map(|colour| colour.shaded(PLATE_SHADE));
        for plate in tracks.into_iter().chain([WHITE.shaded(CHOSEN_PLATE_SHADE)]) {
            let contrast = 1.05 / (luminance(plate) + 0.05);
            assert!(contrast >= 4.5, "{plate:?}: {contrast}");
        }
    }
}
