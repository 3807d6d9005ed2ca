//! A gateway in this process, cameras that publish access units, and viewers.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::clock::monotonic_ns;
use contract::control::{Decoder, FromWorker, ToWorker, encode};
use contract::geometry::PixelSize;
use contract::ledger::{GatewayCounters, IntakeCounters};
use contract::name::{StreamName, WorkerId};
use contract::spec::{GatewaySpec, GatewayStreamSpec, IntakeSpec, Protocol, Role, WorkerSpec};
use frame_bus::supervision::{BASE, Root};
use frame_bus::{BookReader, Bus, ChunkSubscriber, PacketPublisher, PacketStamp, Waker};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use tempfile::TempDir;
use testkit::wait_until;
use worker::{Control, Failure};

const SIZE: PixelSize = PixelSize {
    width: 320,
    height: 240,
};

/// Access units come twice as quickly as from a camera, to save time.
const INTERVAL: Duration = Duration::from_millis(20);

/// A gateway in a thread, as its supervisor sees it.
pub(crate) struct Rig {
    directory: TempDir,
    bus: Bus,
    ports: BTreeMap<Protocol, u16>,
    spec: Mutex<GatewaySpec>,
    supervisor: UnixStream,
    ended: Mutex<Vec<PacketPublisher>>,
    gateway: Mutex<Option<JoinHandle<Result<(), Failure>>>>,
    /// Last, so that nothing is on the bus any more when it is removed.
    _root: Root,
}

impl Rig {
    /// Starts a gateway that serves streams by RTSP and waits until it is ready.
    pub(crate) fn start<const N: usize>(streams: [&str; N]) -> Self {
        Self::serving(&[Protocol::Rtsp], &streams)
    }

    /// Starts a gateway that serves each stream by each of these protocols at its name.
    pub(crate) fn serving(protocols: &[Protocol], streams: &[&str]) -> Self {
        Self::serving_with(protocols, streams, |_| {})
    }

    /// The same on another address of this machine.
    pub(crate) fn serving_at(address: &str, protocols: &[Protocol], streams: &[&str]) -> Self {
        Self::serving_with(protocols, streams, |spec| {
            address.clone_into(&mut spec.address);
        })
    }

    /// The same, and `change` has the last word on the spec.
    pub(crate) fn serving_with(
        protocols: &[Protocol],
        streams: &[&str],
        change: impl FnOnce(&mut GatewaySpec),
    ) -> Self {
        let mut rig = Self::launch(protocols, 0, streams, change);
        rig.ports = rig.wait_ready();
        rig
    }

    /// Starts a gateway that cannot work, and returns why.
    pub(crate) fn fails(protocol: Protocol, port: u16) -> Failure {
        let rig = Self::launch(&[protocol], port, &["yard"], |_| {});
        rig.join().expect_err("it cannot work")
    }

    fn launch(
        protocols: &[Protocol],
        port: u16,
        streams: &[&str],
        change: impl FnOnce(&mut GatewaySpec),
    ) -> Self {
        gst::init().expect("GStreamer starts");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = Root::create(Path::new(BASE), "a test").expect("a root");
        let bus = Bus::open(&root.bus(), "test").expect("a bus");
        let streams = streams
            .iter()
            .map(|name| stream_spec(&directory, name, protocols.iter()));
        let mut gateway = GatewaySpec {
            address: "127.0.0.1".to_owned(),
            webrtc_hosts: Vec::new(),
            srt_passphrase: None,
            publish: [Protocol::Srt].into(),
            publish_token: None,
            streams: streams.collect(),
            intakes: Vec::new(),
            accept: Vec::new(),
            ports: protocols.iter().map(|protocol| (*protocol, port)).collect(),
        };
        change(&mut gateway);
        let spec = WorkerSpec {
            worker: WorkerId::Gateway,
            run: "test-1".parse().expect("a run id"),
            incarnation: 0,
            bus: root.bus(),
            directory: directory.path().to_owned(),
            role: Role::Gateway(gateway.clone()),
        };
        let (mut supervisor, worker_end) = UnixStream::pair().expect("a socket pair");
        let message = encode(&ToWorker::Configure(Box::new(spec))).expect("a short spec");
        supervisor.write_all(&message).expect("connected");
        // The worker ends its process when its supervisor is gone, and here that is the test.
        std::mem::forget(supervisor.try_clone().expect("a descriptor"));
        let thread = std::thread::spawn(|| {
            let (spec, control) = Control::over(worker_end)?;
            gateway::run(spec, control)
        });
        Self {
            directory,
            bus,
            ports: BTreeMap::new(),
            spec: Mutex::new(gateway),
            supervisor,
            ended: Mutex::default(),
            gateway: Mutex::new(Some(thread)),
            _root: root,
        }
    }

    /// The port of each protocol, from `rtsp at rtsp://127.0.0.1:8554 serving yard; ...`.
    fn wait_ready(&self) -> BTreeMap<Protocol, u16> {
        let text = self.wait_message(|message| match message {
            FromWorker::Ready(text) => Some(text),
            _ => None,
        });
        let port = |server: &str| {
            let (name, rest) = server.split_once(" at ").expect("a protocol");
            let (address, paths) = rest.split_once(" serving ").expect("paths");
            assert!(paths.contains("yard"), "{text}");
            let (_, port) = address.rsplit_once(':').expect("a port");
            let mut protocols = Protocol::ALL.into_iter();
            let protocol = protocols.find(|protocol| protocol.as_str() == name);
            (protocol.expect("a protocol"), port.parse().expect("a port"))
        };
        let servers = text.split("; ").filter(|server| server.contains(" at "));
        servers.map(port).collect()
    }

    /// Waits for a message that `pick` makes something of. Nothing comes right behind it.
    fn wait_message<T>(&self, pick: impl Fn(FromWorker) -> Option<T>) -> T {
        let mut decoder = Decoder::default();
        let mut chunk = [0; 4096];
        loop {
            while let Some(message) = decoder.next_message().expect("a message") {
                if let Some(picked) = pick(message) {
                    return picked;
                }
            }
            let count = (&self.supervisor).read(&mut chunk).expect("connected");
            assert!(count > 0, "the gateway is gone");
            decoder.extend(&chunk[..count]);
        }
    }

    /// Has the spec changed live, and returns the answer. What is refused changes nothing.
    pub(crate) fn reconfigure(
        &self,
        change: impl FnOnce(&mut GatewaySpec),
    ) -> Result<Vec<String>, String> {
        let mut current = self.spec.lock().expect("not poisoned");
        let mut wanted = current.clone();
        change(&mut wanted);
        let message = ToWorker::Reconfigure {
            generation: 7,
            role: Box::new(Role::Gateway(wanted.clone())),
        };
        let message = encode(&message).expect("a short spec");
        (&self.supervisor).write_all(&message).expect("connected");
        let result = self.wait_message(|message| match message {
            FromWorker::Reconfigured { generation, result } => Some((generation, result)),
            _ => None,
        });
        assert_eq!(result.0, 7);
        if result.1.is_ok() {
            *current = wanted;
        }
        result.1
    }

    /// What the gateway is told of one more stream; its book is new, or goes on.
    pub(crate) fn stream_spec(&self, name: &str) -> GatewayStreamSpec {
        stream_spec(&self.directory, name, self.ports.keys())
    }

    /// What the gateway is told of a stream that is published; its book is new, or goes on.
    pub(crate) fn intake_spec(&self, name: &str, path: &str) -> IntakeSpec {
        let book = self.intake_path(name);
        if !book.exists() {
            BookReader::<IntakeCounters>::create(&book).expect("a new book");
        }
        IntakeSpec {
            stream: stream(name),
            path: path.to_owned(),
            accepted_by: None,
            book,
        }
    }

    /// What the gateway's book of what is published to a stream says.
    pub(crate) fn intake(&self, name: &str) -> IntakeCounters {
        let reader = BookReader::open(&self.intake_path(name)).expect("a book");
        reader.read()
    }

    /// Who has knocked next, and whether it was refused for want of a place.
    pub(crate) fn knock(&self) -> (String, bool) {
        self.wait_message(|message| match message {
            FromWorker::Knocked { stream, full, .. } => Some((stream.to_string(), full)),
            _ => None,
        })
    }

    /// What an ingest worker takes.
    pub(crate) fn chunks(&self, name: &str) -> ChunkSubscriber {
        ChunkSubscriber::open(&self.bus, &stream(name)).expect("a subscriber")
    }

    fn intake_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.intake"))
    }

    pub(crate) fn port(&self, protocol: Protocol) -> u16 {
        self.ports[&protocol]
    }

    pub(crate) fn location(&self, mount: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{mount}", self.port(Protocol::Rtsp))
    }

    /// What the gateway's book of a stream says.
    pub(crate) fn book(&self, stream: &str) -> GatewayCounters {
        let reader = BookReader::open(&self.book_path(stream)).expect("a book");
        reader.read()
    }

    fn book_path(&self, stream: &str) -> PathBuf {
        self.directory.path().join(format!("{stream}.book"))
    }

    /// Says that a stream has ended which never had an access unit.
    pub(crate) fn end(&self, name: &str) {
        let mut publisher =
            PacketPublisher::open(&self.bus, &stream(name), SIZE, 1, 0).expect("a publisher");
        publisher.end_of_stream(0).expect("published");
        // Its queue must be there until the gateway has looked into it.
        self.ended.lock().expect("not poisoned").push(publisher);
    }

    /// Tells the gateway to drain and returns how it ended.
    pub(crate) fn drain(&self) -> Result<(), String> {
        let message = encode(&ToWorker::Drain).expect("short");
        (&self.supervisor).write_all(&message).expect("connected");
        self.join().map_err(|failure| failure.to_string())
    }

    fn join(&self) -> Result<(), Failure> {
        let gateway = self.gateway.lock().expect("not poisoned").take();
        let gateway = gateway.expect("joined once");
        gateway.join().expect("the gateway does not panic")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let running = self.gateway.lock().is_ok_and(|gateway| gateway.is_some());
        if running && !std::thread::panicking() {
            assert_eq!(self.drain(), Ok(()));
        }
    }
}

fn stream_spec<'a>(
    directory: &TempDir,
    name: &str,
    protocols: impl Iterator<Item = &'a Protocol>,
) -> GatewayStreamSpec {
    let book = directory.path().join(format!("{name}.book"));
    if !book.exists() {
        BookReader::<GatewayCounters>::create(&book).expect("a new book");
    }
    GatewayStreamSpec {
        stream: stream(name),
        size: SIZE,
        paths: protocols
            .map(|protocol| (*protocol, name.to_owned()))
            .collect(),
        qualities: Vec::new(),
        pushes: Vec::new(),
        book,
    }
}

fn stream(name: &str) -> StreamName {
    name.parse().expect("a stream name")
}

/// What a camera shows: two seconds of it, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture {
    /// Small access units, a key frame each half second.
    Ball,
    /// Small access units, a key frame each two seconds.
    LongGroups,
    /// As large as they get: about 4 MB/s.
    Noise,
    /// Bars of seven colours, a key frame each two seconds.
    Bars,
    /// 768x576 at 25 frames a second and 3 Mbit/s, a key frame each two seconds.
    Street,
    /// 640x480 at 25 frames a second and 2 Mbit/s, a key frame each second.
    Large,
    /// The same at 320x240 and 300 kbit/s.
    Small,
}

impl Picture {
    fn size(self) -> PixelSize {
        match self {
            Self::Large => PixelSize {
                width: 640,
                height: 480,
            },
            Self::Street => PixelSize {
                width: 768,
                height: 576,
            },
            _ => SIZE,
        }
    }

    fn interval(self) -> Duration {
        match self {
            Self::Street | Self::Large | Self::Small => 2 * INTERVAL,
            _ => INTERVAL,
        }
    }
}

struct AccessUnit {
    keyframe: bool,
    data: Vec<u8>,
}

const CLIP_UNITS: usize = 100;

fn encoded(picture: Picture) -> &'static [AccessUnit] {
    static BALL: LazyLock<Vec<AccessUnit>> =
        LazyLock::new(|| clip(SIZE, "ball", "key-int-max=25 bitrate=500"));
    static LONG: LazyLock<Vec<AccessUnit>> =
        LazyLock::new(|| clip(SIZE, "ball", "key-int-max=1000 bitrate=500"));
    static NOISE: LazyLock<Vec<AccessUnit>> =
        LazyLock::new(|| clip(SIZE, "snow", "key-int-max=25 pass=quant quantizer=8"));
    static BARS: LazyLock<Vec<AccessUnit>> =
        LazyLock::new(|| clip(SIZE, "smpte", "key-int-max=1000 bitrate=500"));
    static STREET: LazyLock<Vec<AccessUnit>> = LazyLock::new(|| {
        let pattern = "zone-plate kx2=20 ky2=20 kt=3";
        clip(
            Picture::Street.size(),
            pattern,
            "key-int-max=50 bitrate=6000",
        )
    });
    const ZONES: &str = "zone-plate kx2=20 ky2=20 kt=3";
    static LARGE: LazyLock<Vec<AccessUnit>> =
        LazyLock::new(|| clip(Picture::Large.size(), ZONES, "key-int-max=25 bitrate=4000"));
    static SMALL: LazyLock<Vec<AccessUnit>> =
        LazyLock::new(|| clip(Picture::Small.size(), ZONES, "key-int-max=25 bitrate=600"));
    match picture {
        Picture::Large => &LARGE,
        Picture::Small => &SMALL,
        Picture::Street => &STREET,
        Picture::Bars => &BARS,
        Picture::Ball => &BALL,
        Picture::LongGroups => &LONG,
        Picture::Noise => &NOISE,
    }
}

/// The access units of a picture, in the order in which they come again and again.
pub(crate) fn access_units(picture: Picture) -> impl Iterator<Item = &'static [u8]> {
    encoded(picture).iter().map(|unit| &unit.data[..])
}

/// A byte stream without delimiters, which are not sent, and with start codes of four bytes.
pub(crate) fn canonical(data: &[u8]) -> Vec<u8> {
    const DELIMITER: u8 = 9;
    let mut canonical = Vec::new();
    let starts: Vec<usize> = (0..data.len().saturating_sub(3))
        .filter(|at| data[*at..].starts_with(&[0, 0, 1]))
        .collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(data.len());
        let unit = &data[start + 3..end];
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        if unit[0] & 0x1f != DELIMITER {
            canonical.extend([0, 0, 0, 1]);
            canonical.extend(&unit[..unit.len() - zeros]);
        }
    }
    canonical
}

fn clip(size: PixelSize, pattern: &str, encoder: &str) -> Vec<AccessUnit> {
    gst::init().expect("GStreamer starts");
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc pattern={pattern} num-buffers={CLIP_UNITS} \
         ! video/x-raw,format=I420,width={},height={},framerate=50/1 \
         ! x264enc speed-preset=ultrafast tune=zerolatency {encoder} \
         ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au \
         ! appsink name=sink sync=false",
        size.width, size.height
    ))
    .expect("the elements are installed")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let sink = pipeline
        .by_name("sink")
        .and_downcast::<AppSink>()
        .expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let units: Vec<AccessUnit> = std::iter::from_fn(|| sink.pull_sample().ok())
        .map(|sample| {
            let buffer = sample.buffer().expect("a buffer");
            AccessUnit {
                keyframe: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
                data: buffer.map_readable().expect("readable").to_vec(),
            }
        })
        .collect();
    pipeline.set_state(gst::State::Null).expect("it stops");
    assert_eq!(units.len(), CLIP_UNITS);
    assert!(units[0].keyframe);
    units
}

/// A render worker's publishing side, in a thread.
pub(crate) struct Camera {
    stop: SyncSender<End>,
    thread: JoinHandle<u64>,
    taken: Arc<Mutex<Vec<u64>>>,
}

enum End {
    Killed,
    Ended,
}

impl Camera {
    pub(crate) fn start(rig: &Rig, name: &str, picture: Picture) -> Self {
        Self::publish(rig, name, &[picture], 0, 0, 0)
    }

    /// Shows the same in several encodes, and goes on at a number.
    pub(crate) fn ladder(rig: &Rig, name: &str, pictures: &[Picture], next_sequence: u64) -> Self {
        let epoch = u32::try_from(next_sequence).expect("a short test");
        Self::publish(rig, name, pictures, next_sequence, epoch, 0)
    }

    /// Goes on at a number, with a PTS of its own, `before_keyframe` access units before a key frame.
    pub(crate) fn restart(
        rig: &Rig,
        name: &str,
        next_sequence: u64,
        before_keyframe: usize,
    ) -> Self {
        let epoch = u32::try_from(next_sequence).expect("a short test");
        let skip = 25 - before_keyframe;
        Self::publish(rig, name, &[Picture::Ball], next_sequence, epoch, skip)
    }

    fn publish(
        rig: &Rig,
        name: &str,
        pictures: &[Picture],
        first: u64,
        epoch: u32,
        skip: usize,
    ) -> Self {
        let picture = pictures[0];
        let rungs: Vec<&[AccessUnit]> = pictures.iter().map(|rung| encoded(*rung)).collect();
        let waker = Waker::open(&rig.bus, &WorkerId::Gateway).expect("a waker");
        let size = picture.size();
        let publisher = PacketPublisher::open(&rig.bus, &stream(name), size, pictures.len(), epoch);
        let mut publisher = publisher.expect("a publisher");
        let (stop, stopped) = sync_channel(1);
        let taken = Arc::<Mutex<Vec<u64>>>::default();
        let captured = Arc::clone(&taken);
        let thread = std::thread::spawn(move || {
            let mut next = first;
            // Later producers begin at PTS 0, the first somewhere.
            let mut pts_ns = if epoch == 0 { 3_600_000_000_000 } else { 0 };
            let mut due = Instant::now();
            for index in (0..CLIP_UNITS).cycle().skip(skip) {
                due += picture.interval();
                match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(End::Ended) => {
                        publisher.end_of_stream(next).expect("published");
                        waker.wake();
                        break;
                    }
                    Ok(End::Killed) | Err(RecvTimeoutError::Disconnected) => break,
                }
                let captured_ns = monotonic_ns();
                captured.lock().expect("not poisoned").push(captured_ns);
                for (rung, units) in (0..).zip(&rungs) {
                    let unit = &units[index];
                    let stamp = PacketStamp {
                        sequence_number: next,
                        pts_ns,
                        captured_ns,
                        keyframe: unit.keyframe,
                        rung,
                    };
                    publisher.publish(&stamp, &unit.data).expect("published");
                    next += 1;
                }
                waker.wake();
                pts_ns += picture.interval().as_nanos() as u64;
            }
            next
        });
        Self {
            stop,
            thread,
            taken,
        }
    }

    /// When each access unit was captured, by the monotonic clock.
    pub(crate) fn captured_ns(&self) -> Vec<u64> {
        self.taken.lock().expect("not poisoned").clone()
    }

    /// Publishes the end of the stream; returns the next sequence number.
    pub(crate) fn end(self) -> u64 {
        self.finish(End::Ended)
    }

    /// Stops without a word; returns the next sequence number.
    pub(crate) fn kill(self) -> u64 {
        self.finish(End::Killed)
    }

    fn finish(self, end: End) -> u64 {
        self.stop.send(end).expect("the camera runs");
        self.thread.join().expect("the camera does not panic")
    }
}

/// Somebody who watches and decodes.
pub(crate) struct Viewer {
    pipeline: gst::Pipeline,
    decoded: Arc<AtomicU64>,
    torn: Arc<AtomicU64>,
}

impl Viewer {
    pub(crate) fn tcp(rig: &Rig, mount: &str) -> Self {
        Self::start(rig, mount, "tcp")
    }

    pub(crate) fn udp(rig: &Rig, mount: &str) -> Self {
        Self::start(rig, mount, "udp")
    }

    fn start(rig: &Rig, mount: &str, protocol: &str) -> Self {
        Self::launch(&format!(
            "rtspsrc location={} protocols={protocol} latency=100 ! rtph264depay name=depayloader",
            rig.location(mount)
        ))
    }

    /// Decodes what `source` gives, whose `depayloader` takes what comes from the network.
    pub(crate) fn launch(source: &str) -> Self {
        let pipeline = gst::parse::launch(&format!(
            "{source} ! h264parse ! avdec_h264 max-threads=1 ! fakesink name=sink sync=false"
        ))
        .expect("the elements are installed")
        .downcast::<gst::Pipeline>()
        .expect("a pipeline");
        let decoded = count(&pipeline, "sink", "sink", |_| true);
        let in_slices = Mutex::new(false);
        let torn = count(&pipeline, "depayloader", "sink", move |packet| {
            let packet = packet.map_readable().expect("readable");
            // Version 2 of RTP; MPEG-TS begins with another byte.
            packet[0] >> 6 == 2 && is_torn(&packet, &mut in_slices.lock().expect("not poisoned"))
        });
        pipeline.set_state(gst::State::Playing).expect("it starts");
        Self {
            pipeline,
            decoded,
            torn,
        }
    }

    /// RTP packets with a parameter set between two slices of a picture.
    pub(crate) fn torn(&self) -> u64 {
        self.torn.load(Ordering::Relaxed)
    }

    pub(crate) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Relaxed)
    }

    /// So many pictures are decoded in good time.
    pub(crate) fn decodes(&self, pictures: u64) -> bool {
        wait_until(Duration::from_secs(6), || self.decoded() >= pictures)
    }

    /// The end of the stream, or of the connection, is there.
    pub(crate) fn has_ended(&self) -> bool {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        bus.pop_filtered(&[gst::MessageType::Eos, gst::MessageType::Error])
            .is_some()
    }

    pub(crate) fn is_told_the_end(&self) -> bool {
        wait_until(Duration::from_secs(5), || self.has_ended())
    }

    /// Says good-bye.
    pub(crate) fn leave(self) {
        drop(self);
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        // Stopping can only fail when it has failed before, and then there is nothing to stop.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl fmt::Debug for Viewer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a viewer who has decoded {}", self.decoded())
    }
}

/// Counts the buffers on a pad that are as asked for.
fn count(
    pipeline: &gst::Pipeline,
    element: &str,
    pad: &str,
    counts: impl Fn(&gst::Buffer) -> bool + Send + Sync + 'static,
) -> Arc<AtomicU64> {
    let counter = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&counter);
    let element = pipeline.by_name(element).expect("an element");
    let pad = element.static_pad(pad).expect("a pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if info.buffer().is_some_and(&counts) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
    counter
}

/// A parameter set in this RTP packet comes after a slice of the same access unit (RFC 6184).
fn is_torn(packet: &[u8], in_slices: &mut bool) -> bool {
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let (header, payload) = packet.split_at(12);
    let mut kinds = Vec::new();
    match payload[0] & 0x1f {
        STAP_A => {
            let mut rest = &payload[1..];
            while let [high, low, unit @ ..] = rest {
                kinds.push(unit[0] & 0x1f);
                rest = &unit[usize::from(u16::from_be_bytes([*high, *low]))..];
            }
        }
        FU_A => kinds.push(payload[1] & 0x1f),
        single => kinds.push(single),
    }
    let mut torn = false;
    for kind in kinds {
        torn |= *in_slices && matches!(kind, 7 | 8);
        *in_slices |= (1..=5).contains(&kind);
    }
    let marker = header[1] & 0x80 != 0;
    *in_slices &= !marker;
    torn
}
