//! Video files made on the spot.

use std::path::Path;

use contract::geometry::PixelSize;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Writes an H.264 MP4 of a moving ball at a constant rate, with B-frames as recorders make them.
///
/// # Panics
/// When `GStreamer` or one of its plug-ins is missing, or the path cannot be written.
pub fn make(path: &Path, frames: u32, size: PixelSize, fps: u32) {
    write(
        path,
        &format!(
            "videotestsrc pattern=ball num-buffers={frames} \
             ! video/x-raw,format=I420,width={},height={},framerate={fps}/1 \
             ! x264enc speed-preset=veryfast key-int-max={fps} bframes=2 b-adapt=false \
             ! h264parse ! mp4mux ! filesink name=file",
            size.width, size.height
        ),
    );
}

/// Writes a file by a pipeline description that ends in `filesink name=file`.
///
/// # Panics
/// When the pipeline cannot be built or reports an error.
pub fn write(path: &Path, pipeline: &str) {
    gst::init().expect("GStreamer starts");
    let pipeline = gst::parse::launch(pipeline)
        .expect("the pipeline's elements are installed")
        .downcast::<gst::Pipeline>()
        .expect("a description of several elements is a pipeline");
    let sink = pipeline
        .by_name("file")
        .expect("the description names its filesink");
    sink.set_property("location", path.to_str().expect("a UTF-8 path"));
    pipeline
        .set_state(gst::State::Playing)
        .expect("the pipeline starts");
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let message = bus
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("a short clip is written within a minute");
    pipeline
        .set_state(gst::State::Null)
        .expect("the pipeline stops");
    if let gst::MessageView::Error(error) = message.view() {
        panic!("cannot write {}: {error:?}", path.display());
    }
}
