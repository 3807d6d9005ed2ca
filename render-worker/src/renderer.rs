//! One frame after the other: tracked, judged by the rules, drawn, encoded, reported.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use analytics::{Firing, FrameContext, Phase};
use contract::clock::{monotonic_ns, wall_ms};
use contract::control::{FileKind, FileRecord, FrameRecord, FromWorker};
use contract::detection::Skip;
use contract::name::{StreamName, WorkerId};
use contract::spec::{EncodeSpec, RenderSpec, WorkerSpec};
use dsl::Action;
use frame_bus::{Bus, Frame, FrameStamp, PacketPublisher, Waker};
use gstreamer::ClockTime;
use worker::{Control, Failure};

use crate::analysis::Analysis;
use crate::encode::recording::Recording;
use crate::encode::timeline::Timeline;
use crate::encode::{EncodeError, Encoder, PictureFormat};
use crate::join::{Answer, Joined};
use crate::output::{Output, Pending, Restream, SharedBook, lock};
use crate::overlay::{Overlay, Status};
use crate::paths;
use crate::report::FrameReports;
use crate::snapshot::{self, SnapshotWriter};
use crate::stream::{bus_failure, is_lossless};

/// An encoder or a file that has not ended by then is given up.
const FINISH_TIMEOUT: ClockTime = ClockTime::from_seconds(5);
/// The same when the worker was told to leave at once: it is ended by force after 0.9 s.
const ABANDON_TIMEOUT: ClockTime = ClockTime::from_mseconds(250);

/// What the frame is, without its pixels.
#[derive(Debug, Clone, Copy)]
struct Header {
    stamp: FrameStamp,
    format: PictureFormat,
    wall_ms: i64,
}

/// Renders the frames of one stream.
pub(crate) struct Renderer {
    spec: RenderSpec,
    stream: StreamName,
    directory: PathBuf,
    incarnation: u32,
    control: Control,
    book: SharedBook,
    analysis: Analysis,
    overlay: Option<(PictureFormat, Overlay)>,
    timeline: Timeline,
    encoder: Option<Encoder>,
    output: Output,
    recording: Option<FileRecord>,
    recording_failed: bool,
    snapshots: SnapshotWriter,
    /// By the ids of events that last.
    snapshot_of: BTreeMap<String, String>,
    reports: FrameReports,
    costs: Costs,
}

impl Renderer {
    /// Opens what is needed before the first frame; the encoder is made with it, when its size is known.
    ///
    /// # Errors
    /// When the rules cannot be read or a port cannot be opened.
    pub(crate) fn open(
        worker: &WorkerSpec,
        spec: RenderSpec,
        bus: &Bus,
        control: Control,
        book: SharedBook,
    ) -> Result<Self, Failure> {
        let stream = spec.frames.stream.clone();
        let restream = if spec.restream && spec.encode.is_some() {
            let failed = |error| bus_failure(&error);
            let size = spec.frames.size;
            let packets = PacketPublisher::open(bus, &stream, size, worker.incarnation);
            Some(Restream {
                packets: packets.map_err(failed)?,
                gateway: Waker::open(bus, &WorkerId::Gateway).map_err(failed)?,
            })
        } else {
            None
        };
        let begun = lock(&book).counters().tracks;
        let teller = control.clone();
        let written = move |record| teller.send(FromWorker::File(record));
        let snapshots = SnapshotWriter::start(worker.directory.clone(), written)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            analysis: Analysis::new(&spec, begun)?,
            reports: FrameReports::new(is_lossless(spec.frames.policy)),
            spec,
            stream,
            directory: worker.directory.clone(),
            incarnation: worker.incarnation,
            control,
            output: Output::new(SharedBook::clone(&book), restream),
            book,
            overlay: None,
            timeline: Timeline::default(),
            encoder: None,
            recording: None,
            recording_failed: false,
            snapshots,
            snapshot_of: BTreeMap::new(),
            costs: Costs::default(),
        })
    }

    /// Renders one frame and accounts for it.
    ///
    /// # Errors
    /// When the encoder has failed; the frame is then counted as dropped by it.
    pub(crate) fn render(&mut self, joined: Joined<Frame>) -> Result<(), Failure> {
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
        let context = FrameContext {
            sequence_number: stamp.sequence_number,
            pts_ns: stamp.pts_ns,
            wall_ms: header.wall_ms,
            size: header.format.layout.size,
            motion: stamp.motion,
        };
        let (tracks, firings) = self.analysis.observe(&context, &joined.answers);
        let begins = |firing: &&Firing| firing.phase == Phase::Begin;
        let events = firings.iter().filter(begins).count() as u64;
        let drawn = self.draw_and_encode(&header, joined.frame, firings);
        if let Err(error) = drawn {
            lock(&self.book).update(|counters| counters.dropped_encoder += 1);
            return Err(Failure::failed(error.to_string()));
        }
        let given_up = self.report(&header.stamp, answers.skip);
        lock(&self.book).update(|counters| {
            counters.rendered += 1;
            counters.with_results += u64::from(answers.complete && answers.seen);
            counters.without_results += u64::from(!answers.complete);
            counters.coasted += u64::from(answers.models > 0 && !answers.seen);
            counters.tracks += tracks;
            counters.events += events;
            counters.records_dropped += given_up;
        });
        Ok(())
    }

    /// Looks for failures of other threads and sends what is due.
    ///
    /// # Errors
    /// When the encoder or the bus has failed.
    pub(crate) fn poll(&mut self, now_ns: u64) -> Result<(), Failure> {
        if let Some(error) = self.encoder.as_ref().and_then(Encoder::error) {
            return Err(Failure::failed(error.to_string()));
        }
        if let Some(error) = self.output.bus_error() {
            return Err(bus_failure(&error));
        }
        if let Some((recording, error)) = self.output.failed_recording() {
            tracing::error!("{error}; the recording ends here, the video goes on");
            self.recording_failed = true;
            self.report_recorded(recording.frames());
        }
        let given_up = self.reports.send_due(&self.control, now_ns);
        self.count_given_up(given_up);
        Ok(())
    }

    /// When [`Renderer::poll`] has something to do.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.reports.deadline_ns()
    }

    /// The stream has ended: encodes, writes and sends what is left.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        for firing in self.analysis.finish() {
            self.send_event(firing);
        }
        self.close_encoder(FINISH_TIMEOUT);
        self.output
            .end_of_stream()
            .map_err(|error| bus_failure(&error))?;
        let given_up = self.reports.send(&self.control);
        self.count_given_up(given_up);
        self.costs.log();
        Ok(())
    }

    /// The worker has to leave at once: the file is closed if that is quickly done.
    pub(crate) fn abandon(&mut self) {
        self.close_encoder(ABANDON_TIMEOUT);
        let given_up = self.reports.send(&self.control);
        self.count_given_up(given_up);
    }

    fn count_given_up(&self, records: u64) {
        if records > 0 {
            lock(&self.book).update(|counters| counters.records_dropped += records);
        }
    }

    fn draw_and_encode(
        &mut self,
        header: &Header,
        frame: Frame,
        firings: Vec<Firing>,
    ) -> Result<(), EncodeError> {
        let Some(spec) = self.spec.encode.clone() else {
            return self.go_on_undrawn(header, &frame, firings);
        };
        self.prepare_encoder(&spec, header)?;
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(());
        };
        let pushed = self.encode_frame(&mut encoder, header, frame, firings);
        self.encoder = Some(encoder);
        pushed
    }

    fn encode_frame(
        &mut self,
        encoder: &mut Encoder,
        header: &Header,
        frame: Frame,
        firings: Vec<Firing>,
    ) -> Result<(), EncodeError> {
        let begin = Instant::now();
        let mut picture = encoder.picture()?;
        let waited = Instant::now();
        let bytes = header.format.layout.bytes;
        picture.with_bytes(|memory| memory[..bytes].copy_from_slice(&frame.payload()[..bytes]))?;
        // Its slot on the bus is free from here on.
        drop(frame);
        let copied = Instant::now();
        picture.with_bytes(|memory| {
            self.draw(header, memory);
            self.send_events(header, firings, memory);
        })?;
        let drawn = Instant::now();
        let stamp = &header.stamp;
        let pts_ns = self
            .timeline
            .place(stamp.pts_ns, stamp.captured_ns, stamp.discontinuity);
        self.output.expect(Pending {
            pts_ns,
            captured_ns: stamp.captured_ns,
        });
        encoder.push(picture, pts_ns)?;
        self.costs.frames += 1;
        self.costs.copy += copied - waited;
        self.costs.draw += drawn - copied;
        self.costs.wait += (waited - begin) + drawn.elapsed();
        Ok(())
    }

    /// Nothing is encoded; the latency ends here, and only snapshots are drawn.
    fn go_on_undrawn(
        &mut self,
        header: &Header,
        frame: &Frame,
        firings: Vec<Firing>,
    ) -> Result<(), EncodeError> {
        let age_ns = monotonic_ns().saturating_sub(header.stamp.captured_ns);
        lock(&self.book).record_latency_us(age_ns / 1000);
        if firings.iter().any(wants_snapshot) {
            let mut memory = frame.payload().to_vec();
            self.draw(header, &mut memory);
            self.send_events(header, firings, &memory);
        } else {
            self.send_events(header, firings, &[]);
        }
        Ok(())
    }

    fn draw(&mut self, header: &Header, memory: &mut [u8]) {
        let format = header.format;
        if self.overlay.as_ref().is_none_or(|(of, _)| *of != format) {
            let marks = self.analysis.marks(format.layout.size);
            let layers = self.spec.overlay.clone();
            let overlay = Overlay::new(layers, format.layout, format.matrix, &marks);
            self.overlay = Some((format, overlay));
        }
        let status = Status {
            stream: self.stream.as_str(),
            wall_ms: header.wall_ms,
            latency_ms: self.output.latency_ms(),
        };
        if let Some((_, overlay)) = &mut self.overlay {
            overlay.draw(memory, self.analysis.objects(), &status);
        }
    }

    /// Sends what the rules have reported, with a snapshot of `memory` where they want one.
    fn send_events(&mut self, header: &Header, firings: Vec<Firing>, memory: &[u8]) {
        for firing in firings {
            if wants_snapshot(&firing)
                && let Some(path) = self.submit_snapshot(header, &firing, memory)
            {
                self.snapshot_of.insert(firing.event.id.clone(), path);
            }
            self.send_event(firing);
        }
    }

    /// The end of an event names the snapshot that its begin has named.
    fn send_event(&mut self, firing: Firing) {
        let mut event = firing.event;
        event.snapshot = match firing.phase {
            Phase::Begin => self.snapshot_of.get(&event.id).cloned(),
            Phase::End => self.snapshot_of.remove(&event.id),
        };
        self.control.send(FromWorker::Event(Box::new(event)));
    }

    fn submit_snapshot(&self, header: &Header, firing: &Firing, memory: &[u8]) -> Option<String> {
        let sequence_number = header.stamp.sequence_number;
        let event = &firing.event;
        let path = paths::snapshot(&self.stream, &event.rule, event.track, sequence_number);
        let picture = snapshot::Picture {
            layout: header.format.layout,
            bytes: memory.to_vec(),
            matrix: header.format.matrix,
            record: FileRecord {
                stream: self.stream.clone(),
                kind: FileKind::Snapshot,
                path: path.clone(),
                begin_wall_ms: header.wall_ms,
                begin_pts_ns: header.stamp.pts_ns,
                frames: Some(1),
            },
        };
        if self.snapshots.submit(picture) {
            return Some(path);
        }
        tracing::warn!("`{path}` is not written: more snapshots are asked for than can be written");
        None
    }

    /// The encoder, and the recording, for pictures of this format.
    fn prepare_encoder(&mut self, spec: &EncodeSpec, header: &Header) -> Result<(), EncodeError> {
        let known = self.encoder.as_ref().map(Encoder::format);
        if known == Some(&header.format) {
            return Ok(());
        }
        // A picture of another size needs another encoder, and another file.
        self.close_encoder(FINISH_TIMEOUT);
        let output = self.output.clone();
        let take = move |unit| output.take(&unit);
        self.encoder = Some(Encoder::new(spec, header.format, take)?);
        self.begin_recording(header);
        Ok(())
    }

    fn begin_recording(&mut self, header: &Header) {
        let Some(record) = self.spec.record.as_ref().filter(|_| !self.recording_failed) else {
            return;
        };
        let (path, opened) = paths::recording(
            &self.directory,
            &record.directory,
            &self.stream,
            header.wall_ms,
            self.incarnation,
        );
        match Recording::start(&opened) {
            Ok(recording) => {
                self.output.record(recording);
                let record = FileRecord {
                    stream: self.stream.clone(),
                    kind: FileKind::Recording,
                    path: path.to_string_lossy().into_owned(),
                    begin_wall_ms: header.wall_ms,
                    begin_pts_ns: header.stamp.pts_ns,
                    frames: None,
                };
                self.control.send(FromWorker::File(record.clone()));
                self.recording = Some(record);
            }
            Err(error) => {
                tracing::error!("{error}; nothing is recorded, the video goes on");
                self.recording_failed = true;
            }
        }
    }

    fn close_encoder(&mut self, timeout: ClockTime) {
        if let Some(encoder) = self.encoder.take()
            && let Err(error) = encoder.finish(timeout)
        {
            tracing::error!("{error}; the last frames are missing");
        }
        if let Some((frames, result)) = self.output.finish_recording(timeout) {
            if let Err(error) = result {
                tracing::error!("{error}; the file plays up to its last fragment");
            }
            self.report_recorded(frames);
        }
    }

    fn report_recorded(&mut self, frames: u64) {
        if let Some(mut record) = self.recording.take() {
            record.frames = Some(frames);
            self.control.send(FromWorker::File(record));
        }
    }

    /// Returns how many records were given up.
    fn report(&mut self, stamp: &FrameStamp, skip: Option<Skip>) -> u64 {
        if !self.spec.store_detections {
            return 0;
        }
        let record = FrameRecord {
            sequence_number: stamp.sequence_number,
            pts_ns: stamp.pts_ns,
            skip,
            objects: self.analysis.records(),
        };
        self.reports.add(record, &self.control, monotonic_ns())
    }
}

fn wants_snapshot(firing: &Firing) -> bool {
    firing.phase == Phase::Begin && firing.actions.contains(&Action::Snapshot)
}

/// How the models have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answers {
    models: usize,
    /// All have answered.
    complete: bool,
    /// At least one has run.
    seen: bool,
    /// Why the first did not run; no answer in time counts as a failure.
    skip: Option<Skip>,
}

impl Answers {
    fn of<F>(joined: &Joined<F>) -> Self {
        let first = joined.answers.first();
        let skip = first.and_then(|answer| match answer {
            Some(Answer::Detections(_)) => None,
            Some(Answer::Skipped(skip)) => Some(*skip),
            None => Some(Skip::Failed),
        });
        let ran = |answer: &Option<Answer>| matches!(answer, Some(Answer::Detections(_)));
        Self {
            models: joined.answers.len(),
            complete: joined.complete(),
            seen: joined.answers.iter().any(ran),
            skip,
        }
    }
}

/// Where the main loop's time goes, for the log.
#[derive(Debug, Default)]
struct Costs {
    frames: u32,
    copy: Duration,
    draw: Duration,
    /// For a free picture, and for room before the encoder.
    wait: Duration,
}

impl Costs {
    fn log(&self) {
        if self.frames == 0 {
            return;
        }
        let (copy, draw, wait) = (
            self.copy / self.frames,
            self.draw / self.frames,
            self.wait / self.frames,
        );
        tracing::info!(
            frames = self.frames,
            ?copy,
            ?draw,
            ?wait,
            "mean times of a frame"
        );
    }
}
