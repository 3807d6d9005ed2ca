//! Made-up pictures under a camera that moves as the test says.

use super::*;

const SIZE: PixelSize = PixelSize {
    width: 640,
    height: 360,
};

/// A smooth landscape without repetition, in grey levels.
fn landscape(x: f32, y: f32) -> f32 {
    let wave = |a: f32, b: f32, c: f32| (a * x + b * y + c).sin();
    let soft = wave(0.031, 0.017, 0.0) * wave(-0.013, 0.041, 1.0);
    let fine = wave(0.11, -0.07, 2.0) * wave(0.05, 0.13, 0.5);
    128.0 + 50.0 * soft + 40.0 * fine
}

/// What a camera sees of the landscape: `pose` says where a point of it is in the picture.
fn picture(pose: &CameraMotion, extra: impl Fn(f32, f32) -> Option<f32>) -> Vec<u8> {
    let scale = pose.cos.powi(2) + pose.sin.powi(2);
    let (width, height) = (u16::try_from(SIZE.width), u16::try_from(SIZE.height));
    let (width, height) = (width.expect("small"), height.expect("small"));
    let places = (0..height).flat_map(|y| (0..width).map(move |x| [x, y].map(f32::from)));
    places
        .map(|[x, y]| {
            let (px, py) = (x + 0.5 - pose.x, y + 0.5 - pose.y);
            let there = [
                (pose.cos * px + pose.sin * py) / scale,
                (pose.cos * py - pose.sin * px) / scale,
            ];
            let level = extra(x, y).unwrap_or_else(|| landscape(there[0], there[1]));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a grey level"
            )]
            let pixel = level.clamp(0.0, 255.0) as u8;
            pixel
        })
        .collect()
}

fn plain(pose: &CameraMotion) -> Vec<u8> {
    picture(pose, |_, _| None)
}

fn observe(estimator: &mut CameraMotionEstimator, luma: &[u8]) -> CameraMotion {
    estimator.observe(luma, SIZE.width as usize, SIZE)
}

/// Largest distance between what two motions make of the corners of the frame.
fn error(one: &CameraMotion, other: &CameraMotion) -> f32 {
    let corners = [[0.0, 0.0], [640.0, 0.0], [0.0, 360.0], [640.0, 360.0]];
    let distances = corners.map(|corner| {
        let (one, other) = (one.apply(corner), other.apply(corner));
        (one[0] - other[0]).hypot(one[1] - other[1])
    });
    distances.into_iter().fold(0.0, f32::max)
}

#[test]
fn pan_tilt_roll_and_zoom_are_measured() {
    let motions = [
        (1.0, 0.0, 9.0, 0.0),
        (1.0, 0.0, -14.0, 6.0),
        (1.0, 0.02, 4.0, -8.0),
        (1.04, 0.0, -12.0, -7.0),
        (0.97, -0.015, 5.0, 9.0),
    ];
    for (cos, sin, x, y) in motions {
        let truth = CameraMotion { cos, sin, x, y };
        let mut estimator = CameraMotionEstimator::new();
        assert!(observe(&mut estimator, &plain(&CameraMotion::IDENTITY)).is_identity());
        let found = observe(&mut estimator, &plain(&truth));
        assert!(error(&found, &truth) < 0.5, "{truth:?}: {found:?}");
    }
}

#[test]
fn who_walks_through_a_still_picture_moves_no_camera() {
    let mut estimator = CameraMotionEstimator::new();
    for step in 0..20_u16 {
        let left = 20.0 + 25.0 * f32::from(step);
        // A third of the picture: somebody right before the camera.
        let walker = |x: f32, y: f32| {
            let inside = (left..left + 210.0).contains(&x) && y > 20.0;
            inside.then(|| landscape(7.0 * (x - left), 5.0 * y))
        };
        let motion = observe(&mut estimator, &picture(&CameraMotion::IDENTITY, walker));
        assert!(motion.is_identity(), "step {step}: {motion:?}");
    }
}

#[test]
fn the_camera_is_followed_while_people_walk() {
    let mut estimator = CameraMotionEstimator::new();
    let step = CameraMotion {
        x: 6.0,
        y: -2.0,
        ..CameraMotion::IDENTITY
    };
    for frame in 0..12_u16 {
        let left = 30.0 + 20.0 * f32::from(frame);
        let walker = |x: f32, y: f32| {
            let inside = (left..left + 160.0).contains(&x) && y > 60.0;
            inside.then(|| landscape(3.0 * (x - left), 3.0 * y))
        };
        let pose = CameraMotion {
            x: step.x * f32::from(frame),
            y: step.y * f32::from(frame),
            ..step
        };
        let motion = observe(&mut estimator, &picture(&pose, walker));
        if frame > 0 {
            assert!(error(&motion, &step) < 0.5, "frame {frame}: {motion:?}");
        }
    }
}

#[test]
fn a_slow_motion_adds_up() {
    let mut estimator = CameraMotionEstimator::new();
    let mut sum = 0.0;
    for frame in 0..100_u16 {
        let pose = CameraMotion {
            x: 0.2 * f32::from(frame),
            ..CameraMotion::IDENTITY
        };
        sum += observe(&mut estimator, &plain(&pose)).x;
    }
    assert!((sum - 0.2 * 99.0).abs() < 3.0, "{sum}");
}

#[test]
fn a_cut_and_a_dark_picture_are_no_motion() {
    let mut estimator = CameraMotionEstimator::new();
    observe(&mut estimator, &plain(&CameraMotion::IDENTITY));
    let other = picture(&CameraMotion::IDENTITY, |x, y| {
        Some(landscape(2.7 * y + 900.0, 1.9 * x - 400.0))
    });
    assert!(observe(&mut estimator, &other).is_identity());
    let dark = vec![16; other.len()];
    for luma in [&dark, &dark, &other] {
        assert!(observe(&mut estimator, luma).is_identity());
    }
    // Back at work.
    let shifted = picture(&CameraMotion::IDENTITY, |x, y| {
        Some(landscape(2.7 * y + 900.0, 1.9 * (x - 8.0) - 400.0))
    });
    assert!((observe(&mut estimator, &shifted).x - 8.0).abs() < 0.5);
}

#[test]
fn pictures_of_any_size_and_content_are_taken() {
    let mut estimator = CameraMotionEstimator::new();
    for (width, height) in [
        (16, 16),
        (1, 300),
        (8192, 2),
        (0, 9),
        (33, 200),
        (1920, 1080),
    ] {
        let size = PixelSize { width, height };
        let stride = width as usize + 5;
        for seed in 0..3_usize {
            let luma: Vec<u8> = (0..stride * height as usize)
                .map(|index| u8::try_from((index * 31 + seed * 17) * index % 251).expect("small"))
                .collect();
            let motion = estimator.observe(&luma, stride, size);
            assert!(motion.apply([1.0, 1.0]).iter().all(|c| c.is_finite()));
            assert!(
                estimator
                    .observe(&luma[..luma.len() / 2], stride, size)
                    .is_identity()
            );
        }
    }
}
