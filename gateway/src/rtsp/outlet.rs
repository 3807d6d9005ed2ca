//! From a stream's channel to the media of its mount.

use std::time::{Duration, Instant};

use contract::name::StreamName;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::server::Mount;
use crate::channel::{AccessUnit, Channel};
use crate::timeline::Timeline;

/// Media time queued before the payloader; more means that no viewer takes anything.
const QUEUE_TIME_MAX: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// Bytes queued before the payloader: two groups of pictures of the largest size.
const QUEUE_BYTES_MAX: u64 = 16 << 20;

/// Who asks for a stream waits so long for its key frame. The server library would wait 20 s.
const KEY_FRAME_WAIT_MAX: Duration = Duration::from_secs(10);

/// Hands the access units of one stream to the media that its viewers share.
pub(crate) struct Outlet {
    stream: StreamName,
    channel: Channel,
    mount: Mount,
    output: Option<Output>,
}

/// The ways an access unit can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// To at least one viewer.
    Forwarded,
    /// Nobody watches.
    Unwatched,
    /// It does not continue what viewers have.
    Resync,
    /// Those who watch do not take it in time.
    Slow,
}

/// What is known of the media that is fed.
struct Output {
    source: AppSrc,
    playing: bool,
    timeline: Timeline,
    opened_at: Instant,
    /// Number of the last access unit handed over.
    last_sequence: Option<u64>,
    /// Everything since a key frame was handed over, so that the next access unit can be decoded.
    linked: bool,
    /// Number of the last access unit that was dropped because the queue was full: the group it
    /// belongs to is not whole.
    dropped: Option<u64>,
    /// The queue was full when it was last looked at.
    stalled: bool,
}

impl Outlet {
    /// Serves a stream at `mount`, once [`Outlet::show`] has opened it.
    pub(crate) fn new(stream: StreamName, channel: Channel, mount: Mount) -> Self {
        Self {
            stream,
            channel,
            mount,
            output: None,
        }
    }

    /// Opens the mount.
    pub(crate) fn show(&self) {
        self.mount.open();
    }

    /// Closes the mount: who watches is sent home.
    pub(crate) fn retire(&mut self) {
        let waits = |output: &Output| output.last_sequence.is_none();
        if self.output.as_ref().is_some_and(waits) {
            // Nobody plays it yet: a DESCRIBE waits for the first key frame.
            let stream = &self.stream;
            self.mount
                .refuse_media(&format!("stream {stream} is not served any more"));
        }
        self.mount.close();
        self.output = None;
    }

    /// Sends the viewers home; the mount stays.
    pub(crate) fn close(&mut self) {
        self.mount.end_media();
        self.output = None;
    }

    /// Whatever comes next does not continue what was before.
    pub(crate) fn unlink(&mut self) {
        if let Some(output) = &mut self.output {
            output.linked = false;
        }
    }

    /// Somebody plays the stream, or asks for it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.output.is_some()
    }

    /// Viewers now, and viewers ever.
    pub(crate) fn viewers(&self) -> (u64, u64) {
        self.mount.viewers()
    }

    /// Hands over an access unit, which is in the channel already.
    pub(crate) fn hand_over(&mut self, unit: &AccessUnit) -> Fate {
        let Some(output) = self.output.as_mut().filter(|output| output.playing) else {
            return Fate::Unwatched;
        };
        let room = output.has_room();
        if output.stalled == room {
            output.stalled = !room;
            if room {
                self.mount.show_media();
            } else {
                tracing::warn!(stream = %self.stream, "no viewer takes anything");
                self.mount.hide_media();
            }
        }
        if !room {
            output.linked = false;
            output.dropped = Some(unit.sequence_number);
            return Fate::Slow;
        }
        if output.linked {
            output.push_live(unit);
            return Fate::Forwarded;
        }
        if output.push_group(&self.channel) {
            Fate::Forwarded
        } else {
            Fate::Resync
        }
    }

    /// Sees which media there is, and begins it as soon as there is something to begin with.
    pub(crate) fn follow_media(&mut self) {
        let Some(media) = self.mount.media() else {
            self.output = None;
            return;
        };
        let known = self
            .output
            .take()
            .filter(|output| output.source == media.source);
        let mut output = known.unwrap_or_else(|| Output::new(media.source));
        output.playing = media.playing;
        output.linked &= media.playing;
        if output.playing && !output.linked {
            output.push_group(&self.channel);
        } else if output.last_sequence.is_none()
            && let Some(key_frame) = self.channel.group().first()
        {
            output.push_late(key_frame);
        }
        self.output = Some(output);
    }

    /// What happens when time goes by and nothing comes. `ended`: the stream has ended, and not
    /// just now.
    pub(crate) fn keep_time(&mut self, ended: bool) {
        let Some(output) = &self.output else {
            return;
        };
        if output.last_sequence.is_none() {
            // Nobody plays it yet: a DESCRIBE waits for the first key frame.
            let waited = output.opened_at.elapsed();
            if ended || waited > KEY_FRAME_WAIT_MAX {
                let stream = &self.stream;
                self.mount
                    .refuse_media(&format!("stream {stream} has no picture to show"));
                self.output = None;
            }
        } else if ended {
            self.close();
        }
    }
}

impl Output {
    fn new(source: AppSrc) -> Self {
        Self {
            source,
            playing: false,
            timeline: Timeline::default(),
            opened_at: Instant::now(),
            last_sequence: None,
            linked: false,
            dropped: None,
            stalled: false,
        }
    }

    fn has_room(&self) -> bool {
        self.source.current_level_time() < QUEUE_TIME_MAX
            && self.source.current_level_bytes() < QUEUE_BYTES_MAX
    }

    /// Hands over the whole group, but for what this media has had: its last access unit
    /// with the present time, those before it as quickly as may be. False when there is none.
    fn push_group(&mut self, channel: &Channel) -> bool {
        let group = channel.group();
        let whole = |key_frame: &AccessUnit| {
            self.dropped
                .is_none_or(|dropped| key_frame.sequence_number > dropped)
        };
        let Some((newest, older)) = group.split_last() else {
            return false;
        };
        if !whole(group.first().unwrap_or(newest)) {
            return false;
        }
        let had = |unit: &AccessUnit, last: Option<u64>| {
            last.is_some_and(|last| unit.sequence_number <= last)
        };
        for unit in older {
            if !had(unit, self.last_sequence) {
                self.push_late(unit);
            }
        }
        if !had(newest, self.last_sequence) {
            self.push_live(newest);
        }
        self.linked = true;
        true
    }

    fn push_live(&mut self, unit: &AccessUnit) {
        let now = self.source.current_running_time();
        let stamp_ns = self
            .timeline
            .live(unit.pts_ns, now.map_or(0, gst::ClockTime::nseconds));
        self.push(unit, stamp_ns);
    }

    fn push_late(&mut self, unit: &AccessUnit) {
        let stamp_ns = self.timeline.catching_up();
        self.push(unit, stamp_ns);
    }

    fn push(&mut self, unit: &AccessUnit, stamp_ns: u64) {
        // The bytes are shared, not copied.
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        if let Some(buffer) = buffer.get_mut() {
            let stamp = gst::ClockTime::from_nseconds(stamp_ns);
            buffer.set_pts(stamp);
            buffer.set_dts(stamp);
        }
        self.last_sequence = Some(unit.sequence_number);
        if let Err(error) = self.source.push_buffer(buffer) {
            tracing::debug!(?error, "the media is about to go");
        }
    }
}
