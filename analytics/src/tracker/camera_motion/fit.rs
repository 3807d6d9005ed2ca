//! The similarity transform that most points agree on: RANSAC (Fischler and Bolles 1981) over
//! pairs of points, then least squares over those that agree.

use super::CameraMotion;

/// Pairs tried. When half of the points lie on what moves, a pair of the other half is
/// missed in all of them with a probability of 0.75^64, once in a hundred million.
const PAIRS: usize = 64;

/// A point agrees when it lands so near, in pixels of the small picture.
const AGREEMENT: f32 = 0.75;

/// Fewest points that must agree, and the share of all.
const AGREEING_MIN: usize = 8;
const AGREEING_SHARE_MIN: f32 = 0.4;

/// A point of one picture and its place in the next.
pub(super) type Match = ([f32; 2], [f32; 2]);

/// `None` when too few agree: a scene cut, or nothing but moving objects.
pub(super) fn similarity(matches: &[Match], agreeing: &mut Vec<Match>) -> Option<CameraMotion> {
    if matches.len() < AGREEING_MIN {
        return None;
    }
    let mut best = (0, CameraMotion::IDENTITY);
    // Always the same pairs, so that the same pictures give the same answer.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        #[expect(clippy::cast_possible_truncation, reason = "below a number of points")]
        let drawn = (random % below as u64) as usize;
        drawn
    };
    for _ in 0..PAIRS {
        let first = draw(matches.len());
        // Another than the first.
        let second = (first + 1 + draw(matches.len() - 1)) % matches.len();
        if let Some(motion) = least_squares(&[matches[first], matches[second]]) {
            let count = matches.iter().filter(|pair| agrees(&motion, pair)).count();
            if count > best.0 {
                best = (count, motion);
            }
        }
    }
    let mut motion = best.1;
    // The second round also takes in those that the pair itself had missed by a little.
    for _ in 0..2 {
        agreeing.clear();
        agreeing.extend(matches.iter().filter(|pair| agrees(&motion, pair)));
        motion = least_squares(agreeing)?;
    }
    is_agreement(agreeing.len(), matches.len()).then_some(motion)
}

/// Whether `count` of `all` points are enough to speak for the camera.
#[expect(clippy::cast_precision_loss, reason = "at most CORNERS_MAX")]
pub(super) fn is_agreement(count: usize, all: usize) -> bool {
    count >= AGREEING_MIN && count as f32 >= AGREEING_SHARE_MIN * all as f32
}

fn agrees(motion: &CameraMotion, (from, to): &Match) -> bool {
    let [x, y] = motion.apply(*from);
    (x - to[0]).hypot(y - to[1]) < AGREEMENT
}

/// The similarity with the smallest sum of squared distances (Umeyama 1991, in the plane);
/// `None` when the points do not determine it.
fn least_squares(matches: &[Match]) -> Option<CameraMotion> {
    let mean = |side: fn(&Match) -> [f32; 2]| {
        let [mut x, mut y] = [0.0_f32; 2];
        for pair in matches {
            let point = side(pair);
            (x, y) = (x + point[0], y + point[1]);
        }
        #[expect(clippy::cast_precision_loss, reason = "at most CORNERS_MAX")]
        let count = matches.len() as f32;
        [x / count, y / count]
    };
    let (from_mean, to_mean) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let (mut dot, mut cross, mut spread) = (0.0, 0.0, 0.0);
    for (from, to) in matches {
        let (fx, fy) = (from[0] - from_mean[0], from[1] - from_mean[1]);
        let (tx, ty) = (to[0] - to_mean[0], to[1] - to_mean[1]);
        dot += fx * tx + fy * ty;
        cross += fx * ty - fy * tx;
        spread += fx * fx + fy * fy;
    }
    if spread < 1.0 {
        return None;
    }
    let (cos, sin) = (dot / spread, cross / spread);
    Some(CameraMotion {
        cos,
        sin,
        x: to_mean[0] - cos * from_mean[0] + sin * from_mean[1],
        y: to_mean[1] - sin * from_mean[0] - cos * from_mean[1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: CameraMotion = CameraMotion {
        cos: 1.02,
        sin: 0.03,
        x: 7.0,
        y: -4.0,
    };

    /// Points over a picture; those of which `moves` says so are elsewhere by themselves.
    fn matches(moves: impl Fn(u16) -> bool) -> Vec<Match> {
        (0..96_u16)
            .map(|index| {
                let from = [index % 12 * 20, index / 12 * 20].map(f32::from);
                let [x, y] = TRUTH.apply(from);
                let own = if moves(index) {
                    5.0 + f32::from(index % 7)
                } else {
                    0.0
                };
                (from, [x + own, y - own])
            })
            .collect()
    }

    #[test]
    fn what_moves_by_itself_does_not_count() {
        for moves in [0, 3, 2] {
            let matches = matches(|index| moves > 0 && index % moves == 0);
            let found = similarity(&matches, &mut Vec::new()).expect("half agree");
            for corner in [[0.0, 0.0], [240.0, 0.0], [240.0, 160.0]] {
                let (is, should) = (found.apply(corner), TRUTH.apply(corner));
                assert!(
                    (is[0] - should[0]).hypot(is[1] - should[1]) < 0.01,
                    "{found:?}"
                );
            }
        }
    }

    #[test]
    fn without_agreement_there_is_no_answer() {
        let scattered: Vec<Match> = (0..90_u16)
            .map(|index| {
                let place = |factor: u16| f32::from(index * factor % 199);
                ([place(37), place(61)], [place(83), place(97)])
            })
            .collect();
        assert_eq!(similarity(&scattered, &mut Vec::new()), None);
        assert_eq!(similarity(&matches(|_| false)[..7], &mut Vec::new()), None);
        let heap = [([5.0, 5.0], [6.0, 5.0]); 20];
        assert_eq!(similarity(&heap, &mut Vec::new()), None, "all in one place");
    }
}
