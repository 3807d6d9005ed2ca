//! The way of a drawn picture: into the encoder, and from there into files and to viewers.
//!
//! The encoder is made with the first picture, when its format is known. A picture
//! of another format, or other settings, need another encoder: all pictures are
//! encoded to the last, files end, and others are begun. What files have to say goes to
//! the supervisor from here.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use contract::control::{FileContent, FileKind, FileRecord, FileState, FromWorker};
use contract::name::StreamName;
use contract::spec::{EncodeSpec, RecordSpec, WorkerSpec};
use gstreamer::ClockTime;
use worker::{Control, Failure};

use crate::composition::Composition;
use crate::encode::ladder::Ladder;
use crate::encode::timeline::Timeline;
use crate::encode::{EncodeError, EncoderElement, Picture};
use crate::output::clip::{ClipFilm, Finished};
use crate::output::clips::ClipOf;
use crate::output::recorder::{Place, Recorder};
use crate::output::{Output, PictureInfo, Restream};
use crate::picture::FramePicture;
use crate::shared::{Header, SharedBook, bus_failure};

/// An encoder or a file that has not ended by then is given up.
const FINISH_TIMEOUT: ClockTime = ClockTime::from_seconds(5);
/// The same when the worker was told to leave at once: it is ended by force after 0.9 s.
const ABANDON_TIMEOUT: ClockTime = ClockTime::from_mseconds(250);

/// The encoders of one stream, and all that its access units go to.
pub(crate) struct Video {
    stream: StreamName,
    /// Of the run: files are inside.
    directory: PathBuf,
    control: Control,
    book: SharedBook,
    encode: Option<EncodeSpec>,
    /// Access units are not made here, but come from the source.
    passes_on: bool,
    record: Option<RecordSpec>,
    /// What encodes.
    element: EncoderElement,
    encoder: Option<Ladder>,
    timeline: Timeline,
    output: Output,
    /// The newest picture that was given a place on the time line.
    newest: Option<PictureInfo>,
    costs: Costs,
}

impl Video {
    /// Nothing is encoded yet, or ever: `passes_on` says that access units come from the source.
    pub(crate) fn new(
        worker: &WorkerSpec,
        stream: StreamName,
        control: Control,
        book: SharedBook,
        passes_on: bool,
    ) -> Self {
        Self {
            stream,
            directory: worker.directory.clone(),
            control,
            book: SharedBook::clone(&book),
            encode: None,
            passes_on,
            record: None,
            element: EncoderElement::X264,
            encoder: None,
            timeline: Timeline::default(),
            output: Output::new(book),
            newest: None,
            costs: Costs::default(),
        }
    }

    /// Encodes with these settings from the next picture on; `None`: not at all.
    pub(crate) fn set_encode(&mut self, encode: Option<EncodeSpec>) {
        if self.encode != encode {
            self.close_encoder(FINISH_TIMEOUT);
            let hardware = |spec: &Option<EncodeSpec>| spec.as_ref().is_some_and(|it| it.hardware);
            if hardware(&self.encode) != hardware(&encode) {
                let element = encode.as_ref().map(EncoderElement::choose);
                self.element = element.unwrap_or(EncoderElement::X264);
            }
            self.encode = encode;
        }
    }

    /// What encodes.
    pub(crate) fn encoder_element(&self) -> EncoderElement {
        self.element
    }

    /// A hardware encoder that has failed is replaced by x264, from the next picture on; false
    /// when it is none. Its driver was updated, say, or its device lost.
    pub(crate) fn give_up_hardware(&mut self, error: &EncodeError) -> bool {
        if !self.element.is_hardware() {
            return false;
        }
        tracing::warn!("{error}; going on with x264");
        self.close_encoder(ABANDON_TIMEOUT);
        self.element = EncoderElement::X264;
        true
    }

    /// Records there from the next picture on; `None`: nowhere.
    pub(crate) fn set_record(&mut self, record: Option<RecordSpec>) {
        if self.record == record {
            return;
        }
        self.output
            .end_recording(self.newest.map(|newest| newest.pts_ns));
        self.record = record;
        let Some(spec) = &self.record else { return };
        let place = Place {
            stream: self.stream.clone(),
            run: self.directory.clone(),
            spec: spec.clone(),
        };
        let control = self.control.clone();
        let tell = move |news| control.send(news);
        match Recorder::start(place, SharedBook::clone(&self.book), tell) {
            Ok(recorder) => self.output.record(recorder),
            Err(error) => tracing::error!("nothing is recorded: no thread for it: {error}"),
        }
        self.ask_for_keyframe();
    }

    /// Keeps so much for the clips of events.
    pub(crate) fn keep_for_clips(&mut self, before_ns: Option<u64>) {
        if self.output.keep_for_clips(before_ns) {
            self.ask_for_keyframe();
        }
    }

    /// Hands access units to the gateway from now on.
    pub(crate) fn begin_restream(&mut self, restream: Restream) {
        self.output.restream_to(restream);
        self.ask_for_keyframe();
    }

    /// Hands none to it any more.
    pub(crate) fn end_restream(&self) {
        self.output.end_restream();
    }

    /// Pictures are encoded, and so must be drawn.
    pub(crate) fn is_wanted(&self) -> bool {
        self.encode.is_some()
    }

    /// The latency to be shown, in milliseconds, once one is known.
    pub(crate) fn latency_ms(&self) -> Option<u64> {
        self.output.latency_ms()
    }

    /// A picture for the encoder of the format of `header`, with the pixels of `frame` in their
    /// place; the frame's slot on the bus is free from then on.
    ///
    /// # Errors
    /// When the encoder cannot be made or has failed.
    pub(crate) fn take(
        &mut self,
        header: &Header,
        composition: &Composition,
        frame: FramePicture<'_>,
    ) -> Result<Picture, EncodeError> {
        let begin = Instant::now();
        self.prepare_encoder(header)?;
        let Some(encoder) = &self.encoder else {
            return Err(EncodeError::Pipeline("there is no encoder".to_owned()));
        };
        let mut picture = encoder.picture()?;
        let waited = Instant::now();
        picture.with_bytes(|memory| composition.copy(frame.bytes(), memory))?;
        drop(frame);
        self.costs.wait += waited - begin;
        self.costs.copy += waited.elapsed();
        Ok(picture)
    }

    /// Gives the picture its place on the encoder's time line. What events of its frame are
    /// about comes between this and [`Video::push`].
    pub(crate) fn place(&mut self, header: &Header) -> PictureInfo {
        let stamp = &header.stamp;
        let (pts_ns, captured_ns) = (stamp.pts_ns, stamp.captured_ns);
        self.place_at(pts_ns, captured_ns, stamp.discontinuity, header.wall_ms)
    }

    /// The same of one that is not ours: its event time, when it was captured, whether it
    /// follows an interruption.
    pub(crate) fn place_at(
        &mut self,
        source_pts_ns: u64,
        captured_ns: u64,
        discontinuity: bool,
        wall_ms: i64,
    ) -> PictureInfo {
        let pts_ns = self
            .timeline
            .place(source_pts_ns, captured_ns, discontinuity);
        let placed = PictureInfo {
            pts_ns,
            source_pts_ns,
            captured_ns,
            wall_ms,
        };
        self.newest = Some(placed);
        placed
    }

    /// What takes access units.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Hands a drawn picture to the encoder.
    ///
    /// # Errors
    /// When the encoder has failed or hangs.
    pub(crate) fn push(
        &mut self,
        picture: Picture,
        placed: PictureInfo,
    ) -> Result<(), EncodeError> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        let begin = Instant::now();
        if self.output.expect(placed) {
            encoder.ask_for_keyframe();
        }
        encoder.push(picture, placed.pts_ns)?;
        self.costs.frames += 1;
        self.costs.wait += begin.elapsed();
        Ok(())
    }

    /// So long was drawn.
    pub(crate) fn note_drawing(&mut self, took: Duration) {
        self.costs.draw += took;
    }

    /// Begins the clip of an event that begins with the newest picture; returns its path.
    /// `None`, with a word in the log, when there can be none.
    pub(crate) fn begin_clip(
        &mut self,
        event: &str,
        path: String,
        (before_ns, after_ns): (u64, u64),
    ) -> Option<String> {
        let newest = self.newest;
        let newest = newest.filter(|_| self.encode.is_some() || self.passes_on);
        let Some(newest) = newest else {
            tracing::warn!("`{event}` has no clip: the stream is not encoded");
            return None;
        };
        if !self.output.has_room_for_clip() {
            tracing::warn!("`{event}` has no clip: too many are written at the same time");
            return None;
        }
        let of = ClipOf {
            event: event.to_owned(),
            begin_ns: newest.pts_ns,
            before_ns,
            after_ns,
        };
        let first = self.output.first_of_clip(of.begin_ns, before_ns);
        let first = first.unwrap_or(newest);
        let film = self.open_clip(path, &first)?;
        let path = film.path().to_owned();
        self.output.begin_clip(of, film);
        Some(path)
    }

    /// The event of a clip has ended at this event time.
    pub(crate) fn end_clip(&self, event: &str, end_pts_ns: u64) {
        if let Some(newest) = self.newest {
            // An event ends in the past, and on the time line of its newest picture.
            let ago_ns = newest.source_pts_ns.saturating_sub(end_pts_ns);
            let end_ns = newest.pts_ns.saturating_sub(ago_ns);
            self.output.end_clip(event, end_ns);
        }
    }

    /// Looks for failures of other threads, and for files that are closed by now.
    ///
    /// # Errors
    /// When the encoder or the bus has failed.
    pub(crate) fn poll(&mut self, now_ns: u64) -> Result<(), Failure> {
        if let Some(error) = self.encoder.as_ref().and_then(Ladder::error)
            && !self.give_up_hardware(&error)
        {
            return Err(Failure::failed(error.to_string()));
        }
        if let Some(error) = self.output.bus_error() {
            return Err(bus_failure(&error));
        }
        for finished in self.output.finished(now_ns) {
            self.report_finished(finished);
        }
        self.report_recording();
        Ok(())
    }

    /// The stream has ended: encodes and writes what is left.
    ///
    /// # Errors
    /// When the bus has failed.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.close_encoder(FINISH_TIMEOUT);
        self.finish_files(FINISH_TIMEOUT);
        self.costs.log();
        let ended = self.output.end_of_stream();
        ended.map_err(|error| bus_failure(&error))
    }

    /// The worker has to leave at once: files are closed if that is quickly done.
    pub(crate) fn abandon(&mut self) {
        self.close_encoder(ABANDON_TIMEOUT);
        self.finish_files(ABANDON_TIMEOUT);
    }

    fn ask_for_keyframe(&mut self) {
        if let Some(encoder) = &mut self.encoder {
            encoder.ask_for_keyframe();
        }
    }

    /// The encoder for pictures of this format.
    fn prepare_encoder(&mut self, header: &Header) -> Result<(), EncodeError> {
        let known = self.encoder.as_ref().map(Ladder::format);
        if known == Some(&header.format) {
            return Ok(());
        }
        self.close_encoder(FINISH_TIMEOUT);
        let Some(spec) = &self.encode else {
            return Ok(());
        };
        let output = self.output.clone();
        let take = move |unit| output.take(unit);
        self.encoder = Some(Ladder::new(spec, self.element, header.format, take)?);
        Ok(())
    }

    /// Opens the file of a clip and reports that it is begun.
    fn open_clip(&self, path: String, first: &PictureInfo) -> Option<ClipFilm> {
        let record = FileRecord {
            stream: self.stream.clone(),
            kind: FileKind::Clip,
            path,
            state: FileState::Open,
            begin_wall_ms: first.wall_ms,
            begin_pts_ns: first.source_pts_ns,
            content: FileContent::default(),
        };
        match ClipFilm::start(&self.directory, record.clone()) {
            Ok(film) => {
                self.control.send(FromWorker::File(Box::new(record)));
                Some(film)
            }
            Err(error) => {
                tracing::error!("{error}; the video goes on without this file");
                None
            }
        }
    }

    fn close_encoder(&mut self, timeout: ClockTime) {
        if let Some(encoder) = self.encoder.take()
            && let Err(error) = encoder.finish(timeout)
        {
            tracing::error!("{error}; the last frames are missing");
        }
        self.output.end_files();
    }

    fn finish_files(&mut self, timeout: ClockTime) {
        for finished in self.output.finish_files(timeout.into()) {
            self.report_finished(finished);
        }
        self.report_recording();
    }

    fn report_finished(&self, finished: Finished) {
        if let Some(error) = finished.error {
            tracing::error!("{error}; the file plays up to there, the video goes on");
        }
        self.control
            .send(FromWorker::File(Box::new(finished.record)));
    }

    fn report_recording(&self) {
        for news in self.output.recording_news() {
            self.control.send(news);
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
