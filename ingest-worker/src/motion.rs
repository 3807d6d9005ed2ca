//! How much of a picture moved, and where.
//!
//! The luma plane is cut into cells of 16 x 16 pixels, of which every second row
//! is read. A cell's mean is compared with a background, the running average of
//! that cell's mean over about a second of event time: slow walkers differ from
//! it more than from the frame before, and sensor noise, which the mean over 128
//! pixels divides by eleven, does not.
//!
//! The median of all changes is taken off each before it is compared, so that a
//! change of the light or of the exposure that shifts the whole picture is no
//! motion. What it cannot tell apart from motion is light that changes one part
//! of the picture only: a head lamp, the edge of a cloud's shadow.
//!
//! Where it moved is told on the coarser grid of [`Cells`], the same for every size of
//! picture, so that a gate or a rule can ask about a zone.

use std::ops::RangeInclusive;

use contract::geometry::PixelSize;
use contract::motion::{self, Cells};
use contract::spec::MotionSpec;

/// Side of a cell, in pixels.
pub const CELL_SIDE: usize = 16;
/// Of the rows of a cell, one in so many is read.
const ROW_STEP: usize = 2;
/// Fraction bits of means: differences of a background that moves slowly are small.
const FRACTION_BITS: u32 = 6;
/// How long the background remembers, in nanoseconds of event time.
const BACKGROUND_NS: u64 = 1_000_000_000;

/// What moved in one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Motion {
    /// The part of the cells outside of the mask that moved, 0 to 1.
    pub fraction: f32,
    /// Where: a cell of 16 x 16 pixels that moved marks the cell of the grid in which its
    /// centre lies, and those whose centres lie in it.
    pub moved: Cells,
}

/// Measures the motion of one stream, frame by frame.
#[derive(Debug)]
pub struct MotionDetector {
    threshold: i32,
    mask: Vec<Vec<[f32; 2]>>,
    grid: Grid,
    /// Mean luma of each watched cell, [`FRACTION_BITS`] fraction bits.
    means: Vec<i32>,
    /// The running average of `means`; empty before the first frame.
    background: Vec<i32>,
    /// Scratch: what `means` differs from `background` by.
    changes: Vec<i32>,
    /// Scratch: sums over the rows of one row of cells, by column of pixels.
    columns: Vec<u16>,
    last_pts_ns: u64,
}

/// The cells of one picture size.
#[derive(Debug, Default)]
struct Grid {
    size: Option<PixelSize>,
    columns: usize,
    rows: usize,
    /// Cells outside of the mask, by row of cells and column.
    watched: Vec<bool>,
    /// Row and column of each cell that is watched.
    places: Vec<[usize; 2]>,
    /// Columns of [`Cells`] that each column of cells marks.
    marked_columns: Vec<RangeInclusive<usize>>,
    /// Rows of [`Cells`] that each row of cells marks.
    marked_rows: Vec<RangeInclusive<usize>>,
}

impl MotionDetector {
    /// A detector that has seen nothing yet.
    #[must_use]
    pub fn new(spec: &MotionSpec) -> Self {
        Self {
            threshold: threshold(spec),
            mask: spec.mask.clone(),
            grid: Grid::default(),
            means: Vec::new(),
            background: Vec::new(),
            changes: Vec::new(),
            columns: Vec::new(),
            last_pts_ns: 0,
        }
    }

    /// Goes on with other settings. Another mask means other cells, whose background is
    /// learnt anew: the next frame then has no motion.
    pub fn reconfigure(&mut self, spec: &MotionSpec) {
        self.threshold = threshold(spec);
        if self.mask != spec.mask {
            self.mask.clone_from(&spec.mask);
            self.grid = Grid::default();
        }
    }

    /// Forgets the background: the source was interrupted, and what changed
    /// meanwhile did not move.
    pub fn forget(&mut self) {
        self.background.clear();
    }

    /// What moved outside of the mask.
    ///
    /// It is nothing for the first frame, for the first of another size, and where the mask
    /// covers everything. `luma` holds rows of `size.width` bytes, `stride` bytes apart.
    ///
    /// # Panics
    /// When `luma` is too short for the size.
    pub fn measure(&mut self, luma: &[u8], stride: usize, size: PixelSize, pts_ns: u64) -> Motion {
        if self.grid.size != Some(size) {
            self.grid = Grid::of(size, &self.mask);
            self.background.clear();
        }
        self.take_means(luma, stride, size);
        let elapsed_ns = pts_ns.saturating_sub(self.last_pts_ns);
        self.last_pts_ns = pts_ns;
        if self.background.len() != self.means.len() {
            self.background.clone_from(&self.means);
            return Motion::default();
        }
        if self.means.is_empty() {
            return Motion::default();
        }

        let pairs = self.means.iter().zip(&self.background);
        self.changes.clear();
        self.changes
            .extend(pairs.map(|(mean, background)| mean - background));
        let threshold = self.threshold;
        // Order does not matter any more, so the median may be found in place.
        let middle = self.changes.len() / 2;
        let (_, median, _) = self.changes.select_nth_unstable(middle);
        let light = *median;
        let (mut count, mut moved) = (0_u32, Cells::default());
        let pairs = self.means.iter().zip(&self.background);
        for ((mean, background), place) in pairs.zip(&self.grid.places) {
            if (mean - background - light).abs() > threshold {
                count += 1;
                self.grid.mark(*place, &mut moved);
            }
        }

        // The weight of the newest mean, in 1/256: 1 - exp(-t / T) to the first order.
        let weight = (elapsed_ns.min(BACKGROUND_NS) * 256 / BACKGROUND_NS).clamp(1, 256);
        let weight = i32::try_from(weight).unwrap_or(256);
        for (background, mean) in self.background.iter_mut().zip(&self.means) {
            let step = (mean - *background) * weight;
            // Rounded away from zero, so that the background reaches the mean.
            *background += (step + step.signum() * 255) / 256;
        }
        #[expect(clippy::cast_precision_loss, reason = "there are at most 2^18 cells")]
        let fraction = count as f32 / self.means.len() as f32;
        Motion { fraction, moved }
    }

    fn take_means(&mut self, luma: &[u8], stride: usize, size: PixelSize) {
        let (width, height) = (size.width as usize, size.height as usize);
        self.means.clear();
        self.columns.resize(width, 0);
        for cell_row in 0..self.grid.rows {
            let watched = &self.grid.watched[cell_row * self.grid.columns..][..self.grid.columns];
            if !watched.contains(&true) {
                continue;
            }
            let rows = cell_row * CELL_SIDE..((cell_row + 1) * CELL_SIDE).min(height);
            let mut rows_read = 0;
            self.columns.fill(0);
            for row in rows.step_by(ROW_STEP) {
                rows_read += 1;
                let pixels = &luma[row * stride..][..width];
                // Eight rows of bytes fit 16 bits; this loop becomes vector instructions.
                for (sum, pixel) in self.columns.iter_mut().zip(pixels) {
                    *sum += u16::from(*pixel);
                }
            }
            for (cell, watched) in self.columns.chunks(CELL_SIDE).zip(watched) {
                if *watched {
                    let sum: u32 = cell.iter().copied().map(u32::from).sum();
                    let pixels = u32::try_from(cell.len()).unwrap_or(1) * rows_read;
                    let mean = (sum << FRACTION_BITS) / pixels;
                    self.means.push(i32::try_from(mean).unwrap_or(0));
                }
            }
        }
    }
}

impl Grid {
    fn of(size: PixelSize, mask: &[Vec<[f32; 2]>]) -> Self {
        let columns = (size.width as usize).div_ceil(CELL_SIDE);
        let rows = (size.height as usize).div_ceil(CELL_SIDE);
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| [column, row]));
        let watched = cells.map(|[column, row]| {
            let centre = [
                centre(column, size.width as usize),
                centre(row, size.height as usize),
            ];
            !mask.iter().any(|polygon| contains(polygon, centre))
        });
        let watched: Vec<bool> = watched.collect();
        let places = watched.iter().enumerate().filter(|(_, watched)| **watched);
        let places = places.map(|(index, _)| [index / columns, index % columns]);
        let marked = |cells: usize, length: u32, parts: usize| {
            let mark = move |index| marked(index, length as usize, parts);
            (0..cells).map(mark).collect()
        };
        Self {
            size: Some(size),
            columns,
            rows,
            places: places.collect(),
            marked_columns: marked(columns, size.width, motion::COLUMNS),
            marked_rows: marked(rows, size.height, motion::ROWS),
            watched,
        }
    }

    fn mark(&self, [row, column]: [usize; 2], moved: &mut Cells) {
        for row in self.marked_rows[row].clone() {
            for column in self.marked_columns[column].clone() {
                moved.insert(column, row);
            }
        }
    }
}

/// Of `parts` equal parts of a side of `length` pixels, those that the cell at `index` marks:
/// the part in which its centre lies, and the parts whose centres lie in it. The second are
/// several where the picture is so small that a cell is larger than a part.
fn marked(index: usize, length: usize, parts: usize) -> RangeInclusive<usize> {
    let begin = index * CELL_SIDE;
    let end = (begin + CELL_SIDE).min(length);
    let own = (begin + end) * parts / (2 * length);
    // Part `i` has its centre at `(2 i + 1) length / (2 parts)`.
    let centres_before = |pixel: usize| (2 * pixel * parts + length).div_ceil(2 * length) - 1;
    let (first, after) = (centres_before(begin), centres_before(end));
    own.min(first)..=own.max(after.saturating_sub(1))
}

/// What a mean must differ by, in its fractions.
fn threshold(spec: &MotionSpec) -> i32 {
    i32::from(spec.threshold) << FRACTION_BITS
}

/// Centre of the cell at `index` of a side of `length` pixels, normalised; the last may be narrower.
#[expect(clippy::cast_precision_loss, reason = "sides are at most SIDE_MAX")]
fn centre(index: usize, length: usize) -> f32 {
    let begin = index * CELL_SIDE;
    let end = (begin + CELL_SIDE).min(length);
    (begin + end) as f32 / 2.0 / length.max(1) as f32
}

/// The even-odd rule: a ray to the right crosses the outline an odd number of times.
fn contains(polygon: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    let mut inside = false;
    for (index, [x1, y1]) in polygon.iter().copied().enumerate() {
        let [x2, y2] = polygon[(index + 1) % polygon.len()];
        if (y1 > y) != (y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1 {
            inside = !inside;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    const SIZE: PixelSize = PixelSize {
        width: 320,
        height: 240,
    };
    const FRAME_NS: u64 = 100_000_000;

    struct Scene {
        detector: MotionDetector,
        stride: usize,
        light: u8,
        pts_ns: u64,
    }

    impl Scene {
        fn new(mask: Vec<Vec<[f32; 2]>>) -> Self {
            Self {
                detector: MotionDetector::new(&MotionSpec {
                    threshold: 12,
                    mask,
                }),
                stride: 352,
                light: 0,
                pts_ns: 0,
            }
        }

        /// The motion when a bright square of 64 x 64 stands at `x`, `y` of a grey, grained picture.
        fn show(&mut self, square: Option<[usize; 2]>) -> f32 {
            self.look(square).fraction
        }

        fn look(&mut self, square: Option<[usize; 2]>) -> Motion {
            let (width, height) = (SIZE.width as usize, SIZE.height as usize);
            // What lies beyond a row's end is not part of the picture.
            let mut luma = vec![255; self.stride * height];
            for row in 0..height {
                for column in 0..width {
                    let grain = u8::try_from((row * 7 + column * 13) % 9).unwrap();
                    let inside = square.is_some_and(|[x, y]| {
                        (x..x + 64).contains(&column) && (y..y + 64).contains(&row)
                    });
                    let base = if inside { 180 } else { 60 };
                    luma[row * self.stride + column] = base + grain + self.light;
                }
            }
            let motion = self.detector.measure(&luma, self.stride, SIZE, self.pts_ns);
            self.pts_ns += FRAME_NS;
            motion
        }
    }

    /// A square covers 4 x 4 of the 20 x 15 cells when it stands on cell borders.
    fn of_squares(motion: f32) -> f32 {
        motion * 300.0 / 16.0
    }

    #[test]
    fn the_first_frame_and_a_still_picture_have_no_motion() {
        let mut scene = Scene::new(Vec::new());
        for _ in 0..5 {
            assert!(scene.show(Some([32, 32])).abs() < f32::EPSILON);
        }
    }

    #[test]
    fn a_moved_square_counts_where_it_was_and_where_it_is() {
        let mut scene = Scene::new(Vec::new());
        scene.show(Some([32, 32]));
        let motion = scene.show(Some([160, 96]));
        assert!((of_squares(motion) - 2.0).abs() < 0.01, "{motion}");
    }

    #[test]
    fn what_stays_becomes_background() {
        let mut scene = Scene::new(Vec::new());
        scene.show(None);
        assert!(of_squares(scene.show(Some([32, 32]))) > 0.99);
        let mut motion = 1.0;
        for _ in 0..40 {
            motion = scene.show(Some([32, 32]));
        }
        assert!(motion.abs() < f32::EPSILON, "{motion} after four seconds");
    }

    #[test]
    fn slow_motion_is_seen() {
        let mut scene = Scene::new(Vec::new());
        scene.show(Some([0, 96]));
        // One pixel a frame changes a cell by no more than 120 / 16 = 7.5 from frame to frame.
        let mut moving = 0;
        for x in 1..=100 {
            moving += u32::from(scene.show(Some([x, 96])) > 0.0);
        }
        assert!(moving > 90, "seen in {moving} of 100 frames");
    }

    #[test]
    fn light_that_changes_everywhere_is_no_motion() {
        let mut scene = Scene::new(Vec::new());
        scene.show(Some([32, 32]));
        scene.light = 50;
        assert!(scene.show(Some([32, 32])).abs() < f32::EPSILON);
        scene.light = 20;
        let motion = scene.show(Some([160, 96]));
        assert!((of_squares(motion) - 2.0).abs() < 0.01, "{motion}");
    }

    #[test]
    fn the_mask_is_not_looked_at() {
        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let mut scene = Scene::new(vec![left.clone()]);
        scene.show(None);
        assert!(scene.show(Some([32, 32])).abs() < f32::EPSILON);
        scene.show(None);
        // 16 of the 150 cells of the right half.
        let motion = scene.show(Some([192, 32]));
        assert!((motion - 16.0 / 150.0).abs() < 0.001, "{motion}");

        let right = vec![[0.5, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 1.0]];
        let mut blind = Scene::new(vec![left, right]);
        blind.show(None);
        assert!(blind.show(Some([32, 32])).abs() < f32::EPSILON);
    }

    #[test]
    fn a_forgotten_background_is_learnt_anew() {
        let mut scene = Scene::new(Vec::new());
        scene.show(Some([32, 32]));
        scene.detector.forget();
        assert!(scene.show(Some([160, 96])).abs() < f32::EPSILON);
        assert!(scene.show(Some([32, 32])) > 0.0);
    }

    #[test]
    fn sizes_that_are_no_multiple_of_a_cell_work_and_may_change() {
        let mut detector = MotionDetector::new(&MotionSpec {
            threshold: 12,
            mask: Vec::new(),
        });
        for (width, height) in [(33, 17), (2, 2), (1920, 1080)] {
            let size = PixelSize { width, height };
            let pixels = (width * height) as usize;
            let dark = vec![16; pixels];
            let mut lit = dark.clone();
            lit[pixels / 2..].fill(200);
            let stride = width as usize;
            let still = detector.measure(&dark, stride, size, 0);
            assert_eq!(still, Motion::default());
            let motion = detector.measure(&lit, stride, size, FRAME_NS);
            assert!((0.0..=1.0).contains(&motion.fraction));
        }
    }

    /// Cells of the grid that a rectangle of this picture touches with their centres.
    fn cells_in(x: Range<f32>, y: Range<f32>) -> Cells {
        Cells::of(|[across, down]| x.contains(&(across * 320.0)) && y.contains(&(down * 240.0)))
    }

    #[test]
    fn where_it_moved_is_where_the_square_was_and_is() {
        let mut scene = Scene::new(Vec::new());
        scene.look(Some([32, 32]));
        let moved = scene.look(Some([160, 96])).moved;
        let was = cells_in(32.0..96.0, 32.0..96.0);
        let is = cells_in(160.0..224.0, 96.0..160.0);
        // A picture this small has fewer cells of pixels than the grid has, and no holes.
        assert!((was.share_in(&moved) - 1.0).abs() < f32::EPSILON);
        assert!((is.share_in(&moved) - 1.0).abs() < f32::EPSILON);
        // What is half a cell or more away is not marked.
        let around = |x: f32, y: f32| cells_in(x - 10.0..x + 74.0, y - 14.0..y + 78.0);
        let (near_was, near_is) = (around(32.0, 32.0), around(160.0, 96.0));
        let near = Cells::from_words(std::array::from_fn(|word| {
            near_was.words()[word] | near_is.words()[word]
        }));
        assert!((moved.share_in(&near) - 1.0).abs() < f32::EPSILON);
    }

    #[test]
    fn masked_cells_are_never_marked() {
        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        let mut scene = Scene::new(vec![left]);
        scene.look(None);
        let moved = scene.look(Some([128, 32])).moved;
        assert!(moved.count() > 0, "half of the square is to be seen");
        let masked = cells_in(0.0..160.0, 0.0..240.0);
        assert!(masked.share_in(&moved).abs() < f32::EPSILON);
    }

    #[test]
    fn every_cell_of_the_grid_can_be_marked_at_any_size() {
        for length in (1..200_usize).chain([320, 511, 512, 513, 1080, 1920, 8192]) {
            for parts in [motion::COLUMNS, motion::ROWS] {
                let mut seen = vec![false; parts];
                for index in 0..length.div_ceil(CELL_SIDE) {
                    for part in marked(index, length, parts) {
                        seen[part] = true;
                    }
                }
                assert!(!seen.contains(&false), "{parts} parts of {length} pixels");
            }
        }
    }

    #[test]
    fn settings_change_between_two_frames() {
        let mut scene = Scene::new(Vec::new());
        let spec = |threshold, mask: &[Vec<[f32; 2]>]| MotionSpec {
            threshold,
            mask: mask.to_vec(),
        };
        scene.show(None);
        // The square is 120 brighter.
        scene.detector.reconfigure(&spec(200, &[]));
        assert!(scene.show(Some([192, 32])).abs() < f32::EPSILON);
        scene.detector.reconfigure(&spec(12, &[]));
        let motion = scene.show(Some([192, 32]));
        assert!(of_squares(motion) > 0.99, "the background was kept");

        let left = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
        scene.detector.reconfigure(&spec(12, &[left]));
        assert!(scene.show(Some([192, 32])).abs() < f32::EPSILON);
        let motion = scene.show(None);
        assert!((motion - 16.0 / 150.0).abs() < 0.001, "{motion}");
    }

    #[test]
    fn points_in_a_concave_polygon() {
        let arrow = [[0.0, 0.0], [1.0, 0.5], [0.0, 1.0], [0.5, 0.5]];
        assert!(contains(&arrow, [0.7, 0.5]));
        assert!(!contains(&arrow, [0.2, 0.5]));
        assert!(!contains(&arrow, [0.9, 0.9]));
        assert!(!contains(&[], [0.5, 0.5]));
    }
}
