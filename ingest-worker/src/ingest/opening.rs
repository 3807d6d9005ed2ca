//! Opening a session, and going on with a source where an earlier life of the worker ended.

use std::time::{Duration, Instant};

use contract::ledger::IngestCounters;
use contract::spec::SourceSpec;

use super::{Ingest, close};
use crate::decoder;
use crate::description::time_of_frame;
use crate::fault::Fault;
use crate::passthrough::Skip;
use crate::pipeline::{Pipeline, Plan};
use crate::session::Event;
use crate::timeline::Timeline;

/// A file whose first picture is not there by then, on a disk that hangs say, is given up.
const PREROLL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a file that is being opened is looked at: it takes some tens of milliseconds.
const PREROLL_TURN: Duration = Duration::from_millis(5);
/// A pipeline that does nothing for so long while it is opened will not do anything more.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

impl Ingest {
    /// Opens a session, or lets the one that was opened ahead begin.
    pub(super) fn open(&mut self) -> Option<Event> {
        let opened = match &self.pipeline {
            Some(pipeline) => pipeline.play(),
            None if self.nature.camera => self.open_session(),
            None => match self.open_ahead() {
                Ok(true) => self.pipeline.as_ref().map_or(Ok(()), Pipeline::play),
                Ok(false) => Ok(()),
                Err(fault) => Err(fault),
            },
        };
        opened.err().map(|fault| self.failed(fault))
    }

    fn open_session(&mut self) -> Result<(), Fault> {
        let counters = self.output.book().counters();
        let plan = Plan {
            source: self.transport.applied_to(&self.spec.source),
            resume_at: taken(&counters),
            bound: self.spec.frames.size,
            size: self.size,
            ports: self.ports.clone(),
        };
        if let Some(passthrough) = &self.ports.passthrough {
            passthrough.begin_session();
        }
        self.discontinuity = counters.published > 0;
        self.output.book().update(|book| book.sessions += 1);
        self.pipeline = Some(Pipeline::open(&plan)?);
        Ok(())
    }

    /// Opens a file or pattern up to its first picture, in the right place. False when the
    /// worker was told to stop meanwhile.
    pub(super) fn open_ahead(&mut self) -> Result<bool, Fault> {
        match self.try_open_ahead() {
            Err(Fault::HardwareDecoder(detail)) => {
                self.give_up_hardware(&detail);
                self.try_open_ahead()
            }
            opened => opened,
        }
    }

    pub(super) fn give_up_hardware(&mut self, detail: &str) {
        tracing::warn!(detail, "going on with a software decoder");
        decoder::prefer_hardware(false);
        self.abandon();
    }

    /// Closes a session that another takes the place of at once.
    pub(super) fn abandon(&mut self) {
        if let Some(pipeline) = self.pipeline.take() {
            self.closing.push(close(pipeline));
        }
    }

    fn try_open_ahead(&mut self) -> Result<bool, Fault> {
        self.open_session()?;
        if !self.preroll()? {
            return Ok(false);
        }
        let taken = taken(&self.output.book().counters());
        let picture = self.pipeline.as_ref().and_then(Pipeline::picture);
        let fps = picture.map_or(0.0, |picture| picture.fps);
        if taken == 0 || self.nature.clocked {
            return Ok(true);
        }
        if self.nature.seekable && !self.nature.repeat {
            return self.resume_file(taken, fps);
        }
        // Patterns and repeated files have no place to go on at, but time goes on.
        let fps = if let SourceSpec::Test { fps, .. } = self.spec.source {
            f64::from(fps)
        } else {
            fps
        };
        let begin_ns = time_of_frame(taken, fps).unwrap_or(0);
        self.timeline = Timeline::new(begin_ns);
        if let Some(passthrough) = &self.ports.passthrough {
            passthrough.go_on_at(begin_ns);
        }
        Ok(true)
    }

    /// Goes to frame `taken` of a file: exactly where its rate is constant, else where that
    /// frame would be if it were.
    fn resume_file(&mut self, taken: u64, fps: f64) -> Result<bool, Fault> {
        let Some(time_ns) = time_of_frame(taken, fps) else {
            self.skip(0, taken);
            return Ok(true);
        };
        // A seek gives the picture that is shown at a time, dated at that time. A quarter of
        // a frame too early that is the one before, which is then told by its date.
        let interval_ns = time_of_frame(1, fps).unwrap_or(0);
        let target = Duration::from_nanos(time_ns.saturating_sub(interval_ns / 4));
        let sought = self.pipeline.as_ref().is_some_and(|open| open.seek(target));
        if !sought {
            self.skip(0, taken);
            return Ok(true);
        }
        self.skip(time_ns.saturating_sub(interval_ns / 8), 0);
        self.preroll()
    }

    /// What is before this time, and so many, were taken in an earlier life.
    fn skip(&mut self, before_ns: u64, frames: u64) {
        (self.skip_before_ns, self.skip_frames) = (before_ns, frames);
        if let Some(passthrough) = &self.ports.passthrough {
            passthrough.skip(Skip {
                before_ns,
                units: frames,
            });
        }
    }

    /// Waits for the first picture. False when the worker was told to stop.
    fn preroll(&mut self) -> Result<bool, Fault> {
        let begin = Instant::now();
        let mut idle_since = None;
        loop {
            self.output.book().tick();
            if let Some(prerolled) = self.pipeline.as_ref().and_then(Pipeline::prerolled) {
                return prerolled.map(|()| true);
            }
            if self.pipeline.as_ref().is_some_and(Pipeline::idle) {
                let since: Instant = *idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() > IDLE_TIMEOUT {
                    let detail = "its content is damaged or cut off: nothing in it can be played";
                    return Err(Fault::Lost(detail.to_owned()));
                }
            } else {
                idle_since = None;
            }
            if begin.elapsed() > PREROLL_TIMEOUT {
                let detail = format!("no picture within {} s", PREROLL_TIMEOUT.as_secs());
                return Err(Fault::Lost(detail));
            }
            if self.told_to_stop(PREROLL_TURN) {
                return Ok(false);
            }
        }
    }
}

/// What was taken of a source in all lives of this worker: frames, or access units where nothing
/// is decoded.
fn taken(counters: &IngestCounters) -> u64 {
    counters.captured.max(counters.units)
}
