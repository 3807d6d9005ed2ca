//! What a model says of a frame, and what a tracker makes of it.

use serde::{Deserialize, Serialize};

use crate::geometry::BoundingBox;

/// Most detections kept of one frame, the best scores first.
pub const DETECTIONS_MAX: usize = 256;

/// Most landmarks of one object.
pub const LANDMARKS_MAX: usize = 6;

/// Points that a model finds on an object, in pixels of the frame; their number and order are
/// the model family's. May lie outside of the frame, where the object does.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<[f32; 2]>", into = "Vec<[f32; 2]>")]
pub struct Landmarks {
    count: u8,
    /// Those from `count` on are zero, so that equal landmarks are equal bits.
    points: [[f32; 2]; LANDMARKS_MAX],
}

impl Landmarks {
    /// Of an object on which the model finds none.
    pub const NONE: Self = Self {
        count: 0,
        points: [[0.0; 2]; LANDMARKS_MAX],
    };

    /// `None` when there are more than [`LANDMARKS_MAX`] points.
    #[must_use]
    pub fn new(points: &[[f32; 2]]) -> Option<Self> {
        let mut landmarks = Self {
            count: u8::try_from(points.len()).ok()?,
            ..Self::NONE
        };
        let places = landmarks.points.get_mut(..points.len())?;
        places.copy_from_slice(points);
        Some(landmarks)
    }

    /// The points, in the family's order.
    #[must_use]
    pub fn points(&self) -> &[[f32; 2]] {
        &self.points[..usize::from(self.count)]
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.count
    }

    /// All coordinates are numbers.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.points.as_flattened().iter().all(|c| c.is_finite())
    }

    /// The same points elsewhere.
    #[must_use]
    pub fn map(mut self, to: impl Fn([f32; 2]) -> [f32; 2]) -> Self {
        for point in &mut self.points[..usize::from(self.count)] {
            *point = to(*point);
        }
        self
    }
}

impl TryFrom<Vec<[f32; 2]>> for Landmarks {
    type Error = String;

    fn try_from(points: Vec<[f32; 2]>) -> Result<Self, String> {
        let count = points.len();
        Self::new(&points).ok_or_else(|| {
            format!("{count} landmarks are more than an object can have, {LANDMARKS_MAX}")
        })
    }
}

impl From<Landmarks> for Vec<[f32; 2]> {
    fn from(landmarks: Landmarks) -> Self {
        landmarks.points().to_vec()
    }
}

/// One object found by a model in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Where, in pixels of the frame.
    pub bounds: BoundingBox,
    /// How sure, 0 to 1.
    pub score: f32,
    /// Index into the model's labels.
    pub class: u16,
    /// What the model found on it.
    pub landmarks: Landmarks,
}

/// Why a frame that inference received has no detections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// The stream's gate said the frame is not worth it.
    Gated,
    /// Older than `max_staleness` when its turn came.
    Stale,
    /// A newer frame of the same stream took its place while all sessions were busy.
    Shed,
    /// Overwritten on the bus before it was received.
    Overflowed,
    /// The model failed on it.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landmarks_are_as_many_as_were_given() {
        let points = [[1.0, 2.0], [3.0, 4.0]];
        let landmarks = Landmarks::new(&points).expect("two are not too many");
        assert_eq!((landmarks.points(), landmarks.count()), (&points[..], 2));
        let moved = landmarks.map(|[x, y]| [x + 1.0, y * 2.0]);
        assert_eq!(moved.points(), [[2.0, 4.0], [4.0, 8.0]]);
        // The places that are not used stay as they were.
        assert_eq!(moved, Landmarks::new(moved.points()).expect("two"));
        assert_eq!(Landmarks::new(&[]), Some(Landmarks::NONE));
        assert_eq!(Landmarks::new(&[[0.0; 2]; LANDMARKS_MAX + 1]), None);
    }

    #[test]
    fn landmarks_are_written_as_a_list() {
        let landmarks = Landmarks::new(&[[1.5, 2.0]]).expect("one");
        let text = serde_json::to_string(&landmarks).expect("a list");
        assert_eq!(text, "[[1.5,2.0]]");
        assert_eq!(
            serde_json::from_str::<Landmarks>(&text).expect("it"),
            landmarks
        );
        let many = serde_json::to_string(&[[0.0; 2]; LANDMARKS_MAX + 1]).expect("a list");
        let error = serde_json::from_str::<Landmarks>(&many).expect_err("too many");
        assert!(error.to_string().starts_with("7 landmarks"), "{error}");
    }

    #[test]
    fn a_coordinate_that_is_no_number_is_seen() {
        let wild = Landmarks::new(&[[1.0, 2.0], [f32::NAN, 0.0]]).expect("two");
        assert!(!wild.is_valid());
        assert!(Landmarks::NONE.is_valid());
    }
}
