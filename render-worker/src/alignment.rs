//! Faces cut out upright, with eyes and mouth where models that embed faces expect them.

use contract::alignment::{FACE_LANDMARKS, FACE_SIDE, Similarity};
use contract::geometry::{I420Layout, PixelSize};

/// Most samples across and down that make a pixel of a face that is scaled down.
const SAMPLES_MAX: usize = 4;

/// How large every aligned face is.
pub(crate) fn size() -> PixelSize {
    PixelSize {
        width: FACE_SIDE,
        height: FACE_SIDE,
    }
}

/// From an aligned face to the picture in which it has these landmarks; `None` where they are
/// not those of a face.
pub(crate) fn of(landmarks: &[[f32; 2]]) -> Option<Similarity> {
    let are_of_face = landmarks.len() == FACE_LANDMARKS.len();
    Similarity::fit(&FACE_LANDMARKS, landmarks).filter(|_| are_of_face)
}

/// Fills `target`, an I420 picture of [`size`], with a face of a picture.
///
/// # Panics
/// When `pixels` or `target` are shorter than their layouts say.
pub(crate) fn align(
    to_picture: &Similarity,
    picture: &I420Layout,
    pixels: &[u8],
    target: &mut [u8],
) {
    let face = I420Layout::of(size());
    for plane in 0..3 {
        let subsampling = if plane == 0 { 1.0 } else { 2.0 };
        let source = Plane::of(picture, pixels, plane);
        let rows = target[face.offsets[plane]..].chunks_mut(face.strides[plane]);
        for (row, values) in rows.take(face.rows[plane]).enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                *value = source.mean(to_picture, subsampling, [column, row]);
            }
        }
    }
}

/// One plane of a picture.
struct Plane<'a> {
    samples: &'a [u8],
    stride: usize,
    columns: usize,
    rows: usize,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are at most SIDE_MAX, and places are clamped to the plane"
)]
impl<'a> Plane<'a> {
    fn of(layout: &I420Layout, pixels: &'a [u8], plane: usize) -> Self {
        let width = layout.size.width as usize;
        Self {
            samples: &pixels[layout.offsets[plane]..],
            stride: layout.strides[plane],
            columns: if plane == 0 { width } else { width.div_ceil(2) },
            rows: layout.rows[plane],
        }
    }

    /// What lies under a sample of the face: the mean of as many places as it covers.
    fn mean(&self, to_picture: &Similarity, subsampling: f32, sample: [usize; 2]) -> u8 {
        let places = (to_picture.scale().ceil() as usize).clamp(1, SAMPLES_MAX);
        let at = |cell: usize, place: usize| {
            (cell as f32 + (place as f32 + 0.5) / places as f32) * subsampling
        };
        let mut sum = 0.0;
        for down in 0..places {
            for across in 0..places {
                let [x, y] = to_picture.apply([at(sample[0], across), at(sample[1], down)]);
                sum += self.bilinear(x / subsampling - 0.5, y / subsampling - 0.5);
            }
        }
        (sum / (places * places) as f32 + 0.5) as u8
    }

    /// Between the middles of four samples; beyond the edge, the edge.
    fn bilinear(&self, x: f32, y: f32) -> f32 {
        let pair = |at: f32, most: usize| {
            let at = at.clamp(0.0, (most - 1) as f32);
            let first = at as usize;
            (first, (first + 1).min(most - 1), at - first as f32)
        };
        let (left, right, across) = pair(x, self.columns);
        let (above, below, down) = pair(y, self.rows);
        let row = |row: usize| {
            let sample = |column: usize| f32::from(self.samples[row * self.stride + column]);
            sample(left) + (sample(right) - sample(left)) * across
        };
        row(above) + (row(below) - row(above)) * down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(side: u32) -> (I420Layout, Vec<u8>) {
        let layout = I420Layout::of(PixelSize {
            width: side,
            height: side,
        });
        let mut pixels = vec![128; layout.bytes];
        for row in 0..side as usize {
            for column in 0..side as usize {
                // Bright to the right, and a step brighter in the lower half.
                let value =
                    column * 200 / side as usize + if row * 2 >= side as usize { 40 } else { 0 };
                pixels[row * layout.strides[0] + column] = u8::try_from(value).expect("a byte");
            }
        }
        (layout, pixels)
    }

    fn aligned(layout: &I420Layout, pixels: &[u8], landmarks: &[[f32; 2]]) -> Vec<u8> {
        let mut face = vec![0; I420Layout::of(size()).bytes];
        align(&of(landmarks).expect("a face"), layout, pixels, &mut face);
        face
    }

    #[test]
    fn a_face_that_is_aligned_stays_as_it_is() {
        let (layout, pixels) = picture(FACE_SIDE);
        assert_eq!(aligned(&layout, &pixels, &FACE_LANDMARKS), pixels);
    }

    #[test]
    fn a_larger_face_is_scaled_down_evenly() {
        let (layout, pixels) = picture(3 * FACE_SIDE);
        let landmarks = FACE_LANDMARKS.map(|point| point.map(|side| side * 3.0));
        let face = aligned(&layout, &pixels, &landmarks);
        let (_, wanted) = picture(FACE_SIDE);
        for (at, (got, wanted)) in face.iter().zip(&wanted).enumerate() {
            assert!(
                got.abs_diff(*wanted) <= 2,
                "{at}: {got} instead of {wanted}"
            );
        }
    }

    #[test]
    fn a_face_on_its_side_is_set_upright() {
        let (layout, pixels) = picture(FACE_SIDE);
        // Turned by a quarter to the right: what was to the right is below.
        let side = FACE_SIDE as f32;
        let landmarks = FACE_LANDMARKS.map(|[x, y]| [side - y, x]);
        let face = aligned(&layout, &pixels, &landmarks);
        let stride = I420Layout::of(size()).strides[0];
        // The picture is bright at its right, which is the top of the face.
        assert!(face[5 * stride + 20] > face[106 * stride + 20] + 100);
    }

    #[test]
    fn a_face_at_the_edge_is_filled_up_and_no_face_is_none() {
        let (layout, pixels) = picture(FACE_SIDE);
        let landmarks = FACE_LANDMARKS.map(|[x, y]| [x - 80.0, y + 90.0]);
        aligned(&layout, &pixels, &landmarks);
        assert_eq!(of(&FACE_LANDMARKS[..4]), None);
        assert_eq!(of(&[[1.0, 1.0]; 5]), None);
    }
}
