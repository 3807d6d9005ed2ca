//! Which zones an object is in, and for how long.

use contract::geometry::{BoundingBox, PixelSize};
use contract::motion::{COLUMNS, Cells, ROWS};
use dsl::{Anchor, Zone};

/// An object seen outside for no longer than this has not left: boxes tremble, and a
/// zone has sharp edges.
pub const FLICKER_NS: u64 = 500_000_000;

/// The zones that hold the anchor of a box in pixels of a picture of `size`: bit `i` for zone `i`.
#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
pub(crate) fn membership(zones: &[Zone], bounds: &BoundingBox, size: PixelSize) -> u64 {
    let (width, height) = (size.width.max(1) as f32, size.height.max(1) as f32);
    let mut bits = 0;
    for (index, zone) in zones.iter().take(dsl::ZONES_MAX).enumerate() {
        let (x, bottom) = bounds.bottom_center();
        let y = match zone.anchor {
            Anchor::BottomCenter => bottom,
            Anchor::Center => f32::midpoint(bounds.y1, bounds.y2),
        };
        if zone.contains([x / width, y / height]) {
            bits |= 1 << index;
        }
    }
    bits
}

/// The cells of the motion grid that make up a zone: those whose centre it holds, and of a
/// zone that is too small for that, those that its corners lie in.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few dozen columns and rows; corners are 0 to 1"
)]
pub(crate) fn cells(zone: &Zone) -> Cells {
    let mut cells = Cells::of(|point| zone.contains(point));
    if cells.count() == 0 {
        for [x, y] in &zone.polygon {
            let column = (x * COLUMNS as f32) as usize;
            let row = (y * ROWS as f32) as usize;
            cells.insert(column.min(COLUMNS - 1), row.min(ROWS - 1));
        }
    }
    cells
}

/// One track's stay in one zone.
///
/// A stay begins in the first frame that shows the track inside, also when it is the first
/// frame that shows it at all, and ends once the track has been outside for more than
/// [`FLICKER_NS`] since it was last inside. Time in which it was not seen interrupts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Presence(Option<Stay>);

#[derive(Debug, Clone, Copy)]
struct Stay {
    since_pts_ns: u64,
    inside_pts_ns: u64,
    /// The last frame with the track showed it outside.
    interrupted: bool,
}

/// What a frame says of a stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The stay begins.
    pub(crate) entered: bool,
    /// The stay has ended; both when one ends and the next begins.
    pub(crate) left: bool,
    /// How long it has lasted; 0 in a frame that shows the track outside.
    pub(crate) dwell_ns: u64,
}

impl Presence {
    /// Takes in a frame that shows the track.
    pub(crate) fn observe(&mut self, pts_ns: u64, inside: bool) -> Sight {
        let mut sight = Sight::default();
        if let Some(stay) = &mut self.0 {
            stay.interrupted |= !inside;
            let outside_ns = pts_ns.saturating_sub(stay.inside_pts_ns);
            if stay.interrupted && outside_ns > FLICKER_NS {
                self.0 = None;
                sight.left = true;
            }
        }
        if !inside {
            return sight;
        }
        let stay = self.0.get_or_insert_with(|| {
            sight.entered = true;
            Stay {
                since_pts_ns: pts_ns,
                inside_pts_ns: pts_ns,
                interrupted: false,
            }
        });
        stay.inside_pts_ns = pts_ns;
        stay.interrupted = false;
        sight.dwell_ns = pts_ns.saturating_sub(stay.since_pts_ns);
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(polygon: &[[f32; 2]], anchor: Anchor) -> Zone {
        Zone {
            name: "z".to_owned(),
            polygon: polygon.to_vec(),
            anchor,
        }
    }

    #[test]
    fn an_object_cut_off_by_the_picture_is_in_the_zone_at_its_border() {
        let size = PixelSize {
            width: 200,
            height: 100,
        };
        let corner = [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0], [0.5, 1.0]];
        let zones = [Anchor::Center, Anchor::BottomCenter].map(|anchor| zone(&corner, anchor));
        let bounds = |x1, y1, x2, y2| BoundingBox { x1, y1, x2, y2 };
        assert_eq!(
            membership(&zones, &bounds(150.0, 0.0, 190.0, 100.0), size),
            0b11
        );
        assert_eq!(
            membership(&zones, &bounds(150.0, 0.0, 190.0, 80.0), size),
            0b10
        );
        assert_eq!(membership(&zones, &bounds(0.0, 0.0, 90.0, 100.0), size), 0);
    }

    #[test]
    fn a_zone_has_cells_however_small_it_is() {
        let half = zone(
            &[[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]],
            Anchor::Center,
        );
        assert_eq!(cells(&half).count(), 16 * 18);
        let tiny = zone(&[[0.99, 0.99], [1.0, 0.99], [1.0, 1.0]], Anchor::Center);
        assert_eq!(cells(&tiny).count(), 1);
    }

    /// Frames of 10 fps: `i` inside, `o` outside, ` ` not seen. For each frame seen `E`, `L`,
    /// `B` for entered, left and both, else the dwell in tenths of a second.
    fn play(frames: &str) -> String {
        let mut presence = Presence::default();
        let mut told = String::new();
        for (index, what) in (0..).zip(frames.chars()) {
            if what == ' ' {
                told.push(' ');
                continue;
            }
            let sight = presence.observe(index * 100_000_000, what == 'i');
            told.push(match (sight.entered, sight.left) {
                (true, true) => 'B',
                (true, false) => 'E',
                (false, true) => 'L',
                (false, false) => char::from_digit(
                    u32::try_from(sight.dwell_ns / 100_000_000).expect("short"),
                    36,
                )
                .expect("short"),
            });
        }
        told
    }

    #[test]
    fn flicker_is_bridged_and_absence_is_no_exit() {
        for (frames, told) in [
            ("oiiioooooo", "0E1200000L"),
            ("iiioooiii", "E12000678"),
            // Outside for 0.5 s since it was last inside is flicker, 0.6 s is not.
            ("iooooi", "E00005"),
            ("ioooooi", "E00000B"),
            ("ii     i", "E1     7"),
            ("ii     o", "E1     L"),
            ("io     i", "E0     B"),
        ] {
            assert_eq!(play(frames), told, "`{frames}`");
        }
    }
}
