//! Average precision of one model's detections when another's are taken as the truth.
//!
//! As in "The PASCAL Visual Object Classes Challenge: A Retrospective" (Everingham et al.
//! 2015, section 4.2): detections are ranked by score; each claims, of the truths of its frame
//! and class that no better detection has claimed, the one that it overlaps most, and is right
//! when that overlap (IoU) is at least 0.5. The average precision is the area under the
//! precision over recall curve, precision made monotonic.
//!
//! All classes are ranked together, unlike there: of a class with two objects in a short clip,
//! an average precision of its own would be a coin toss, and a mean over classes would weigh
//! it like any other.

use contract::detection::Detection;

/// Least overlap of a detection with the truth that it claims.
const IOU_MIN: f32 = 0.5;

/// Claims of all frames so far.
#[derive(Debug, Default)]
pub(super) struct Precision {
    claims: Vec<Claim>,
    truths: usize,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    score: f32,
    is_right: bool,
}

impl Precision {
    /// Compares what was found in one frame with its truth.
    pub(super) fn add_frame(&mut self, truth: &[Detection], found: &[Detection]) {
        let mut ranked: Vec<_> = found.iter().collect();
        ranked.sort_by(|one, other| other.score.total_cmp(&one.score));
        let mut claimed = vec![false; truth.len()];
        for detection in ranked {
            let rivals = truth.iter().enumerate();
            let candidates =
                rivals.filter(|(index, truth)| !claimed[*index] && truth.class == detection.class);
            let overlaps =
                candidates.map(|(index, truth)| (index, truth.bounds.iou(&detection.bounds)));
            let best = overlaps.max_by(|(_, one), (_, other)| one.total_cmp(other));
            let right = best.filter(|(_, overlap)| *overlap >= IOU_MIN);
            if let Some((index, _)) = right {
                claimed[index] = true;
            }
            self.claims.push(Claim {
                score: detection.score,
                is_right: right.is_some(),
            });
        }
        self.truths += truth.len();
    }

    /// Objects that there are to find.
    pub(super) fn truths(&self) -> usize {
        self.truths
    }

    /// The average precision, 0 to 1; `None` when there was nothing to find.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of detections in some hundred frames"
    )]
    pub(super) fn average(&self) -> Option<f64> {
        if self.truths == 0 {
            return None;
        }
        let mut ranked = self.claims.clone();
        ranked.sort_by(|one, other| other.score.total_cmp(&one.score));
        let mut right = 0_usize;
        let at_rank = (1_usize..).zip(&ranked).map(|(rank, claim)| {
            right += usize::from(claim.is_right);
            (claim.is_right, right as f64 / rank as f64)
        });
        let at_rank: Vec<_> = at_rank.collect();
        // From the end: precision at a recall is the best at that recall or beyond. Recall
        // grows by one truth at each right claim.
        let (mut envelope, mut area) = (0.0_f64, 0.0);
        for (is_right, precision) in at_rank.into_iter().rev() {
            envelope = envelope.max(precision);
            if is_right {
                area += envelope;
            }
        }
        Some(area / self.truths as f64)
    }
}

#[cfg(test)]
mod tests {
    use contract::detection::Landmarks;
    use contract::geometry::BoundingBox;

    use super::*;

    /// A box of 10 x 10 whose left edge is at `x`.
    fn detection(class: u16, score: f32, x: f32) -> Detection {
        let bounds = BoundingBox {
            x1: x,
            y1: 0.0,
            x2: x + 10.0,
            y2: 10.0,
        };
        Detection {
            bounds,
            score,
            class,
            landmarks: Landmarks::NONE,
        }
    }

    fn average(frames: &[(&[Detection], &[Detection])]) -> Option<f64> {
        let mut precision = Precision::default();
        for (truth, found) in frames {
            precision.add_frame(truth, found);
        }
        precision.average()
    }

    fn assert_average(frames: &[(&[Detection], &[Detection])], want: f64) {
        let got = average(frames).expect("there is a truth");
        assert!((got - want).abs() < 1e-9, "{got} is not {want}");
    }

    #[test]
    fn a_perfect_copy_has_one_and_finding_nothing_has_zero() {
        let truth = [detection(0, 0.9, 0.0), detection(1, 0.5, 50.0)];
        assert_average(&[(&truth, &truth)], 1.0);
        assert_average(&[(&truth, &[])], 0.0);
        assert_eq!(average(&[(&[], &truth)]), None);
        assert_eq!(average(&[]), None);
    }

    #[test]
    fn a_curve_worked_out_by_hand() {
        // Ranked: right, wrong, right, wrong, right, over five truths of two frames.
        // Precision at the right ones: 1/1, 2/3, 3/5; recall grows by 1/5 at each.
        // (1 + 2/3 + 3/5) / 5 = 34/75.
        let truth_one = [
            detection(0, 0.9, 0.0),
            detection(0, 0.9, 100.0),
            detection(0, 0.9, 200.0),
        ];
        let found_one = [
            detection(0, 0.9, 0.0),
            detection(0, 0.8, 400.0),
            detection(0, 0.5, 100.0),
        ];
        let truth_two = [detection(0, 0.9, 0.0), detection(0, 0.9, 100.0)];
        let found_two = [detection(0, 0.7, 0.0), detection(0, 0.6, 300.0)];
        let frames: [(&[Detection], &[Detection]); 2] =
            [(&truth_one, &found_one), (&truth_two, &found_two)];
        assert_average(&frames, 34.0 / 75.0);
    }

    #[test]
    fn precision_is_made_monotonic() {
        // Ranked: wrong, right, right. Precision 0, 1/2, 2/3: at the first right one the
        // envelope is 2/3 already. (2/3 + 2/3) / 2.
        let truth = [detection(0, 0.9, 0.0), detection(0, 0.9, 100.0)];
        let found = [
            detection(0, 0.9, 300.0),
            detection(0, 0.8, 0.0),
            detection(0, 0.7, 100.0),
        ];
        assert_average(&[(&truth, &found)], 2.0 / 3.0);
    }

    #[test]
    fn a_truth_is_claimed_once_by_its_class_and_by_enough_overlap() {
        let truth = [detection(0, 0.9, 0.0)];
        // The second claim of the same truth is wrong, but comes after all has been found.
        let twice = [detection(0, 0.9, 0.0), detection(0, 0.8, 1.0)];
        assert_average(&[(&truth, &twice)], 1.0);
        // Ranked before the right one it is not harmless: precision 1/2.
        let other_class = [detection(1, 0.9, 0.0), detection(0, 0.8, 0.0)];
        assert_average(&[(&truth, &other_class)], 0.5);
        // 10 x 10 shifted by 4 overlaps 6/14, by 3 it overlaps 7/13.
        assert_average(&[(&truth, &[detection(0, 0.9, 4.0)])], 0.0);
        assert_average(&[(&truth, &[detection(0, 0.9, 3.0)])], 1.0);
    }

    #[test]
    fn a_detection_takes_the_truth_that_it_overlaps_most() {
        let truth = [detection(0, 0.9, 0.0), detection(0, 0.9, 4.0)];
        // Nearer to the second truth, so that the first is left for the other detection.
        let found = [detection(0, 0.9, 3.0), detection(0, 0.8, 0.0)];
        assert_average(&[(&truth, &found)], 1.0);
    }

    #[test]
    fn frames_do_not_lend_each_other_truths() {
        let truth = [detection(0, 0.9, 0.0)];
        let frames: [(&[Detection], &[Detection]); 2] = [(&truth, &[]), (&[], &truth)];
        assert_average(&frames, 0.0);
    }
}
