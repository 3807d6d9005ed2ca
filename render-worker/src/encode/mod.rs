//! H.264 by GStreamer: drawn pictures in, access units out.
//!
//! `appsrc ! x264enc ! h264parse ! appsink`, or another encoder in place of x264 ([`EncoderElement`]), with pictures in buffers of a pool:
//! the one copy of a frame's pixels is from shared memory into such a buffer,
//! and drawing happens there. A smaller encode is a pipeline of its own that is given the same
//! buffer and scales it on its own thread ([`ladder`]). Access units are handed out on the encoder's own
//! thread as soon as they exist. At most [`INSIDE_MAX`] pictures are inside; then
//! [`Encoder::push`] waits, and backpressure goes to the bus.

mod element;
mod format;
pub mod ladder;
pub mod timeline;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::geometry::PixelSize;
use contract::spec::{EncodeSpec, quality_name};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks, AppSrc};
use gstreamer_video as gst_video;

pub use element::EncoderElement;
pub use format::PictureFormat;

use format::{nominal_rate, picture_caps, picture_pool};

/// Pictures inside the pipeline: one in the encoder and one waiting, so that it never idles
/// while the next is drawn.
pub const INSIDE_MAX: usize = 2;
/// An encoder that gives nothing for so long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// While waiting for the encoder, its errors are looked for this often.
const ERROR_CHECK: Duration = Duration::from_millis(100);
/// Pictures kept back at the start to learn the frame rate from.
const PROBED: usize = 3;

/// What can go wrong in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// An element is not installed.
    #[error("the GStreamer element `{element}` is missing: install the Debian package {package}")]
    Missing {
        /// The element.
        element: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The preset is not one of x264's.
    #[error(
        "`{0}` is no x264 preset: use ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, veryslow or placebo"
    )]
    Preset(String),
    /// GStreamer cannot be used at all.
    #[error("GStreamer cannot be started: {0}")]
    Start(String),
    /// A pipeline failed.
    #[error("{0}")]
    Pipeline(String),
}

impl EncodeError {
    /// The spec or the installation is wrong: trying again will not help.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Pipeline(_))
    }

    fn pipeline(what: &str, reason: &dyn std::fmt::Display) -> Self {
        Self::Pipeline(format!("the encoder failed: {what}: {reason}"))
    }
}

/// Starts GStreamer.
///
/// # Errors
/// When it cannot be used.
pub fn start() -> Result<(), EncodeError> {
    gst::init().map_err(|error| EncodeError::Start(error.to_string()))
}

/// Starts GStreamer and checks that the elements for this work exist and take the settings.
///
/// # Errors
/// The first thing that is missing or wrong.
pub fn check(spec: &EncodeSpec) -> Result<(), EncodeError> {
    start()?;
    for element in ["appsrc", "appsink", "h264parse", "x264enc"] {
        make(element)?;
    }
    if !spec.qualities.is_empty() {
        make("videoscale")?;
    }
    // Also where hardware encodes: should it fail, this goes on.
    EncoderElement::X264
        .build(spec, spec.bitrate_kbps)
        .map(drop)
}

/// The settings in a line: `3000 kbit/s, 360p 700 kbit/s`.
#[must_use]
pub fn described(spec: &EncodeSpec) -> String {
    let mut text = format!("{} kbit/s", spec.bitrate_kbps);
    for quality in &spec.qualities {
        let name = quality_name(quality.height);
        text.push_str(&format!(", {name} {} kbit/s", quality.bitrate_kbps));
    }
    text
}

/// One encoded picture. Cloning shares its bytes.
#[derive(Debug, Clone)]
pub struct AccessUnit {
    /// H.264 byte stream, with parameter sets before each key frame.
    pub buffer: gst::Buffer,
    /// The time given to [`Encoder::push`].
    pub pts_ns: u64,
    /// It can be decoded without any other.
    pub keyframe: bool,
    /// Which encode of the stream it is of: 0 is that of full size.
    pub rung: u8,
}

/// A picture on its way into the encoder.
#[derive(Debug)]
pub struct Picture {
    buffer: gst::Buffer,
}

impl Picture {
    /// Its bytes, as the encoder's layout says.
    ///
    /// # Errors
    /// When the memory cannot be mapped.
    pub fn with_bytes<T>(&mut self, change: impl FnOnce(&mut [u8]) -> T) -> Result<T, EncodeError> {
        let buffer = self
            .buffer
            .get_mut()
            .ok_or_else(|| EncodeError::pipeline("a picture", &"it is shared"))?;
        let mut map = buffer
            .map_writable()
            .map_err(|error| EncodeError::pipeline("a picture", &error))?;
        Ok(change(map.as_mut_slice()))
    }

    /// The picture as others may read it.
    #[must_use]
    pub fn buffer(&self) -> &gst::BufferRef {
        &self.buffer
    }

    /// Gives it its time. One that is shared has it already.
    fn stamp(&mut self, pts_ns: u64) {
        if let Some(buffer) = self.buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(pts_ns));
        }
    }

    /// The same picture for another encoder: nothing is copied.
    fn share(&self) -> Self {
        Self {
            buffer: self.buffer.clone(),
        }
    }
}

/// An encode that is smaller than the pictures it is given.
#[derive(Debug, Clone, Copy)]
struct Smaller {
    rung: u8,
    size: PixelSize,
    bitrate_kbps: u32,
}

/// The times of the pictures inside the pipeline, oldest first.
///
/// Counted here and not by `appsrc`, whose blocking push would wait for ever on a
/// pipeline that has failed.
#[derive(Debug, Default)]
struct Inside {
    times_ns: Mutex<VecDeque<u64>>,
    left: Condvar,
}

impl Inside {
    fn enter(&self, pts_ns: u64) {
        let mut times_ns = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        times_ns.push_back(pts_ns);
    }

    /// The picture of this time has left, and with it all before that the encoder left out.
    fn leave(&self, pts_ns: u64) {
        let mut times_ns = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        times_ns.retain(|inside_ns| *inside_ns > pts_ns);
        self.left.notify_all();
    }

    /// Waits until there is room for one more; false when the time is over.
    fn wait_for_room(&self, timeout: Duration) -> bool {
        let times_ns = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |times_ns: &mut VecDeque<u64>| times_ns.len() >= INSIDE_MAX;
        let waited = self.left.wait_timeout_while(times_ns, timeout, full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// Encodes the pictures of one stream, all of one format.
#[derive(Debug)]
pub struct Encoder {
    pipeline: gst::Pipeline,
    source: AppSrc,
    pool: gst::BufferPool,
    inside: Arc<Inside>,
    format: PictureFormat,
    keyframe_interval_ns: u64,
    last_keyframe_ns: Option<u64>,
    last_pts_ns: Option<u64>,
    /// Pictures from before the rate was known.
    probed: Vec<(Picture, u64)>,
    running: bool,
}

impl Encoder {
    /// Makes the pipeline of the encode of full size; `output` is called for each access unit, on
    /// the encoder's thread.
    ///
    /// # Errors
    /// When an element is missing or refuses its settings.
    pub fn new(
        spec: &EncodeSpec,
        element: EncoderElement,
        format: PictureFormat,
        output: impl FnMut(AccessUnit) + Send + 'static,
    ) -> Result<Self, EncodeError> {
        Self::build((spec, element), None, format, output)
    }

    fn build(
        (spec, element): (&EncodeSpec, EncoderElement),
        smaller: Option<Smaller>,
        format: PictureFormat,
        mut output: impl FnMut(AccessUnit) + Send + 'static,
    ) -> Result<Self, EncodeError> {
        let rung = smaller.map_or(0, |smaller| smaller.rung);
        let bitrate_kbps = smaller.map_or(spec.bitrate_kbps, |smaller| smaller.bitrate_kbps);
        let source = AppSrc::builder()
            .is_live(true)
            .format(gst::Format::Time)
            // `Inside` bounds what is queued.
            .max_bytes(0)
            .build();
        let inside = Arc::new(Inside::default());
        let leaving = Arc::clone(&inside);
        let byte_stream = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let sink = AppSink::builder()
            .caps(&byte_stream)
            .sync(false)
            .async_(false)
            .enable_last_sample(false)
            .callbacks(
                AppSinkCallbacks::builder()
                    .new_sample(move |sink| {
                        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                        let unit = access_unit(&sample, rung).ok_or(gst::FlowError::Error)?;
                        leaving.leave(unit.pts_ns);
                        output(unit);
                        Ok(gst::FlowSuccess::Ok)
                    })
                    .build(),
            )
            .build();
        let scaler = smaller.map(|smaller| scaler(smaller.size)).transpose()?;
        let encoder = element.build(spec, bitrate_kbps)?;
        let parser = make("h264parse")?;
        parser.set_property("config-interval", -1);
        let pipeline = gst::Pipeline::new();
        let mut chain: Vec<&gst::Element> = vec![source.upcast_ref()];
        chain.extend(scaler.iter().flatten());
        chain.extend(&encoder);
        chain.extend([&parser, sink.upcast_ref()]);
        pipeline
            .add_many(&chain)
            .and_then(|()| gst::Element::link_many(&chain))
            .map_err(|error| EncodeError::pipeline("its elements do not fit", &error))?;
        Ok(Self {
            pool: picture_pool(&format)?,
            pipeline,
            source,
            inside,
            format,
            keyframe_interval_ns: u64::from(spec.keyframe_interval_ms) * 1_000_000,
            last_keyframe_ns: None,
            last_pts_ns: None,
            probed: Vec::with_capacity(PROBED),
            running: false,
        })
    }

    /// The format of its pictures.
    #[must_use]
    pub fn format(&self) -> &PictureFormat {
        &self.format
    }

    /// A picture to be filled, with whatever an earlier one left in it.
    ///
    /// # Errors
    /// When there is no memory for one.
    pub fn picture(&self) -> Result<Picture, EncodeError> {
        let buffer = self
            .pool
            .acquire_buffer(None)
            .map_err(|error| self.failure("a picture", &error))?;
        Ok(Picture { buffer })
    }

    /// Hands a picture to the encoder; `pts_ns` grows from picture to picture. Waits while
    /// [`INSIDE_MAX`] others are inside.
    ///
    /// # Errors
    /// When the pipeline has failed or hangs.
    pub fn push(&mut self, mut picture: Picture, pts_ns: u64) -> Result<(), EncodeError> {
        picture.stamp(pts_ns);
        if self.running {
            return self.submit(picture, pts_ns);
        }
        self.probed.push((picture, pts_ns));
        if self.probed.len() < PROBED {
            return Ok(());
        }
        self.begin()
    }

    /// The next picture shall be decodable without any other: somebody begins with it.
    pub fn ask_for_keyframe(&mut self) {
        self.last_keyframe_ns = None;
    }

    /// What the pipeline has reported since, if it has failed.
    #[must_use]
    pub fn error(&self) -> Option<EncodeError> {
        let message = self
            .pipeline
            .bus()?
            .pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(describe(error)),
            _ => None,
        }
    }

    /// Encodes what is still inside, hands it out, and stops.
    ///
    /// # Errors
    /// When that failed or took longer than `timeout`.
    pub fn finish(mut self, timeout: gst::ClockTime) -> Result<(), EncodeError> {
        if !self.running {
            if self.probed.is_empty() {
                return Ok(());
            }
            self.begin()?;
        }
        self.source
            .end_of_stream()
            .map_err(|error| self.failure("the end of the stream", &error))?;
        if wait_for_end(&self.pipeline, timeout)? {
            return Ok(());
        }
        let reason = format!("it did not end in {timeout}");
        Err(EncodeError::pipeline("the end of the stream", &reason))
    }

    /// The rate is known, or will not be: sets the format and plays.
    fn begin(&mut self) -> Result<(), EncodeError> {
        let times: Vec<u64> = self.probed.iter().map(|(_, pts_ns)| *pts_ns).collect();
        let caps = picture_caps(&self.format, nominal_rate(&times));
        tracing::info!(%caps, "encoding");
        self.source.set_caps(Some(&caps));
        self.pipeline
            .set_state(gst::State::Playing)
            .map_err(|error| self.failure("it does not start", &error))?;
        self.running = true;
        for (picture, pts_ns) in std::mem::take(&mut self.probed) {
            self.submit(picture, pts_ns)?;
        }
        Ok(())
    }

    fn submit(&mut self, picture: Picture, pts_ns: u64) -> Result<(), EncodeError> {
        self.wait_for_room()?;
        if self.keyframe_due(pts_ns) {
            // Serialised with the pictures: it speaks of the one pushed next.
            let event = gst_video::DownstreamForceKeyUnitEvent::builder()
                .all_headers(true)
                .build();
            self.source.send_event(event);
            self.last_keyframe_ns = Some(pts_ns);
        }
        self.last_pts_ns = Some(pts_ns);
        self.inside.enter(pts_ns);
        self.source
            .push_buffer(picture.buffer)
            .map(drop)
            .map_err(|error| self.failure("a picture was refused", &error))
    }

    fn wait_for_room(&self) -> Result<(), EncodeError> {
        let begin = Instant::now();
        while !self.inside.wait_for_room(ERROR_CHECK) {
            if let Some(error) = self.error() {
                return Err(error);
            }
            if begin.elapsed() > SILENCE_MAX {
                let reason = format!("it has given nothing for {SILENCE_MAX:?}");
                return Err(EncodeError::pipeline("it hangs", &reason));
            }
        }
        Ok(())
    }

    /// The picture after this one would come too late to be a key frame in time.
    fn keyframe_due(&self, pts_ns: u64) -> bool {
        let (Some(last_keyframe_ns), Some(last_pts_ns)) = (self.last_keyframe_ns, self.last_pts_ns)
        else {
            return true;
        };
        let gap_ns = pts_ns.saturating_sub(last_pts_ns);
        pts_ns + gap_ns > last_keyframe_ns + self.keyframe_interval_ns
    }

    fn failure(&self, what: &str, reason: &dyn std::fmt::Display) -> EncodeError {
        // The element's own message says more than the flow that it broke.
        self.error()
            .unwrap_or_else(|| EncodeError::pipeline(what, reason))
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Buffers go back to the pool before it is closed.
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = self.pool.set_active(false);
    }
}

/// Waits for a pipeline to have done all it was given; false when the time is over.
fn wait_for_end(pipeline: &gst::Pipeline, timeout: gst::ClockTime) -> Result<bool, EncodeError> {
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().and_then(|bus| {
        // With no time to wait, the timed one does not even look.
        let waited = bus.timed_pop_filtered(timeout, &kinds);
        waited.or_else(|| bus.pop_filtered(&kinds))
    });
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(describe(error)),
        Some(_) => Ok(true),
        None => Ok(false),
    }
}

fn describe(error: &gst::message::Error) -> EncodeError {
    let element = error.src().map_or_else(String::new, |source| {
        format!(
            "{}: ",
            source.name().trim_end_matches(|c: char| c.is_ascii_digit())
        )
    });
    let debug = error.debug().map_or_else(String::new, |text| {
        // Its first line is a place in GStreamer's source, the second says what happened.
        let detail = text.lines().nth(1).unwrap_or_default().trim().to_owned();
        if detail.is_empty() {
            detail
        } else {
            format!(" ({detail})")
        }
    });
    EncodeError::Pipeline(format!("{element}{}{debug}", error.error()))
}

/// An element by its name, or the package to install.
fn make(element: &'static str) -> Result<gst::Element, EncodeError> {
    let package = match element {
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "h264parse" => "gstreamer1.0-plugins-bad",
        _ => "gstreamer1.0-plugins-base",
    };
    gst::ElementFactory::make(element)
        .build()
        .map_err(|_| EncodeError::Missing { element, package })
}

/// Scales pictures to this size, with every pixel of a large picture looked at.
fn scaler(size: PixelSize) -> Result<[gst::Element; 2], EncodeError> {
    let scale = make("videoscale")?;
    scale.set_property_from_str("method", "bilinear2");
    // The size is even, and so maybe not quite of the same aspect.
    scale.set_property("add-borders", false);
    let filter = make("capsfilter")?;
    let side = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
    let caps = gst::Caps::builder("video/x-raw")
        .field("width", side(size.width))
        .field("height", side(size.height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build();
    filter.set_property("caps", caps);
    Ok([scale, filter])
}

fn access_unit(sample: &gst::Sample, rung: u8) -> Option<AccessUnit> {
    let mut buffer = sample.buffer_owned()?;
    // x264enc shifts its timestamps by 1000 hours to have room for reordering, and its segment with them.
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let pts = segment.to_running_time(buffer.pts()?)?;
    let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
    {
        // Only the description is copied, not the data.
        let buffer = buffer.make_mut();
        buffer.set_pts(pts);
        // Without B frames pictures are decoded in the order in which they are shown.
        buffer.set_dts(pts);
    }
    Some(AccessUnit {
        buffer,
        pts_ns: pts.nseconds(),
        keyframe,
        rung,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_preset_is_named() {
        let spec = EncodeSpec {
            hardware: false,
            preset: "quick".to_owned(),
            bitrate_kbps: 1000,
            keyframe_interval_ms: 2000,
            threads: 1,
            qualities: Vec::new(),
        };
        let error = check(&spec).expect_err("no such preset");
        assert_eq!(error, EncodeError::Preset("quick".to_owned()));
        assert!(error.is_permanent());
        let good = EncodeSpec {
            preset: "ultrafast".to_owned(),
            ..spec
        };
        assert_eq!(check(&good), Ok(()));
    }
}
