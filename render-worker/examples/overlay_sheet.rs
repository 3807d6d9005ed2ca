//! Draws a scene with everything the overlay knows, as PNG, for eyes to judge:
//! `cargo run -p render-worker --example overlay_sheet -- OUT.png [HEIGHT] [BACKGROUND.i420]`.
//!
//! The background is one raw I420 frame, 16:9, of that height; a drawn one when absent.

#![expect(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a picture for eyes, made from a command line"
)]

use std::error::Error;
use std::path::Path;

use contract::geometry::{BoundingBox, I420Layout, PixelSize};
use contract::spec::{ColourBy, DepthView, NearValues, OverlaySpec};
use frame_bus::ColourMatrix;
use render_worker::overlay::{Mark, Object, Overlay, Status};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: overlay_sheet OUT.png [HEIGHT] [BACKGROUND.i420]")?;
    let height: u32 = arguments.next().map_or(Ok(720), |text| text.parse())?;
    let size = PixelSize {
        width: (height * 16 / 9) & !1,
        height,
    };
    let layout = I420Layout::of(size);
    let mut picture = match arguments.next() {
        Some(file) => std::fs::read(file)?,
        None => background(&layout),
    };
    let all = OverlaySpec {
        boxes: true,
        trails: true,
        zones: true,
        status: true,
        classes: true,
        heat: false,
        colours: ColourBy::Track,
        depth: DepthView::Off,
        near: NearValues::Large,
    };
    let mut overlay = Overlay::new(all, layout, ColourMatrix::Bt709, &marks(size));
    let trails: Vec<Vec<[f32; 2]>> = (0..12).map(|index| trail(size, index)).collect();
    let objects = trails
        .iter()
        .enumerate()
        .map(|(index, trail)| object(trail, index, size));
    let status = Status {
        stream: "yard",
        wall_ms: 1_785_000_000_000,
        latency_ms: Some(84),
    };
    assert!(
        overlay.draw(&mut picture, objects, None, &status),
        "the background is too short"
    );
    let (png, took) = {
        let begin = std::time::Instant::now();
        let rgb = render_worker::snapshot::rgb_of(&layout, &picture, ColourMatrix::Bt709);
        (png_of(size, &rgb)?, begin.elapsed())
    };
    std::fs::write(Path::new(&path), png)?;
    println!("{path}: {size}, PNG in {took:?}");
    let begin = std::time::Instant::now();
    for _ in 0..200 {
        let objects = trails
            .iter()
            .enumerate()
            .map(|(index, trail)| object(trail, index, size));
        overlay.draw(&mut picture, objects, None, &status);
    }
    println!("a frame is drawn in {:?}", begin.elapsed() / 200);
    Ok(())
}

/// Without loss: here single pixels matter.
fn png_of(size: PixelSize, rgb: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(file)
}

fn scaled(size: PixelSize, x: f32, y: f32) -> [f32; 2] {
    [x * size.width as f32, y * size.height as f32]
}

fn marks(size: PixelSize) -> [Mark; 2] {
    let corners = [(0.52, 0.55), (0.93, 0.5), (0.97, 0.9), (0.6, 0.95)];
    [
        Mark::Zone {
            name: "loading bay".to_owned(),
            corners: corners.map(|(x, y)| scaled(size, x, y)).to_vec(),
        },
        Mark::Line {
            name: "gate".to_owned(),
            from: scaled(size, 0.06, 0.93),
            to: scaled(size, 0.42, 0.62),
            forward: Some([0.31, 0.36]),
        },
    ]
}

/// Three rows of walking boxes, the last one crowded.
fn place(index: usize) -> (f32, f32) {
    match index {
        0..4 => (0.08 + 0.24 * index as f32, 0.02),
        4..8 => (0.1 + 0.23 * (index - 4) as f32, 0.36),
        _ => (0.44 + 0.05 * (index - 8) as f32, 0.66),
    }
}

fn object<'a>(trail: &'a [[f32; 2]], index: usize, size: PixelSize) -> Object<'a> {
    let (x, y) = place(index);
    let ([x1, y1], [x2, y2]) = (scaled(size, x, y), scaled(size, x + 0.07, y + 0.26));
    let predicted = index % 4 == 3;
    Object {
        bounds: BoundingBox { x1, y1, x2, y2 },
        landmarks: &[],
        label: if index % 3 == 2 { "bicycle" } else { "person" },
        score: (!predicted).then_some(0.95 - 0.03 * index as f32),
        track: Some(index as u64 + 7),
        trail,
        predicted,
        colour: None,
    }
}

fn trail(size: PixelSize, index: usize) -> Vec<[f32; 2]> {
    let (x, y) = place(index);
    (0..30)
        .map(|step| {
            let back = (29 - step) as f32;
            let sway = (back * 0.25 + index as f32).sin() * 0.006;
            scaled(
                size,
                x + 0.035 - back * 0.003,
                y + 0.26 + sway * (1.0 + back * 0.1),
            )
        })
        .collect()
}

/// A grey ramp from dark to bright with some texture.
fn background(layout: &I420Layout) -> Vec<u8> {
    let mut bytes = vec![128; layout.bytes];
    let (width, height) = (layout.size.width as usize, layout.size.height as usize);
    for row in 0..height {
        for column in 0..width {
            let ramp = 40 + 170 * column / width;
            let texture = (row / 16 + column / 16) % 2 * 12;
            bytes[row * layout.strides[0] + column] = u8::try_from(ramp + texture).unwrap_or(255);
        }
    }
    bytes
}
