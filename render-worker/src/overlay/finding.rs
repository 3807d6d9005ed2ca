//! Things that second models found on tracks: a small box in the track's colour, with its
//! landmarks, and no label, for the track has one.

use contract::detection::Landmarks;
use contract::geometry::BoundingBox;

use super::canvas::Canvas;
use super::colour::Rgb;
use super::shape::{self, Stroke};
use super::{Overlay, RIM_OPACITY, area_of};

/// Width of the outline: two pixels cover whole chroma samples.
const LINE: i32 = 2;
/// Diameter of a landmark's dot, as a part of the box's longer side: five of them must not
/// cover a face.
const DOT: f32 = 0.1;

/// One thing that was found.
#[derive(Debug, Clone, Copy)]
pub struct Finding<'a> {
    /// Where; a box that is not valid is not drawn.
    pub bounds: BoundingBox,
    /// Points that the model found on it.
    pub landmarks: Landmarks,
    /// The track it belongs to: it has its colour.
    pub track: u64,
    /// Class name of the track.
    pub label: &'a str,
    /// The colour that a rule wants the track in.
    pub colour: Option<Rgb>,
}

impl Overlay {
    /// Draws them where boxes are drawn, over what [`Overlay::draw`] has drawn.
    /// Returns false, and draws nothing, when `bytes` is shorter than the layout says.
    pub fn draw_findings<'a>(
        &mut self,
        bytes: &mut [u8],
        findings: impl Iterator<Item = Finding<'a>>,
    ) -> bool {
        let Some(mut canvas) = Canvas::new(&self.layout, bytes) else {
            return false;
        };
        let boxes = self.layers.boxes;
        let shown = findings.filter(|finding| boxes || finding.colour.is_some());
        for finding in shown.filter(|finding| finding.bounds.is_valid()) {
            self.draw_finding(&mut canvas, &finding);
        }
        true
    }

    fn draw_finding(&self, canvas: &mut Canvas<'_>, finding: &Finding<'_>) {
        let picture = canvas.area();
        let area = area_of(&finding.bounds, &picture);
        if area.is_empty() {
            return;
        }
        let hue = self.hue(finding.colour, Some(finding.track), finding.label);
        let colour = self.line_of(hue);
        let ink = self.palette.ink;
        let outer = self.outer_edge(area, &picture);
        shape::outline(canvas, outer.grown(LINE), LINE, ink, RIM_OPACITY, None);
        shape::outline(canvas, outer, LINE, colour, 255, None);
        let side = finding.bounds.width().max(finding.bounds.height());
        #[expect(clippy::cast_precision_loss, reason = "a line is a few pixels wide")]
        let dot = (side * DOT).clamp(2.0, self.style.line as f32 * 2.0);
        for point in finding.landmarks.points() {
            let rim = Stroke::new(*point, *point, dot + 2.0);
            let dot = Stroke::new(*point, *point, dot);
            if let (Some(rim), Some(dot)) = (rim, dot) {
                rim.draw(canvas, ink);
                dot.draw(canvas, colour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::{I420Layout, PixelSize};
    use contract::spec::{ColourBy, DepthView, NearValues, OverlaySpec};
    use frame_bus::ColourMatrix;

    use super::super::colour::{Palette, Yuv};
    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 640,
        height: 360,
    };
    const GREY: u8 = 128;

    fn face(colour: Option<Rgb>) -> Finding<'static> {
        Finding {
            bounds: BoundingBox {
                x1: 100.0,
                y1: 100.0,
                x2: 140.0,
                y2: 150.0,
            },
            landmarks: Landmarks::new(&[[112.0, 120.0], [128.0, 120.0]]).expect("two"),
            track: 12,
            label: "person",
            colour,
        }
    }

    /// The luma of a grey picture that was drawn on.
    fn drawn(boxes: bool, findings: &[Finding]) -> impl Fn(usize, usize) -> u8 + use<> {
        let layout = I420Layout::of(SIZE);
        let mut bytes = vec![GREY; layout.bytes];
        let layers = OverlaySpec {
            boxes,
            trails: true,
            zones: true,
            status: true,
            classes: true,
            heat: false,
            colours: ColourBy::Track,
            depth: DepthView::Off,
            near: NearValues::Large,
        };
        let mut overlay = Overlay::new(layers, layout, ColourMatrix::Bt709, &[]);
        assert!(overlay.draw_findings(&mut bytes, findings.iter().copied()));
        assert!(!overlay.draw_findings(&mut [0; 9], findings.iter().copied()));
        move |column, row| bytes[row * layout.strides[0] + column]
    }

    fn of_track() -> Yuv {
        Palette::new(ColourMatrix::Bt709).track(12)
    }

    #[test]
    fn a_thin_box_and_dots_in_the_colour_of_the_track() {
        let luma = drawn(true, &[face(None)]);
        let colour = of_track().y;
        assert_eq!(luma(120, 99), colour, "upper edge");
        assert_eq!(luma(112, 120), colour, "an eye");
        assert_eq!(luma(128, 120), colour, "the other");
        assert_eq!(luma(120, 135), GREY, "the rest of the face");
        assert_eq!(luma(120, 85), GREY, "no label");
    }

    #[test]
    fn it_is_drawn_where_boxes_are() {
        assert_eq!(drawn(false, &[face(None)])(120, 99), GREY);
        let chosen = Rgb(255, 0, 0);
        let red = Palette::new(ColourMatrix::Bt709).chosen(chosen).y;
        assert_eq!(drawn(false, &[face(Some(chosen))])(120, 99), red);
        let mut outside = face(None);
        outside.bounds.x1 = f32::NAN;
        assert_eq!(drawn(true, &[outside])(120, 99), GREY);
        let mut beyond = face(None);
        (beyond.bounds.x1, beyond.bounds.x2) = (700.0, 740.0);
        assert_eq!(drawn(true, &[beyond])(639, 100), GREY);
    }
}
