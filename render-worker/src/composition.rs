//! How the picture of the stream and the map of a depth model share the encoded picture.

use contract::geometry::{I420Layout, PixelSize};
use contract::spec::DepthView;

use crate::overlay::canvas::Area;

/// Part of the picture's height that an inset takes.
const INSET_PART: u32 = 3;
/// Part of the picture's height between an inset and the picture's edge.
const MARGIN_PART: u32 = 40;

/// Where what lies in an encoded picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Composition {
    /// The encoded picture.
    pub(crate) whole: I420Layout,
    /// The stream's picture inside of it, to be drawn on as if it were alone.
    pub(crate) picture: I420Layout,
    /// The map of depth.
    pub(crate) depth: Option<Area>,
}

impl Composition {
    /// For pictures of this size.
    pub(crate) fn of(size: PixelSize, view: DepthView) -> Self {
        let alone = I420Layout::of(size);
        match view {
            DepthView::Off => Self {
                whole: alone,
                picture: alone,
                depth: None,
            },
            DepthView::Inset => Self {
                whole: alone,
                picture: alone,
                depth: Some(inset(size)),
            },
            DepthView::SideBySide => {
                // The map begins with a whole chroma sample.
                let right = size.width.next_multiple_of(2);
                let whole = I420Layout::of(PixelSize {
                    width: right + size.width,
                    height: size.height,
                });
                Self {
                    whole,
                    picture: I420Layout { size, ..whole },
                    depth: Some(area(right, 0, size)),
                }
            }
        }
    }

    /// Copies a picture that lies alone in `source` to its place in `target`.
    pub(crate) fn copy(&self, source: &[u8], target: &mut [u8]) {
        let alone = I420Layout::of(self.picture.size);
        if self.picture == alone {
            target[..alone.bytes].copy_from_slice(&source[..alone.bytes]);
            return;
        }
        for plane in 0..3 {
            let stride = alone.strides[plane];
            let from = source[alone.offsets[plane]..].chunks_exact(stride);
            let to = target[self.whole.offsets[plane]..].chunks_mut(self.whole.strides[plane]);
            for (to, from) in to.zip(from).take(alone.rows[plane]) {
                to[..stride].copy_from_slice(from);
            }
        }
    }
}

/// The lower right corner, where neither the status line nor most labels are.
fn inset(size: PixelSize) -> Area {
    let even = |side: u32| (side & !1).max(2);
    let of = PixelSize {
        width: even(size.width / INSET_PART),
        height: even(size.height / INSET_PART),
    };
    let margin = even(size.height / MARGIN_PART);
    let corner = |side: u32, of: u32| even(side.saturating_sub(of + margin));
    area(
        corner(size.width, of.width),
        corner(size.height, of.height),
        of,
    )
}

fn area(left: u32, top: u32, size: PixelSize) -> Area {
    let pixels = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    Area {
        left: pixels(left),
        top: pixels(top),
        right: pixels(left + size.width),
        bottom: pixels(top + size.height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_by_side_the_picture_is_on_the_left_and_whole() {
        let size = PixelSize {
            width: 7,
            height: 5,
        };
        let composition = Composition::of(size, DepthView::SideBySide);
        assert_eq!(composition.whole.size.width, 15);
        let alone = I420Layout::of(size);
        let source: Vec<u8> = (0..alone.bytes).map(|at| at as u8 + 1).collect();
        let mut target = vec![0; composition.whole.bytes];
        composition.copy(&source, &mut target);
        for plane in 0..3 {
            let columns = if plane == 0 { 7 } else { 4 };
            for row in 0..alone.rows[plane] {
                let from = alone.offsets[plane] + row * alone.strides[plane];
                let to = composition.whole.offsets[plane] + row * composition.whole.strides[plane];
                assert_eq!(source[from..from + columns], target[to..to + columns]);
            }
        }
        assert_eq!(composition.depth, Some(area(8, 0, size)));
    }

    #[test]
    fn an_inset_lies_inside_and_on_whole_chroma_samples() {
        for (width, height) in [(16, 16), (320, 240), (1920, 1080), (17, 999)] {
            let size = PixelSize { width, height };
            let composition = Composition::of(size, DepthView::Inset);
            assert_eq!(composition.whole, composition.picture);
            let inset = composition.depth.expect("an inset");
            let picture = Area::of(&composition.whole);
            assert_eq!(inset.intersection(&picture), inset, "{size}");
            assert!(!inset.is_empty() && inset.left % 2 == 0 && inset.top % 2 == 0);
        }
        assert_eq!(
            Composition::of(
                PixelSize {
                    width: 64,
                    height: 64
                },
                DepthView::Off
            )
            .depth,
            None
        );
    }
}
