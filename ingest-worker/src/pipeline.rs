//! One session with a source: a pipeline that ends in an appsink of I420 pictures.
//!
//! ```text
//! filesrc, rtspsrc, ... ─ decodebin ─ videoscale ─ videoconvert ─ capsfilter ─ appsink
//!                                        │
//! videotestsrc, pictures ────────────────┘
//! ```
//!
//! In passthrough access units branch off in front of a second `decodebin`, or are all there is:
//!
//! ```text
//! ... ─ decodebin ─ h264parse ─ capsfilter ─ tee ┬ queue ─ appsink
//!                                                └ decodebin ─ videoscale ...
//! ... ─ decodebin ─ h264parse ─ capsfilter ─ appsink
//! ```
//!
//! Pictures are scaled before they are converted, so that only the pixels that
//! are kept are converted; both elements hand buffers through when there is
//! nothing to do. Audio, subtitles and metadata are not decoded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::geometry::PixelSize;
use contract::spec::{Pace, SourceSpec, TlsVerification};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::conversion::Conversion;
use crate::decoder::DecoderInfo;
use crate::diagnosis;
use crate::fault::{Fault, Kind};
use crate::location::Location;
use crate::passthrough::Passthrough;
use crate::ports::Ports;
use crate::sources::srt::Senders;
use crate::sources::{self, Site, Units};

/// Decoded pictures waiting for the main loop: one being looked at, one to follow.
pub const SINK_BUFFERS: u32 = 2;

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whence.
    pub source: SourceSpec,
    /// Frames that were taken in earlier lives of this worker: a finite source goes on there.
    pub resume_at: u64,
    /// No picture is larger.
    pub bound: PixelSize,
    /// The size of the stream, once it is known: later sessions keep it.
    pub size: Option<PixelSize>,
    /// What goes between this worker and others beside frames.
    pub ports: Ports,
}

/// What is known of the pictures of a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// Size as coded.
    pub source_size: PixelSize,
    /// Size as delivered.
    pub size: PixelSize,
    /// Nominal frames a second, 0 when the source does not say.
    pub fps: f64,
}

/// What pipeline threads find out.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) decoder: DecoderInfo,
    pub(crate) picture: Option<Picture>,
    pub(crate) connected: bool,
    /// Of the streams that an RTSP camera offers, one is of pictures.
    pub(crate) offers_video: bool,
    /// Size of the compressed pictures, where their headers say it.
    pub(crate) coded_size: Option<PixelSize>,
    pub(crate) undecodable: Vec<String>,
    pub(crate) fault: Option<Fault>,
    pub(crate) senders: Senders,
    /// The pictures changed their size, and the first of the new ones is of this time.
    pub(crate) resized: Option<Resized>,
}

/// Pictures of another size begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resized {
    /// Time of the first, where it has one.
    pub(crate) pts: Option<gst::ClockTime>,
}

pub(crate) type Shared = Arc<Mutex<Findings>>;

pub(crate) fn lock(shared: &Shared) -> MutexGuard<'_, Findings> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a session gives next.
#[derive(Debug)]
pub enum Next {
    /// A picture.
    Sample(gst::Sample),
    /// Nothing yet.
    Nothing,
    /// The source has ended.
    Ended,
    /// The session is of no more use.
    Failed(Fault),
}

/// One session. Dropping it closes it, which may take as long as its source likes.
#[derive(Debug)]
pub struct Pipeline {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    sink: gst_app::AppSink,
    /// Where access units branch off.
    branch: Option<gst_app::AppSink>,
    findings: Shared,
    kind: Kind,
    location: Option<Location>,
    /// How the server is trusted, where its element does not say what is wrong with it.
    tls: Option<TlsVerification>,
}

impl Pipeline {
    /// Builds the pipeline and lets it read up to its first picture, which is held back.
    ///
    /// # Errors
    /// A [`Fault`] when the source cannot work. What needs time to be found out comes later,
    /// out of [`Pipeline::next`].
    pub fn open(plan: &Plan) -> Result<Self, Fault> {
        let pipeline = gst::Pipeline::new();
        // Its time is CLOCK_MONOTONIC, as all times of Sluice.
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        let bus = pipeline
            .bus()
            .ok_or_else(|| internal("a pipeline has no bus"))?;
        let findings = Shared::default();
        let sink = gst_app::AppSink::builder()
            .name("sink")
            .max_buffers(SINK_BUFFERS)
            .drop(false)
            .sync(follows_clock(&plan.source))
            .qos(false)
            .enable_last_sample(false)
            .build();
        let location = Location::of(&plan.source).map_err(Fault::Unusable)?;
        let kind = sources::kind(&plan.source);
        let branch = plan.ports.passthrough.as_ref().filter(|it| it.is_decoded());
        let sync = follows_clock(&plan.source);
        let branch = branch.map(|passthrough| branch_sink(passthrough, &findings, sync));
        let site = Site {
            pipeline: &pipeline,
            findings: &findings,
            kind,
            units: match (&plan.ports.passthrough, &branch) {
                (None, _) => Units::Decoded,
                (Some(_), Some(branch)) => Units::Both(branch),
                (Some(_), None) => Units::HandedOn,
            },
        };
        let conversion = Conversion::add(&pipeline, &sink, plan, &findings)?;
        sources::add(&site, conversion, plan, location.as_ref())?;
        let session = Self {
            pipeline,
            bus,
            sink,
            branch,
            findings,
            kind,
            location,
            tls: match plan.source {
                SourceSpec::Rtsp { tls, .. } | SourceSpec::Http { tls, .. } => Some(tls),
                _ => None,
            },
        };
        // A file is read up to its first picture; a live source gives none until it plays.
        let state = if kind.is_live() {
            gst::State::Playing
        } else {
            gst::State::Paused
        };
        session.set_state(state)?;
        Ok(session)
    }

    /// Lets pictures flow.
    ///
    /// # Errors
    /// When an element refuses to start.
    pub fn play(&self) -> Result<(), Fault> {
        self.set_state(gst::State::Playing)
    }

    fn set_state(&self, state: gst::State) -> Result<(), Fault> {
        match self.pipeline.set_state(state) {
            Ok(_) => Ok(()),
            // The element that refused has said why on the bus.
            Err(_) => Err(self
                .take_fault()
                .unwrap_or_else(|| Fault::Lost("the pipeline does not start".to_owned()))),
        }
    }

    /// The session has read up to its first picture; `Some(Err)` when it never will.
    #[must_use]
    pub fn prerolled(&self) -> Option<Result<(), Fault>> {
        if let Some(fault) = self.take_fault() {
            return Some(Err(fault));
        }
        let (result, state, pending) = self.pipeline.state(gst::ClockTime::ZERO);
        if result == Ok(gst::StateChangeSuccess::NoPreroll) {
            // A live source has no first picture before it plays.
            return Some(Ok(()));
        }
        let settled = result.is_ok() && pending == gst::State::VoidPending;
        // An empty file prerolls with its end.
        if settled && state >= gst::State::Paused {
            return Some(if self.picture().is_some() {
                Ok(())
            } else {
                Err(Fault::no_video(
                    self.kind,
                    &lock(&self.findings).undecodable,
                ))
            });
        }
        None
    }

    /// No thread of the pipeline runs any more, so nothing more will come of it.
    ///
    /// `decodebin` of `GStreamer` 1.22 holds back the errors of an element while it plugs it
    /// in; a demuxer that fails in that moment stops without a word.
    #[must_use]
    pub fn idle(&self) -> bool {
        let elements = self.pipeline.iterate_recurse().into_iter().flatten();
        let mut pads = elements.flat_map(|element| element.pads());
        !pads.any(|pad| pad.task_state() == gst::TaskState::Started)
    }

    /// The next picture, waited for.
    #[must_use]
    pub fn next(&self, timeout: Duration) -> Next {
        // What was decoded before something broke is still good.
        if let Some(sample) = self.sink.try_pull_sample(gst::ClockTime::ZERO) {
            return Next::Sample(sample);
        }
        if let Some(fault) = self.take_fault() {
            return Next::Failed(fault);
        }
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        match self
            .sink
            .try_pull_sample(gst::ClockTime::from_nseconds(timeout))
        {
            Some(sample) => Next::Sample(sample),
            // Access units may wait to be handed on when the last of them is decoded.
            None if self.sink.is_eos() && self.branch.iter().all(|branch| branch.is_eos()) => {
                Next::Ended
            }
            None => Next::Nothing,
        }
    }

    /// Takes what has come in over the pipeline's bus, and the first fault there is.
    fn take_fault(&self) -> Option<Fault> {
        let found = lock(&self.findings).fault.take();
        let fault = found.or_else(|| self.read_bus())?;
        let fault = self.diagnosed(fault);
        Some(fault.reworded(|text| self.scrub(text)))
    }

    /// A server that has not answered may not be there, or not be whom it says.
    fn diagnosed(&self, fault: Fault) -> Fault {
        if matches!(fault, Fault::Transport(_)) && !lock(&self.findings).offers_video {
            return Fault::Lost("it offers no video stream".to_owned());
        }
        let unanswered = matches!(fault, Fault::Lost(_)) && !self.connected();
        match (&self.location, self.tls) {
            (Some(location), Some(tls)) if unanswered => {
                diagnosis::connect(location, tls).unwrap_or(fault)
            }
            _ => fault,
        }
    }

    fn read_bus(&self) -> Option<Fault> {
        let types = [gst::MessageType::Error, gst::MessageType::Progress];
        while let Some(message) = self.bus.pop_filtered(&types) {
            match message.view() {
                gst::MessageView::Error(error) => {
                    tracing::debug!(
                        error = %self.scrub(error.error().message()),
                        debug = %self.scrub(error.debug().as_deref().unwrap_or_default()),
                        "an element reports an error"
                    );
                    let undecodable = lock(&self.findings).undecodable.clone();
                    return Some(Fault::of_message(error, self.kind, &undecodable));
                }
                gst::MessageView::Progress(progress) => {
                    let (kind, code, _) = progress.get();
                    if kind == gst::ProgressType::Complete && code == "open" {
                        lock(&self.findings).connected = true;
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn scrub(&self, text: &str) -> String {
        match &self.location {
            Some(location) => location.scrub(text),
            None => text.to_owned(),
        }
    }

    /// The source has answered and said what it sends.
    #[must_use]
    pub fn connected(&self) -> bool {
        let findings = lock(&self.findings);
        findings.connected || findings.picture.is_some()
    }

    /// A sender came and was turned away, and why; each is told once.
    #[must_use]
    pub fn turned_away(&self) -> Option<String> {
        lock(&self.findings).senders.turned_away(Instant::now())
    }

    /// Whether this is the first picture since the source changed their size.
    #[must_use]
    pub fn begins_resized(&self, sample: &gst::SampleRef) -> bool {
        let mut findings = lock(&self.findings);
        let Some(resized) = findings.resized else {
            return false;
        };
        let pts = sample.buffer().and_then(|buffer| buffer.pts());
        let begins = pts.is_none() || resized.pts.is_none() || pts >= resized.pts;
        if begins {
            findings.resized = None;
        }
        begins
    }

    /// What is known of the pictures; `None` until the source has said it.
    #[must_use]
    pub fn picture(&self) -> Option<Picture> {
        lock(&self.findings).picture
    }

    /// The decoder in use; without a name for a source that needs none.
    #[must_use]
    pub fn decoder(&self) -> DecoderInfo {
        lock(&self.findings).decoder.clone()
    }

    /// How long the source is, where it says so.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        let duration = self.pipeline.query_duration::<gst::ClockTime>()?;
        Some(Duration::from_nanos(duration.nseconds()))
    }

    /// When a picture is to be shown: by the monotonic clock where `clocked`, else from the
    /// source's beginning.
    #[must_use]
    pub fn time_ns(&self, sample: &gst::SampleRef, clocked: bool) -> Option<u64> {
        time_ns(&self.sink, sample, clocked)
    }

    /// Goes to a place in a file; all pictures from there on follow. False when it cannot.
    #[must_use]
    pub fn seek(&self, to: Duration) -> bool {
        let nanoseconds = u64::try_from(to.as_nanos()).unwrap_or(u64::MAX);
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        let position = gst::ClockTime::from_nseconds(nanoseconds);
        self.pipeline.seek_simple(flags, position).is_ok()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.set_state(gst::State::Null) {
            tracing::debug!(%error, "a pipeline did not stop in order");
        }
    }
}

/// When what has come to `sink` is to be shown.
fn time_ns(sink: &gst_app::AppSink, sample: &gst::SampleRef, clocked: bool) -> Option<u64> {
    let pts = sample.buffer()?.pts()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = if clocked {
        segment.to_running_time(pts)? + sink.base_time()?
    } else {
        segment.to_stream_time(pts)?
    };
    Some(time.nseconds())
}

/// Where access units branch off: they are handed on by the thread that brings them.
fn branch_sink(passthrough: &Passthrough, findings: &Shared, sync: bool) -> gst_app::AppSink {
    let (passthrough, found) = (passthrough.clone(), Arc::clone(findings));
    let take = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let time_ns = time_ns(sink, &sample, passthrough.is_clocked());
        match passthrough.publish(&sample, time_ns) {
            Ok(_) => Ok(gst::FlowSuccess::Ok),
            Err(fault) => {
                lock(&found).fault.get_or_insert(fault);
                Err(gst::FlowError::Eos)
            }
        }
    };
    gst_app::AppSink::builder()
        .name("branch")
        // A first picture is waited for at the other sink.
        .async_(false)
        .sync(sync)
        .qos(false)
        .enable_last_sample(false)
        .callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(take)
                .build(),
        )
        .build()
}

/// Pictures come when they are due, by the clock, and not as quickly as they are taken.
fn follows_clock(source: &SourceSpec) -> bool {
    match source {
        SourceSpec::File { pace, .. } | SourceSpec::Images { pace, .. } => *pace == Pace::Live,
        // A file and the segments of HLS come as quickly as the network gives them.
        SourceSpec::Http { .. } => true,
        // A camera's pictures are taken the moment they are decoded, and a live test
        // source sends each when it is due.
        SourceSpec::Rtsp { .. }
        | SourceSpec::Srt(_)
        | SourceSpec::Rtmp { .. }
        | SourceSpec::Udp { .. }
        | SourceSpec::Publish { .. }
        | SourceSpec::Device { .. }
        | SourceSpec::Mosaic(_)
        | SourceSpec::Test { .. } => false,
    }
}

/// An element of a package that may not be installed.
pub(crate) fn element(factory: &str, package: &str) -> Result<gst::Element, Fault> {
    gst::ElementFactory::make(factory).build().map_err(|_| {
        Fault::Unusable(format!(
            "GStreamer element `{factory}` is missing: install Debian package {package}"
        ))
    })
}

/// A defect of ours, or of a plug-in; said so in the log should it come up.
pub(crate) fn internal(what: &str) -> Fault {
    Fault::Lost(what.to_owned())
}
