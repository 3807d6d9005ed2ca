//! Pictures to encode, and players that decode files.

use std::path::Path;

use contract::geometry::I420Layout;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::VideoInfo;

/// A picture that changes with `number`: a ramp that moves, with a bright square.
pub(crate) fn paint(layout: &I420Layout, number: u64, bytes: &mut [u8]) {
    let (width, height) = (layout.size.width as usize, layout.size.height as usize);
    let shift = usize::try_from(number).expect("small") * 3;
    for row in 0..height {
        for column in 0..width {
            let ramp = (column + row + shift) % 200 + 20;
            bytes[row * layout.strides[0] + column] = u8::try_from(ramp).expect("a byte");
        }
    }
    bytes[layout.offsets[1]..].fill(128);
    for row in 0..height / 8 {
        let left = shift % (width - width / 8);
        bytes[row * layout.strides[0] + left..][..width / 8].fill(235);
    }
}

/// A decoded video.
#[derive(Debug)]
pub(crate) struct Played {
    /// The times of its frames, nanoseconds.
    pub(crate) times_ns: Vec<u64>,
    /// The luma of the last frame's first row.
    pub(crate) first_row: Vec<u8>,
}

/// Decodes a file to its end, as a player would.
pub(crate) fn play(path: &Path) -> Played {
    try_play(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same for a file that may be no video yet.
pub(crate) fn try_play(path: &Path) -> Result<Played, String> {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 ! video/x-raw,format=I420 ! appsink name=sink sync=false",
        path.display()
    ))
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let sink = pipeline
        .by_name("sink")
        .and_then(|sink| sink.downcast::<AppSink>().ok())
        .expect("the sink");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let mut played = Played {
        times_ns: Vec::new(),
        first_row: Vec::new(),
    };
    let bus = pipeline.bus().expect("a bus");
    loop {
        let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(100)) else {
            if let Some(error) = bus.pop_filtered(&[gst::MessageType::Error]) {
                pipeline.set_state(gst::State::Null).expect("stops");
                return Err(format!("{error:?}"));
            }
            if sink.is_eos() {
                break;
            }
            continue;
        };
        let buffer = sample.buffer().expect("a picture");
        played
            .times_ns
            .push(buffer.pts().expect("a time").nseconds());
        let width = sample
            .caps()
            .and_then(|caps| caps.structure(0)?.get::<i32>("width").ok())
            .expect("a width");
        let map = buffer.map_readable().expect("memory");
        played.first_row = map[..usize::try_from(width).expect("small")].to_vec();
    }
    pipeline.set_state(gst::State::Null).expect("stops");
    Ok(played)
}

/// A decoded picture.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    stride: usize,
    rgb: Vec<u8>,
}

impl Picture {
    pub(crate) fn rgb(&self, column: usize, row: usize) -> [u8; 3] {
        let at = row * self.stride + column * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }
}

/// Decodes a JPEG, as a viewer would.
pub(crate) fn decode(path: &Path) -> Picture {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! appsink name=sink sync=false",
        path.display()
    ))
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let sink = pipeline
        .by_name("sink")
        .and_then(|sink| sink.downcast::<AppSink>().ok())
        .expect("the sink");
    pipeline.set_state(gst::State::Playing).expect("plays");
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(10));
    let sample = sample.unwrap_or_else(|| panic!("{} is no JPEG", path.display()));
    let info = sample
        .caps()
        .and_then(|caps| VideoInfo::from_caps(caps).ok())
        .expect("a format");
    let map = sample.buffer().expect("a picture").map_readable();
    let picture = Picture {
        width: info.width() as usize,
        height: info.height() as usize,
        stride: usize::try_from(info.stride()[0]).expect("forward"),
        rgb: map.expect("memory").to_vec(),
    };
    pipeline.set_state(gst::State::Null).expect("stops");
    picture
}
