//! A push by RTMP or RTSP: a pipeline of GStreamer for each connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::push::{PushAddress, PushScheme};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::{CONNECT_MAX, End, STALL_MAX};
use crate::GatewayError;
use crate::channel::{AccessUnit, Next, Reader};
use crate::timeline::Timeline;

/// From the ring to the muxer. The parser gives the stream the form that the container wants.
const SOURCE: &str = "appsrc name=source is-live=true format=time block=false max-bytes=0 \
     caps=video/x-h264,stream-format=byte-stream,alignment=au ! h264parse";

/// `sync=false`: what comes is sent at once. Larger chunks than the 128 bytes of RTMP's default cost
/// less.
const RTMP: &str = "video/x-h264,stream-format=avc,alignment=au ! flvmux streamable=true \
     ! rtmp2sink name=sink sync=false async=false chunk-size=4096";

/// Parameter sets are sent before each key frame too.
const RTSP: &str = "rtspclientsink name=sink protocols=tcp latency=0";

/// What they are made of, by us and by themselves.
const ELEMENTS_RTMP: &[&str] = &["appsrc", "h264parse", "flvmux", "rtmp2sink"];
const ELEMENTS_RTSP: &[&str] = &["appsrc", "h264parse", "rtph264pay", "rtspclientsink"];

/// Bytes that wait to be sent; with more the receiver is slow.
const QUEUE_BYTES_MAX: u64 = 4 << 20;

/// Access units that have left the source when some are through: until RECORD is answered, the parser,
/// the payloader and the pad behind it hold one each, and one more is on its way.
const RTSP_TAKEN_WHEN_LIVE: u64 = 5;

/// How often it is looked how the pipeline fares.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Messages of the pipeline that wait to be read; the first one ends it.
const MESSAGES_MAX: usize = 4;

/// Somebody to whom a stream is pushed through pipelines, one after another.
pub(super) struct Pipeline {
    address: PushAddress,
    running: Option<Running>,
}

impl Pipeline {
    /// # Errors
    /// [`GatewayError::NoElement`] when an element is not installed.
    pub(super) fn new(address: PushAddress) -> Result<Self, GatewayError> {
        let elements = match address.scheme {
            PushScheme::Rtmp | PushScheme::Rtmps => ELEMENTS_RTMP,
            _ => ELEMENTS_RTSP,
        };
        let missing = |name: &&&str| gst::ElementFactory::find(name).is_none();
        if let Some(name) = elements.iter().find(missing) {
            return Err(GatewayError::NoElement(name));
        }
        Ok(Self {
            address,
            running: None,
        })
    }

    /// One connection.
    pub(super) async fn push(
        &mut self,
        reader: &mut Reader,
        on_live: &mut impl FnMut(&mut Reader),
    ) -> End {
        let address = self.address.clone();
        // Making one loads plug-ins, and starting one may look up a name.
        let started = tokio::task::spawn_blocking(move || Running::start(&address)).await;
        let running = match started {
            Ok(Ok(running)) => running,
            Ok(Err(reason)) => return End::Lost(self.address.scrub(&reason)),
            Err(_) => return End::Lost("GStreamer has failed".to_owned()),
        };
        let running = self.running.insert(running);
        let end = running.push_all(reader, on_live).await;
        if let Some(running) = self.running.take() {
            running.stop(end == End::Stream).await;
        }
        match end {
            End::Stream => End::Stream,
            End::Refused(reason) => End::Refused(self.address.scrub(&reason)),
            End::Lost(reason) => End::Lost(self.address.scrub(&reason)),
        }
    }

    /// Ends what may be running.
    pub(super) async fn retire(self) {
        if let Some(running) = self.running {
            running.stop(true).await;
        }
    }
}

/// One pipeline. It must be [stopped](Running::stop); dropped it stops too, but on this thread.
struct Running {
    pipeline: gst::Pipeline,
    source: AppSrc,
    sink: gst::Element,
    messages: mpsc::Receiver<End>,
    taken: Arc<Taken>,
    timeline: Timeline,
    started: Instant,
}

/// What has come to the sink of RTMP, or has left the source for that of RTSP.
#[derive(Debug, Default)]
struct Taken {
    buffers: AtomicU64,
    bytes: AtomicU64,
}

impl Running {
    fn start(address: &PushAddress) -> Result<Self, String> {
        let is_rtmp = matches!(address.scheme, PushScheme::Rtmp | PushScheme::Rtmps);
        let tail = if is_rtmp { RTMP } else { RTSP };
        let launch = format!("{SOURCE} ! {tail}");
        let cannot = |error: gst::glib::Error| error.to_string();
        let pipeline = gst::parse::launch(&launch).map_err(cannot)?;
        let pipeline = pipeline
            .downcast::<gst::Pipeline>()
            .map_err(|_| "it is no pipeline".to_owned())?;
        let named = |name: &str| pipeline.by_name(name).ok_or("an element is missing");
        let source = named("source")?;
        let source = source
            .downcast::<AppSrc>()
            .map_err(|_| "the source is another".to_owned())?;
        let sink = named("sink")?;
        // The address goes to the one element that needs it, and is in no text.
        if is_rtmp {
            set_rtmp(&sink, address);
        } else {
            set_rtsp(&sink, address);
        }
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
        let taken = Arc::new(Taken::default());
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                // There is room for the first, and the first is what counts.
                let _ = sender.try_send(judge(&error.error()));
            }
            gst::BusSyncReply::Drop
        });
        let pad = if is_rtmp {
            sink.static_pad("sink")
        } else {
            source.static_pad("src")
        };
        if let Some(pad) = pad {
            let taken = Arc::clone(&taken);
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                let bytes = info.buffer().map_or(0, |buffer| buffer.size() as u64);
                taken.bytes.fetch_add(bytes, Ordering::Relaxed);
                taken.buffers.fetch_add(1, Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
        }
        let running = Self {
            pipeline,
            source,
            sink,
            messages,
            taken,
            timeline: Timeline::default(),
            started: Instant::now(),
        };
        // When it does not start it says why by a message.
        let _ = running.pipeline.set_state(gst::State::Playing);
        Ok(running)
    }

    /// Pushes all that comes, until the stream or the connection ends.
    async fn push_all(
        &mut self,
        reader: &mut Reader,
        on_live: &mut impl FnMut(&mut Reader),
    ) -> End {
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut live, mut slow) = (false, false);
        let mut progress = (self.sent(), Instant::now());
        reader.skip_to_live();
        loop {
            if !slow {
                match self.push_what_is_there(reader) {
                    Next::Ended => return End::Stream,
                    _ => slow = self.queued() > QUEUE_BYTES_MAX,
                }
            }
            tokio::select! {
                Some(end) = self.messages.recv() => return end,
                () = reader.wait(), if !slow => continue,
                _ = look.tick() => {}
            }
            if !live && self.is_live() {
                // A sink that fails says so first, and may then take what is left.
                if let Ok(end) = self.messages.try_recv() {
                    return end;
                }
                live = true;
                on_live(reader);
            }
            if !live && self.started.elapsed() > CONNECT_MAX {
                return End::Lost("it does not answer".to_owned());
            }
            let sent = self.sent();
            if sent != progress.0 || self.queued() == 0 {
                progress = (sent, Instant::now());
            } else if live && progress.1.elapsed() > STALL_MAX {
                return End::Lost("it takes nothing".to_owned());
            }
            if slow && self.queued() <= QUEUE_BYTES_MAX / 2 {
                slow = false;
                reader.skip_to_live();
            }
        }
    }

    fn push_what_is_there(&mut self, reader: &mut Reader) -> Next {
        loop {
            match reader.try_next() {
                Next::Unit(unit) => {
                    let late = reader.behind() > 0;
                    self.push(&unit, late);
                    if self.queued() > QUEUE_BYTES_MAX {
                        return Next::Nothing;
                    }
                }
                other => return other,
            }
        }
    }

    /// `late`: others are there that are newer.
    fn push(&mut self, unit: &AccessUnit, late: bool) {
        let now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let stamp_ns = if late {
            self.timeline.catching_up()
        } else {
            self.timeline.live(unit.pts_ns, now_ns)
        };
        // The bytes are shared, not copied.
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        if let Some(buffer) = buffer.get_mut() {
            let stamp = gst::ClockTime::from_nseconds(stamp_ns);
            buffer.set_pts(stamp);
            buffer.set_dts(stamp);
            if !unit.keyframe {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        if let Err(error) = self.source.push_buffer(buffer) {
            tracing::debug!(?error, "the push is about to end");
        }
    }

    /// It has connected, and the other side takes what comes.
    fn is_live(&self) -> bool {
        if self.has_stats() {
            // Those of a connection, which the sink of RTMP has from when it may publish.
            return self.sent() > 0;
        }
        self.taken.buffers.load(Ordering::Relaxed) >= RTSP_TAKEN_WHEN_LIVE
    }

    /// Bytes that wait to be sent, in the source and, by RTMP, in the sink, which has no bound of
    /// its own.
    fn queued(&self) -> u64 {
        let in_sink = if self.has_stats() {
            let taken = self.taken.bytes.load(Ordering::Relaxed);
            taken.saturating_sub(self.sent())
        } else {
            0
        };
        self.source.current_level_bytes() + in_sink
    }

    /// Bytes that have gone out, or that grow as they do.
    fn sent(&self) -> u64 {
        if !self.has_stats() {
            return self.taken.bytes.load(Ordering::Relaxed);
        }
        let stats = self.sink.property::<gst::Structure>("stats");
        stats.get::<u64>("out-bytes-total").unwrap_or(0)
    }

    fn has_stats(&self) -> bool {
        self.sink.has_property("stats")
    }

    /// Ends the pipeline on a thread that may wait. `politely`: what is queued goes out, and a word of
    /// good-bye.
    async fn stop(self, politely: bool) {
        if politely {
            // An error is that of a pipeline that ends anyway.
            let _ = self.source.end_of_stream();
            let until = Instant::now() + crate::rtsp::END_FLUSH;
            while self.queued() > 0 && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        // It cannot fail but by a panic, which is reported.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Stopping can only fail when it has failed before, and then there is nothing to stop.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn set_rtmp(sink: &gst::Element, address: &PushAddress) {
    sink.set_property_from_str("scheme", address.scheme.as_str());
    sink.set_property("host", &address.host);
    sink.set_property("port", i32::from(address.port));
    sink.set_property("application", &address.path.0);
    sink.set_property("stream", &address.path.1);
    if let Some((user, password)) = &address.login {
        sink.set_property("username", user);
        sink.set_property("password", password);
    }
}

fn set_rtsp(sink: &gst::Element, address: &PushAddress) {
    let PushAddress { host, port, .. } = address;
    let place = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let scheme = address.scheme.as_str();
    let path = &address.path.1;
    sink.set_property("location", format!("{scheme}://{place}:{port}{path}"));
    if let Some((user, password)) = &address.login {
        sink.set_property("user-id", user);
        sink.set_property("user-pw", password);
    }
}

/// What an error of the pipeline means.
fn judge(error: &gst::glib::Error) -> End {
    let refused = [
        gst::ResourceError::NotAuthorized,
        gst::ResourceError::NotFound,
    ];
    let reason = error.to_string();
    let reason = reason.trim_end_matches('.').to_owned();
    if refused.iter().any(|kind| error.matches(*kind)) {
        return End::Refused(reason);
    }
    End::Lost(reason)
}
