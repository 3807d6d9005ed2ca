//! Texts that stand still, each at the lower left corner of what it names.

use contract::spec::CaptionSpec;

use super::PLATE_OPACITY;
use super::canvas::{Area, Canvas};
use super::colour::Palette;
use super::text::GlyphSheet;

/// A text and the plate under it.
#[derive(Debug)]
pub(super) struct Caption {
    text: String,
    plate: Area,
    padding: i32,
}

impl Caption {
    /// What is wider than its place loses its end.
    pub(super) fn new(spec: &CaptionSpec, sheet: &GlyphSheet, padding: i32) -> Self {
        let pixels = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let (left, width) = (pixels(spec.place.left), pixels(spec.size.width));
        let bottom = pixels(spec.place.top) + pixels(spec.size.height);
        let mut text = spec.text.clone();
        while sheet.width(&text) + 2 * padding > width && text.pop().is_some() {}
        let plate = Area {
            left,
            top: bottom - sheet.height(),
            right: left + sheet.width(&text) + 2 * padding,
            bottom,
        };
        Self {
            text,
            plate,
            padding,
        }
    }

    /// Where it lies.
    pub(super) fn plate(&self) -> Area {
        self.plate
    }

    pub(super) fn draw(&self, canvas: &mut Canvas<'_>, sheet: &mut GlyphSheet, palette: &Palette) {
        canvas.fill(self.plate, palette.ink, PLATE_OPACITY);
        let corner = (self.plate.left + self.padding, self.plate.top);
        sheet.write(canvas, corner, &self.text, palette.white);
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;
    use contract::mosaic::Grid;

    use super::*;

    #[test]
    fn a_text_stays_inside_its_place() {
        let sheet = GlyphSheet::new(17.0);
        let size = PixelSize {
            width: 640,
            height: 360,
        };
        let grid = Grid::of(size, 2, 4).expect("room");
        let place = grid.place(3);
        let caption = |text: &str| {
            let spec = CaptionSpec {
                text: text.to_owned(),
                place,
                size: grid.tile(),
            };
            Caption::new(&spec, &sheet, 5)
        };
        let short = caption("gate");
        assert_eq!(short.text, "gate");
        let (left, bottom) = (short.plate.left as u32, short.plate.bottom as u32);
        assert_eq!((left, bottom), (place.left, place.top + grid.tile().height));
        let long = caption(&"gate-".repeat(30));
        assert!(long.text.len() < 60 && long.text.starts_with("gate-gate"));
        assert!(long.plate.right as u32 <= place.left + grid.tile().width);
    }
}
