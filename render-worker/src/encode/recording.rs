//! Fragmented MP4 that plays whatever happened to its writer.
//!
//! A pipeline of its own, `appsrc ! h264parse ! mp4mux ! filesink`, so that a full
//! disk ends the recording and not the video. The index is written first and each
//! fragment, a second of video, is complete in itself; `filesink` writes through,
//! so a kill costs the fragment that was being collected and nothing before it.

use std::path::{Path, PathBuf};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::{AccessUnit, EncodeError, describe, make, wait_for_end};

/// A kill costs at most so much video.
const FRAGMENT_MS: u32 = 1000;
/// A disk that is this far behind is too slow, and the recording ends: about ten seconds at 10 Mbit/s.
const QUEUED_BYTES_MAX: u64 = 12 << 20;

/// A recording being written.
#[derive(Debug)]
pub struct Recording {
    pipeline: gst::Pipeline,
    source: AppSrc,
    path: PathBuf,
    /// A file begins at zero, also one that is begun in the middle of a stream.
    begin: Option<gst::ClockTime>,
    frames: u64,
    queued_bytes_max: u64,
}

impl Recording {
    /// Opens the file; its directory is made when missing.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn start(path: &Path) -> Result<Self, EncodeError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| failed(path, &error))?;
        }
        let caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        let source = AppSrc::builder()
            .caps(&caps)
            .format(gst::Format::Time)
            .block(false)
            // The bound is checked before each push: a missing access unit would spoil what follows.
            .max_bytes(0)
            .build();
        let parser = make("h264parse")?;
        let muxer = make("mp4mux")?;
        muxer.set_property("fragment-duration", FRAGMENT_MS);
        let sink = make("filesink")?;
        sink.set_property("location", path);
        sink.set_property_from_str("buffer-mode", "unbuffered");
        sink.set_property("sync", false);
        sink.set_property("async", false);
        let pipeline = gst::Pipeline::with_name("the recording");
        let chain = [source.upcast_ref(), &parser, &muxer, &sink];
        pipeline
            .add_many(chain)
            .and_then(|()| gst::Element::link_many(chain))
            .map_err(|error| failed(path, &error))?;
        let recording = Self {
            pipeline,
            source,
            path: path.to_owned(),
            begin: None,
            frames: 0,
            queued_bytes_max: QUEUED_BYTES_MAX,
        };
        // Opening the file is part of this: a directory without permission is known now.
        match recording.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(recording),
            Err(error) => Err(recording.error().unwrap_or_else(|| failed(path, &error))),
        }
    }

    /// Where it is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Access units in it.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Lets so many bytes more wait for the disk: those that are handed over at once at the begin.
    pub fn allow_more(&mut self, bytes: u64) {
        self.queued_bytes_max += bytes;
    }

    /// Adds an access unit; the first must be a key frame. Never waits for the disk.
    ///
    /// # Errors
    /// When the disk is too slow or the recording has failed before.
    pub fn push(&mut self, unit: &AccessUnit) -> Result<(), EncodeError> {
        if let Some(error) = self.error() {
            return Err(error);
        }
        if self.source.current_level_bytes() > self.queued_bytes_max {
            let reason = format!(
                "the disk is too slow: {} MB wait to be written",
                self.queued_bytes_max >> 20
            );
            return Err(failed(&self.path, &reason));
        }
        let pts = gst::ClockTime::from_nseconds(unit.pts_ns);
        let pts = pts.saturating_sub(*self.begin.get_or_insert(pts));
        let mut buffer = unit.buffer.clone();
        {
            // Only the description is copied, not the data.
            let buffer = buffer.make_mut();
            buffer.set_pts(pts);
            buffer.set_dts(pts);
        }
        self.source
            .push_buffer(buffer)
            .map_err(|error| self.error().unwrap_or_else(|| failed(&self.path, &error)))?;
        self.frames += 1;
        Ok(())
    }

    /// No access unit comes any more: writes what is still to be written, without waiting for
    /// it. [`Recording::ended`] says when that is done.
    ///
    /// # Errors
    /// When the recording has failed before.
    pub fn end(&self) -> Result<(), EncodeError> {
        self.source
            .end_of_stream()
            .map(drop)
            .map_err(|error| self.error().unwrap_or_else(|| failed(&self.path, &error)))
    }

    /// Whether the file is closed, waiting for it `timeout` at most. What is in the file stays
    /// playable whatever this says.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn ended(&self, timeout: gst::ClockTime) -> Result<bool, EncodeError> {
        let ended = wait_for_end(&self.pipeline, timeout);
        ended.map_err(|error| failed(&self.path, &error))
    }

    /// Writes what is still to be written and closes the file; returns how many frames it has.
    ///
    /// # Errors
    /// When that failed or took longer than `timeout`; what is in the file stays playable.
    pub fn finish(self, timeout: gst::ClockTime) -> Result<u64, EncodeError> {
        self.end()?;
        if self.ended(timeout)? {
            return Ok(self.frames);
        }
        let reason = format!("it did not end in {timeout}");
        Err(failed(&self.path, &reason))
    }

    fn error(&self) -> Option<EncodeError> {
        let message = self
            .pipeline
            .bus()?
            .pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(failed(&self.path, &describe(error))),
            _ => None,
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn failed(path: &Path, reason: &dyn std::fmt::Display) -> EncodeError {
    EncodeError::Pipeline(format!("cannot record to `{}`: {reason}", path.display()))
}
