//! Text: one monospaced face, each glyph rasterised once a size.
//!
//! Glyphs stand on whole pixels and the advance is a whole number of them, so
//! that a label looks the same wherever it stands and does not shimmer.

use std::collections::HashMap;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};

use super::canvas::{Area, Canvas};
use super::colour::Yuv;

/// DejaVu Sans Mono Bold; its licence lies beside it.
static FACE: &[u8] = include_bytes!("../../../assets/fonts/DejaVuSansMono-Bold.ttf");

/// Glyphs kept of one size; text in more letters than that shows `?` for the rest.
const GLYPHS_MAX: usize = 1024;

/// The glyphs of one size.
#[derive(Debug)]
pub struct GlyphSheet {
    face: FontRef<'static>,
    scale: PxScale,
    advance: i32,
    ascent: i32,
    height: i32,
    glyphs: HashMap<char, Placed>,
    coverage: Vec<u8>,
}

/// A rasterised glyph: where it stands relative to the pen and the base line.
#[derive(Debug, Clone, Copy, Default)]
struct Placed {
    left: i32,
    top: i32,
    width: usize,
    height: usize,
    offset: usize,
}

impl GlyphSheet {
    /// A sheet whose em is `size` pixels high.
    ///
    /// # Panics
    /// Never: the face is part of the program and a test loads it.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a font size is small")]
    pub fn new(size: f32) -> Self {
        let face = FontRef::try_from_slice(FACE).expect("the face is a valid TrueType file");
        // `PxScale` is the height from ascent to descent, not the em.
        let em = face.units_per_em().unwrap_or(2048.0);
        let scale = PxScale::from(size * face.height_unscaled() / em);
        let scaled = face.as_scaled(scale);
        let advance = scaled.h_advance(scaled.glyph_id('0')).round() as i32;
        let ascent = scaled.ascent().round() as i32;
        let height = ascent - scaled.descent().floor() as i32;
        let mut sheet = Self {
            face,
            scale,
            advance,
            ascent,
            height,
            glyphs: HashMap::new(),
            coverage: Vec::new(),
        };
        for letter in ' '..='~' {
            sheet.rasterise(letter);
        }
        sheet
    }

    /// Pixels from one base line to the next.
    #[must_use]
    pub fn height(&self) -> i32 {
        self.height
    }

    /// Columns that `text` takes.
    #[must_use]
    pub fn width(&self, text: &str) -> i32 {
        let letters = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
        letters.saturating_mul(self.advance)
    }

    /// Writes `text` with its upper left corner at `left`, `top`.
    pub fn write(
        &mut self,
        canvas: &mut Canvas<'_>,
        (left, top): (i32, i32),
        text: &str,
        colour: Yuv,
    ) {
        let end = canvas.area().right;
        let mut pen = left;
        for letter in text.chars() {
            if pen >= end {
                return;
            }
            let glyph = self.glyph(letter);
            let area = Area {
                left: pen + glyph.left,
                top: top + self.ascent + glyph.top,
                right: pen + glyph.left + i32::try_from(glyph.width).unwrap_or(0),
                bottom: top + self.ascent + glyph.top + i32::try_from(glyph.height).unwrap_or(0),
            };
            let pixels = &self.coverage[glyph.offset..glyph.offset + glyph.width * glyph.height];
            canvas.blend(area, colour, |column, row| {
                let (x, y) = (column - area.left, row - area.top);
                pixels[y.unsigned_abs() as usize * glyph.width + x.unsigned_abs() as usize]
            });
            pen = pen.saturating_add(self.advance);
        }
    }

    fn glyph(&mut self, letter: char) -> Placed {
        if let Some(glyph) = self.glyphs.get(&letter) {
            return *glyph;
        }
        if self.glyphs.len() >= GLYPHS_MAX {
            return self.glyphs.get(&'?').copied().unwrap_or_default();
        }
        self.rasterise(letter)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "glyph bounds are a few pixels and coverage is 0 to 1"
    )]
    fn rasterise(&mut self, letter: char) -> Placed {
        let glyph = Glyph {
            id: self.face.glyph_id(letter),
            scale: self.scale,
            position: point(0.0, 0.0),
        };
        let mut placed = Placed {
            offset: self.coverage.len(),
            ..Placed::default()
        };
        if let Some(outline) = self.face.outline_glyph(glyph) {
            let bounds = outline.px_bounds();
            placed.left = bounds.min.x as i32;
            placed.top = bounds.min.y as i32;
            placed.width = bounds.width() as usize;
            placed.height = bounds.height() as usize;
            self.coverage
                .resize(placed.offset + placed.width * placed.height, 0);
            let pixels = &mut self.coverage[placed.offset..];
            outline.draw(|column, row, coverage| {
                let at = row as usize * placed.width + column as usize;
                if let Some(pixel) = pixels.get_mut(at) {
                    *pixel = (coverage.clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            });
        }
        self.glyphs.insert(letter, placed);
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::geometry::{I420Layout, PixelSize};

    const WHITE: Yuv = Yuv {
        y: 235,
        u: 128,
        v: 128,
    };

    fn bright_pixels(size: f32, text: &str) -> usize {
        let layout = I420Layout::of(PixelSize {
            width: 400,
            height: 64,
        });
        let mut bytes = vec![16; layout.bytes];
        let mut sheet = GlyphSheet::new(size);
        let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
        sheet.write(&mut canvas, (4, 4), text, WHITE);
        bytes[..layout.offsets[1]]
            .iter()
            .filter(|luma| **luma > 90)
            .count()
    }

    #[test]
    fn every_letter_leaves_ink_at_every_size() {
        for size in [11.0, 17.0, 26.0] {
            for letter in ('!'..='~').chain(['é', 'ß', 'Ж', '中']) {
                let ink = bright_pixels(size, &letter.to_string());
                assert!(ink > 0, "`{letter}` at {size} px");
            }
            assert_eq!(bright_pixels(size, " "), 0);
        }
    }

    #[test]
    fn glyphs_are_rasterised_once() {
        let mut sheet = GlyphSheet::new(11.0);
        sheet.glyph('é');
        let (count, bytes) = (sheet.glyphs.len(), sheet.coverage.len());
        for letter in "person 0.83 #12 é".chars() {
            sheet.glyph(letter);
        }
        assert_eq!((sheet.glyphs.len(), sheet.coverage.len()), (count, bytes));
        for code in 0x4e00..0x5400 {
            sheet.glyph(char::from_u32(code).expect("an ideograph"));
        }
        assert_eq!(sheet.glyphs.len(), GLYPHS_MAX);
    }

    #[test]
    fn text_outside_the_picture_is_cut_off() {
        let layout = I420Layout::of(PixelSize {
            width: 40,
            height: 20,
        });
        let mut bytes = vec![16; layout.bytes];
        let mut sheet = GlyphSheet::new(17.0);
        let mut canvas = Canvas::new(&layout, &mut bytes).expect("whole");
        for corner in [(-30, -10), (30, 15), (i32::MAX - 50, 0), (0, 4000)] {
            sheet.write(&mut canvas, corner, "a long label", WHITE);
        }
    }
}
