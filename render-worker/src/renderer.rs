//! One frame after the other: tracked, judged by the rules, drawn, encoded, reported.

use std::time::Instant;

use analytics::{Firing, Phase};
use contract::clock::{monotonic_ns, wall_ms};
use contract::control::FrameRecord;
use contract::name::WorkerId;
use contract::spec::{RenderSpec, WorkerSpec};
use cuda::Staging;
use frame_bus::{Bus, Frame, PacketPublisher, Waker};
use gstreamer as gst;
use worker::{Control, Failure};

use crate::actions::{self, Actions};
use crate::analysis::{self, Analysis};
use crate::best_shot::ShotWriter;
use crate::composition::Composition;
use crate::crops::Crops;
use crate::encode::{EncodeError, EncoderElement, PictureFormat};
use crate::join::{Answer, Joined};
use crate::output::Restream;
use crate::overlay::{self, Overlay, Status};
use crate::passthrough::Passthrough;
use crate::picture::{self, FramePicture};
use crate::reconfigure::Change;
use crate::report::FrameReports;
use crate::shared::{Header, SharedBook, bus_failure, lock};
use crate::tiles::Tiles;
use crate::video::Video;

/// Renders the frames of one stream.
pub(crate) struct Renderer {
    spec: RenderSpec,
    incarnation: u32,
    bus: Bus,
    control: Control,
    book: SharedBook,
    analysis: Analysis,
    /// Made with the next frame when there is none; its zones and lines are rasterised once.
    overlay: Option<(PictureFormat, Overlay)>,
    video: Video,
    /// What the source itself has coded, where that is what outputs get.
    passthrough: Option<Passthrough>,
    /// The way from the GPU, where frames lie there.
    staging: Option<Staging>,
    actions: Actions,
    shots: ShotWriter,
    crops: Crops,
    tiles: Tiles,
    reports: FrameReports,
    /// Of the firings held back, those that are in the book.
    suppressed_counted: u64,
}

impl Renderer {
    /// Opens what is needed before the first frame; the encoder is made with it, when its size is known.
    ///
    /// # Errors
    /// When the rules cannot be read or a port cannot be opened.
    pub(crate) fn open(
        worker: &WorkerSpec,
        spec: RenderSpec,
        bus: Bus,
        control: Control,
        book: SharedBook,
    ) -> Result<Self, Failure> {
        let stream = spec.frames.stream.clone();
        let begun = lock(&book).counters().tracks;
        let analysis = Analysis::new(&spec, begun)?;
        let shots = ShotWriter::start(
            worker.directory.clone(),
            stream.clone(),
            control.clone(),
            SharedBook::clone(&book),
        )?;
        let tiles = Tiles::open(bus.clone(), stream.clone(), &spec.tiles, worker.incarnation)
            .map_err(Failure::failed)?;
        let passthrough = spec.passthrough.map(|_| {
            let book = SharedBook::clone(&book);
            Passthrough::open(&bus, &stream, book, worker.incarnation)
        });
        let passthrough = passthrough.transpose();
        let passthrough = passthrough.map_err(|error| bus_failure(&error))?;
        let staging = picture::staging(&spec.frames).map_err(|error| bus_failure(&error))?;
        let mut video = Video::new(
            worker,
            stream,
            control.clone(),
            SharedBook::clone(&book),
            passthrough.is_some(),
        );
        video.set_encode(spec.encode.clone());
        video.set_record(spec.record.clone());
        video.keep_for_clips(analysis.needs().before_ns);
        if restreams(&spec) {
            let restream = open_restream(&bus, &spec, worker.incarnation);
            video.begin_restream(restream.map_err(Failure::failed)?);
        }
        let renderer = Self {
            analysis,
            reports: FrameReports::new(spec.frames.policy),
            actions: Actions::start(worker.directory.clone(), control.clone())?,
            shots,
            crops: Crops::open(bus.clone(), &spec.crops, &spec.cascades, worker.incarnation)
                .map_err(|error| bus_failure(&error))?,
            spec,
            tiles,
            incarnation: worker.incarnation,
            bus,
            control,
            book,
            overlay: None,
            video,
            passthrough,
            staging,
            suppressed_counted: 0,
        };
        // What a predecessor left there is of the past.
        renderer.set_now(0, 0);
        Ok(renderer)
    }

    /// What encodes its pictures.
    pub(crate) fn encoder_element(&self) -> EncoderElement {
        self.video.encoder_element()
    }

    /// Renders one frame and accounts for it.
    ///
    /// # Errors
    /// When the encoder has failed; the frame is then counted as dropped by it.
    pub(crate) fn render(&mut self, joined: Joined<Frame>) -> Result<(), Failure> {
        let mut staging = self.staging.take();
        let rendered = self.render_through(joined, staging.as_mut());
        self.staging = staging;
        rendered
    }

    fn render_through(
        &mut self,
        joined: Joined<Frame>,
        staging: Option<&mut Staging>,
    ) -> Result<(), Failure> {
        let stamp = *joined.frame.stamp();
        let age_ms = monotonic_ns().saturating_sub(stamp.captured_ns) / 1_000_000;
        let header = Header {
            stamp,
            format: PictureFormat {
                layout: *joined.frame.layout(),
                matrix: stamp.colour,
            },
            wall_ms: wall_ms().saturating_sub_unsigned(age_ms),
        };
        let answers = Answers::of(&joined);
        let picture =
            FramePicture::of(joined.frame, staging).map_err(|error| bus_failure(&error))?;
        let pixels = picture.bytes();
        self.poll_crops(monotonic_ns())?;
        let learned = self.crops.take_learned();
        let observed = self
            .analysis
            .observe(&header, pixels, &joined.answers, learned);
        self.crops
            .ask(&header, pixels, &observed.firings, &self.analysis)
            .and_then(|()| self.crops.ask_cascades(&header, pixels, &self.analysis))
            .map_err(|error| bus_failure(&error))?;
        let events = alerts(&observed.firings);
        self.actions
            .take_best_shots(&header, pixels, &observed.firings, &self.analysis);
        self.shots.write(observed.ended);
        let drawn = if self.video.is_wanted() {
            self.draw_and_encode(&header, picture, observed.firings)
        } else {
            self.go_on_undrawn(&header, pixels, observed.firings);
            Ok(())
        };
        if let Err(error) = drawn {
            lock(&self.book).update(|counters| counters.dropped_encoder += 1);
            if self.video.give_up_hardware(&error) {
                return Ok(());
            }
            return Err(Failure::failed(error.to_string()));
        }
        let given_up = self.report(observed.record);
        let (tracks_now, events_now) = self.now();
        let suppressed = self.newly_suppressed();
        lock(&self.book).update(|counters| {
            counters.rendered += 1;
            counters.with_results += u64::from(answers.complete && answers.seen);
            counters.without_results += u64::from(!answers.complete);
            counters.coasted += u64::from(answers.models > 0 && !answers.seen);
            counters.tracks += observed.begun;
            counters.events += events;
            counters.events_suppressed += suppressed;
            counters.tracks_now = tracks_now;
            counters.events_now = events_now;
            counters.records_dropped += given_up;
        });
        Ok(())
    }

    /// Hands on what the source itself has coded. True when something has come.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn pass_on(&mut self) -> Result<bool, Failure> {
        let Some(passthrough) = &mut self.passthrough else {
            return Ok(false);
        };
        let passed = passthrough.hand_on(&mut self.video);
        passed.map_err(|error| bus_failure(&error))
    }

    /// Looks for failures of other threads and sends what is due.
    ///
    /// # Errors
    /// When the encoder or the bus has failed.
    pub(crate) fn poll(&mut self, now_ns: u64) -> Result<(), Failure> {
        self.video.poll(now_ns)?;
        self.poll_crops(now_ns)?;
        self.crops.tick();
        self.tiles.tick();
        let given_up = self.reports.send_due(&self.control, now_ns);
        self.count_given_up(given_up);
        Ok(())
    }

    fn poll_crops(&mut self, now_ns: u64) -> Result<(), Failure> {
        let max_latency_ns = self.spec.max_latency_ms.saturating_mul(1_000_000);
        self.crops
            .poll(now_ns, max_latency_ns)
            .map_err(|error| bus_failure(&error))
    }

    /// When [`Renderer::poll`] has something to do.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.reports.deadline_ns()
    }

    /// Goes over to another spec, between two frames. What is the same in both goes on
    /// untouched. Returns what was done, a line each.
    ///
    /// # Errors
    /// What cannot be done; nothing has changed then.
    pub(crate) fn reconfigure(&mut self, spec: RenderSpec) -> Result<Vec<String>, String> {
        let change = Change::between(&self.spec, &spec)?;
        // All that can fail comes before all that changes something.
        let restream =
            if restreams(&spec) && (!restreams(&self.spec) || rungs(&spec) != rungs(&self.spec)) {
                Some(open_restream(&self.bus, &spec, self.incarnation)?)
            } else {
                None
            };
        let lanes = self.crops.prepare(&spec.crops);
        let lanes = lanes.map_err(|error| error.to_string())?;
        let tiles = self.tiles.prepare(&spec.tiles)?;
        let mut done = Vec::new();
        if let Some(file) = change.rules {
            let generation = analysis::generation(spec.rules.as_ref());
            let marks = self.analysis.marks(spec.frames.size);
            let reloaded = self.analysis.reload(file, generation);
            done.extend(reloaded.notes.iter().map(ToString::to_string));
            self.actions.carry_out(reloaded.firings, &mut self.video);
            self.video.keep_for_clips(self.analysis.needs().before_ns);
            if marks != self.analysis.marks(spec.frames.size) {
                self.overlay = None;
            }
            let (tracks_now, events_now) = self.now();
            self.set_now(tracks_now, events_now);
        }
        self.analysis
            .set_wishes(spec.best_shots.as_ref(), change.conditions);
        self.analysis.set_privacy(&spec);
        self.crops.change_cascades(&spec.cascades);
        if self.spec.labels != spec.labels {
            self.analysis.set_stream_labels(spec.labels.clone());
        }
        if self.spec.tracker != spec.tracker {
            self.analysis.set_tracker(&spec.tracker);
        }
        self.tiles.change(&spec.tiles, tiles);
        if self.spec.overlay != spec.overlay || self.spec.captions != spec.captions {
            self.overlay = None;
        }
        self.video.set_encode(spec.encode.clone());
        self.video.set_record(spec.record.clone());
        if let Some(restream) = restream {
            self.video.begin_restream(restream);
        } else if !restreams(&spec) {
            self.video.end_restream();
        }
        if let Err(error) = self.crops.change(&spec.crops, lanes) {
            // Whoever takes crops finds the gap, and the books say so.
            tracing::warn!("the end of crops could not be told: {error}");
        }
        done.extend(change.lines);
        self.spec = spec;
        Ok(done)
    }

    /// The stream has ended: encodes, writes and sends what is left.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.pass_on()?;
        let (firings, ended) = self.analysis.finish();
        self.shots.write_patiently(ended);
        self.actions.carry_out(firings, &mut self.video);
        let finished = self.video.finish();
        let given_up = self.reports.send(&self.control);
        self.count_given_up(given_up);
        self.set_now(0, 0);
        finished
    }

    /// The worker leaves, and nothing is asked of other models any more.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn end_crops(&mut self) -> Result<(), Failure> {
        self.crops.end().map_err(|error| bus_failure(&error))
    }

    /// The worker has to leave at once: the file is closed if that is quickly done.
    pub(crate) fn abandon(&mut self) {
        self.video.abandon();
        let given_up = self.reports.send(&self.control);
        self.count_given_up(given_up);
    }

    fn draw_and_encode(
        &mut self,
        header: &Header,
        frame: FramePicture<'_>,
        firings: Vec<Firing>,
    ) -> Result<(), EncodeError> {
        let composition = self.composition(header);
        let shown = composed(header, &composition);
        let mut picture = self.video.take(&shown, &composition, frame)?;
        let begin = Instant::now();
        picture.with_bytes(|memory| {
            self.draw(header, &composition, memory);
            self.actions.take_frames(&shown, memory, &firings);
        })?;
        self.video.note_drawing(begin.elapsed());
        self.tiles.give(&shown, picture.buffer(), monotonic_ns());
        let placed = self.video.place(header);
        self.actions.carry_out(firings, &mut self.video);
        self.video.push(picture, placed)
    }

    /// Nothing is encoded; the latency ends here, unless access units go on undrawn, and only
    /// snapshots and tiles are drawn.
    fn go_on_undrawn(&mut self, header: &Header, pixels: &[u8], firings: Vec<Firing>) {
        let now_ns = monotonic_ns();
        if self.passthrough.is_none() {
            let age_ns = now_ns.saturating_sub(header.stamp.captured_ns);
            lock(&self.book).record_latency_us(age_ns / 1000);
        }
        let tiles_are_due = self.tiles.are_due(now_ns);
        if actions::wants_frame(&firings) || tiles_are_due {
            let composition = self.composition(header);
            let mut memory = vec![0; composition.whole.bytes];
            composition.copy(pixels, &mut memory);
            self.draw(header, &composition, &mut memory);
            let shown = composed(header, &composition);
            self.actions.take_frames(&shown, &memory, &firings);
            if tiles_are_due {
                let picture = gst::Buffer::from_mut_slice(memory);
                self.tiles.give(&shown, &picture, now_ns);
            }
        }
        self.actions.carry_out(firings, &mut self.video);
    }

    fn composition(&self, header: &Header) -> Composition {
        Composition::of(header.format.layout.size, self.spec.overlay.depth)
    }

    fn draw(&mut self, header: &Header, composition: &Composition, memory: &mut [u8]) {
        let format = header.format;
        if self.overlay.as_ref().is_none_or(|(of, _)| *of != format) {
            let marks = self.analysis.marks(format.layout.size);
            let layers = self.spec.overlay.clone();
            let mut overlay = Overlay::new(layers, composition.picture, format.matrix, &marks);
            overlay.set_captions(&self.spec.captions);
            self.overlay = Some((format, overlay));
        }
        // First of all: whatever is drawn lies over what is hidden.
        let hidden = self.analysis.hidden();
        let areas = hidden.areas.iter().copied();
        overlay::hide(&composition.picture, memory, areas, hidden.method);
        let status = Status {
            stream: self.spec.frames.stream.as_str(),
            wall_ms: header.wall_ms,
            latency_ms: self.video.latency_ms(),
        };
        if let Some((_, overlay)) = &mut self.overlay {
            let analysis = &self.analysis;
            overlay.observe_motion(&header.stamp.moved, header.stamp.pts_ns);
            overlay.draw(memory, analysis.objects(), analysis.classes(), &status);
            overlay.draw_findings(memory, analysis.findings());
            if let Some(area) = composition.depth {
                overlay.draw_depth(&composition.whole, memory, analysis.depth(), area);
            }
        }
    }

    /// Returns how many records were given up.
    fn report(&mut self, record: FrameRecord) -> u64 {
        if !self.spec.store_detections {
            return 0;
        }
        self.reports.add(record, &self.control, monotonic_ns())
    }

    fn count_given_up(&self, records: u64) {
        if records > 0 {
            lock(&self.book).update(|counters| counters.records_dropped += records);
        }
    }

    /// Tracks and events that there are now.
    fn now(&self) -> (u64, u64) {
        let tracks = self.analysis.tracks_now() as u64;
        (tracks, u64::from(self.analysis.events_now()))
    }

    fn set_now(&self, tracks_now: u64, events_now: u64) {
        lock(&self.book).update(|counters| {
            counters.tracks_now = tracks_now;
            counters.events_now = events_now;
        });
    }

    fn newly_suppressed(&mut self) -> u64 {
        let suppressed = self.analysis.suppressed();
        let counted = std::mem::replace(&mut self.suppressed_counted, suppressed);
        suppressed.saturating_sub(counted)
    }
}

/// What a frame is as it is shown, together with a map of it.
fn composed(header: &Header, composition: &Composition) -> Header {
    let mut shown = *header;
    shown.format.layout = composition.whole;
    shown
}

/// Access units go to the gateway: of what is neither encoded nor handed on there are none.
fn restreams(spec: &RenderSpec) -> bool {
    spec.restream && (spec.encode.is_some() || spec.passthrough.is_some())
}

/// How many encodes there are.
fn rungs(spec: &RenderSpec) -> usize {
    let qualities = spec.encode.iter().map(|encode| encode.qualities.len());
    1 + qualities.sum::<usize>()
}

fn open_restream(bus: &Bus, spec: &RenderSpec, incarnation: u32) -> Result<Restream, String> {
    let frames = &spec.frames;
    let size = spec.passthrough.map_or(frames.size, |passed| passed.size);
    let packets = PacketPublisher::open(bus, &frames.stream, size, rungs(spec), incarnation);
    let gateway = Waker::open(bus, &WorkerId::Gateway);
    Ok(Restream {
        packets: packets.map_err(|error| error.to_string())?,
        gateway: gateway.map_err(|error| error.to_string())?,
    })
}

/// Events that begin and are sent.
fn alerts(firings: &[Firing]) -> u64 {
    let alerts = |firing: &&Firing| firing.phase == Phase::Begin && firing.alerts;
    firings.iter().filter(alerts).count() as u64
}

/// How the models have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answers {
    models: usize,
    /// All have answered.
    complete: bool,
    /// At least one has run.
    seen: bool,
}

impl Answers {
    fn of<F>(joined: &Joined<F>) -> Self {
        let ran = |answer: &Option<Answer>| matches!(answer, Some(Answer::Found(_)));
        Self {
            models: joined.answers.len(),
            complete: joined.complete(),
            seen: joined.answers.iter().any(ran),
        }
    }
}
