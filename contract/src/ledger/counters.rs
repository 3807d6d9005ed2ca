//! The counters of each kind of worker.

use serde::{Deserialize, Serialize};

use super::{Counters, Imbalance, WORDS_MAX};

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $name {
            const FIELD_NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            fn words(&self) -> [u64; WORDS_MAX] {
                let mut words = [0; WORDS_MAX];
                for (word, value) in words.iter_mut().zip([$(self.$field),*]) {
                    *word = value;
                }
                words
            }

            fn of_words(words: &[u64]) -> Self {
                let mut words = words.iter().copied();
                Self { $($field: words.next().unwrap_or(0),)* }
            }
        }

        const _: () = assert!($name::FIELD_NAMES.len() <= WORDS_MAX);
    };
}

macro_rules! word_methods {
    () => {
        const NAMES: &'static [&'static str] = Self::FIELD_NAMES;

        fn to_words(&self) -> [u64; WORDS_MAX] {
            self.words()
        }

        fn from_words(words: &[u64]) -> Self {
            Self::of_words(words)
        }
    };
}

pub(super) use {counters, word_methods};

pub(super) fn no_more(equation: &'static str, out: u64, come_in: u64) -> Result<(), Imbalance> {
    if out <= come_in {
        return Ok(());
    }
    Err(Imbalance {
        equation,
        left: come_in,
        right: out,
    })
}

counters! {
    /// `captured = published + dropped_no_slot + dropped_invalid + dropped_stopping + lost + in flight`;
    /// and of a source that is published to the gateway ([`IntakeCounters`]),
    /// `published = chunks_received + chunks_overflowed + chunks_passed_over + in flight`.
    /// Access units that are handed on undecoded are no frames, and enter no sum of frames.
    IngestCounters {
        /// Frames the decoder gave.
        captured,
        /// Frames put on the bus; also the next sequence number.
        published,
        /// No free slot on the bus: every slot was held by a consumer.
        dropped_no_slot,
        /// The decoder's frame was of a size or layout that cannot be published.
        dropped_invalid,
        /// Decoded after the order to drain.
        dropped_stopping,
        /// Inside the worker when it was killed.
        lost,
        /// Sessions opened with the source; every one after the first is a reconnect.
        sessions,
        /// Times the decoder or the source reported an error.
        source_errors,
        /// Notifications sent to consumers.
        wakeups_sent,
        /// Times the source changed the size of its pictures; frames stay at the stream's size.
        size_changes,
        /// Number expected of the next chunk: all below are received, overflowed or passed over.
        chunks_next,
        /// Chunks taken from the bus and demultiplexed.
        chunks_received,
        /// Chunks overwritten on the bus before they were taken.
        chunks_overflowed,
        /// Chunks published while this worker, or the gateway, was dead, starting or ending.
        chunks_passed_over,
        /// Passthrough: access units put on the bus; also the next sequence number.
        units,
        /// Bytes of those.
        units_bytes,
    }
}

impl Counters for IngestCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.captured.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {
        self.lost += self.in_flight();
    }

    fn check(&self) -> Result<(), Imbalance> {
        no_more(
            "captured = published + dropped + lost + in flight",
            self.accounted(),
            self.captured,
        )?;
        let taken = self.chunks_received + self.chunks_overflowed + self.chunks_passed_over;
        if self.chunks_next == taken {
            return Ok(());
        }
        Err(Imbalance {
            equation: "next chunk = chunks received + overflowed + passed over",
            left: self.chunks_next,
            right: taken,
        })
    }
}

impl IngestCounters {
    fn accounted(&self) -> u64 {
        self.published
            + self.dropped_no_slot
            + self.dropped_invalid
            + self.dropped_stopping
            + self.lost
    }

    /// All frames dropped before the bus, whatever the reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_no_slot + self.dropped_invalid + self.dropped_stopping
    }
}

counters! {
    /// `received = inferred + gated + stale + shed + failed + lost_in_worker + in flight`, and
    /// `published = received + overflowed + lost_in_transit + in flight` for the stream it reads.
    InferCounters {
        /// Sequence number expected next: all below are received, overflowed or lost in transit.
        next_sequence,
        /// Frames taken from the bus.
        received,
        /// Frames overwritten or discarded on the bus before they were taken.
        overflowed,
        /// Frames published while this worker, or the producer, was dead or starting.
        lost_in_transit,
        /// Frames the model ran on.
        inferred,
        /// Frames the gate held back.
        gated,
        /// Frames older than `max_staleness` when their turn came.
        stale,
        /// Frames a newer one took the place of.
        shed,
        /// Frames the model failed on.
        failed,
        /// Inside the worker when it was killed.
        lost_in_worker,
        /// Objects found.
        detections,
        /// Microseconds spent in the model.
        model_us,
        /// Microseconds spent making tensors and decoding outputs.
        conversion_us,
        /// Of each frame the model ran on, how many shared its run, this one among them: divided
        /// by `inferred`, the mean batch that a frame was in.
        batch_frames,
    }
}

impl Counters for InferCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {
        self.lost_in_worker += self.in_flight();
    }

    fn check(&self) -> Result<(), Imbalance> {
        no_more(
            "received = inferred + gated + stale + shed + failed + lost + in flight",
            self.accounted(),
            self.received,
        )?;
        taken_in_order(
            self.next_sequence,
            self.received,
            self.overflowed,
            self.lost_in_transit,
        )
    }
}

impl InferCounters {
    fn accounted(&self) -> u64 {
        self.inferred + self.gated + self.stale + self.shed + self.failed + self.lost_in_worker
    }

    /// Frames of this stream that were not inferred, whatever the reason, gates aside.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.overflowed + self.stale + self.shed + self.failed
    }
}

counters! {
    /// `received = rendered + dropped_encoder + dropped_invalid + lost_in_worker + in flight`,
    /// `published = received + overflowed + lost_in_transit + in flight` for the stream it reads,
    /// `encoded = recorded + unrecorded_off + unrecorded_disk + unrecorded_slow + unrecorded_lost + in flight`,
    /// `units_received = units_passed + units_resync` where the source's own are handed on, and
    /// `shots_ended = shots_written + shots_poor + shots_dropped + shots_failed + shots_lost + in flight`.
    RenderCounters {
        /// Sequence number expected next: all below are received, overflowed or lost in transit.
        next_sequence,
        /// Frames taken from the bus.
        received,
        /// Frames overwritten or discarded on the bus before they were taken.
        overflowed,
        /// Frames published while this worker, or the producer, was dead or starting.
        lost_in_transit,
        /// Frames tracked, drawn and handed to the encoder.
        rendered,
        /// Frames the encoder refused.
        dropped_encoder,
        /// Frames whose header or payload did not hold together.
        dropped_invalid,
        /// Inside the worker when it was killed.
        lost_in_worker,
        /// Of the rendered: with detections of every model that ran on them.
        with_results,
        /// Of the rendered: at least one model had not answered inside `max_latency`.
        without_results,
        /// Results that came after their frame had gone on.
        late_results,
        /// Frames carried by predicted boxes only.
        coasted,
        /// Tracks begun.
        tracks,
        /// Rule firings.
        events,
        /// Access units the encoders gave, those of all qualities, or those of the source that were
        /// handed on.
        encoded,
        /// Bytes of those.
        encoded_bytes,
        /// Rows for the database that were given up because the supervisor did not read.
        records_dropped,
        /// Rule firings that a `limit` or a flood limit held back.
        events_suppressed,
        /// Tracks seen or predicted now; gates read it.
        tracks_now,
        /// Rules' events that last now; gates read it.
        events_now,
        /// Tracks that have ended, of those whose best picture is wanted.
        shots_ended,
        /// Of those, best pictures that were written.
        shots_written,
        /// Tracks of which no picture was good enough.
        shots_poor,
        /// More tracks at once, or more ends at once, than pictures are kept of.
        shots_dropped,
        /// Pictures that the disk refused.
        shots_failed,
        /// Pictures that waited to be written when the worker was killed.
        shots_lost,
        /// Access units that are in a recording.
        recorded,
        /// Access units that no recording was asked for, up to its first key frame, and those of
        /// lower qualities.
        unrecorded_off,
        /// Access units that the disk refused.
        unrecorded_disk,
        /// Access units that found no room in front of a slow disk.
        unrecorded_slow,
        /// Access units that waited to be written when the worker was killed.
        unrecorded_lost,
        /// Passthrough: number expected of the source's next access unit.
        units_next,
        /// Access units of the source taken from the bus.
        units_received,
        /// Those overwritten on the bus before they were taken.
        units_overflowed,
        /// Those published while this worker, or the producer, was dead or starting.
        units_lost,
        /// Those received that were handed on; they are `encoded` as well.
        units_passed,
        /// Those received that were passed over up to the next key frame: what they refer to is missing.
        units_resync,
    }
}

impl Counters for RenderCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {
        self.lost_in_worker += self.in_flight();
        self.shots_lost += self.shots_in_flight();
        self.unrecorded_lost += self.recording_in_flight();
        // Gauges of a process that is no more.
        self.tracks_now = 0;
        self.events_now = 0;
    }

    fn check(&self) -> Result<(), Imbalance> {
        no_more(
            "received = rendered + dropped + lost + in flight",
            self.accounted(),
            self.received,
        )?;
        no_more(
            "shots ended = written + poor + dropped + failed + lost + in flight",
            self.shots_accounted(),
            self.shots_ended,
        )?;
        no_more(
            "encoded = recorded + unrecorded + in flight",
            self.recording_accounted(),
            self.encoded,
        )?;
        taken_in_order(
            self.units_next,
            self.units_received,
            self.units_overflowed,
            self.units_lost,
        )?;
        let units = self.units_passed + self.units_resync;
        if self.units_received != units {
            return Err(Imbalance {
                equation: "access units received = handed on + passed over up to a key frame",
                left: self.units_received,
                right: units,
            });
        }
        taken_in_order(
            self.next_sequence,
            self.received,
            self.overflowed,
            self.lost_in_transit,
        )
    }
}

impl RenderCounters {
    fn accounted(&self) -> u64 {
        self.rendered + self.dropped_encoder + self.dropped_invalid + self.lost_in_worker
    }

    fn shots_accounted(&self) -> u64 {
        self.shots_written
            + self.shots_poor
            + self.shots_dropped
            + self.shots_failed
            + self.shots_lost
    }

    fn recording_accounted(&self) -> u64 {
        self.recorded
            + self.unrecorded_off
            + self.unrecorded_disk
            + self.unrecorded_slow
            + self.unrecorded_lost
    }

    /// Access units that wait to be written.
    #[must_use]
    pub fn recording_in_flight(&self) -> u64 {
        self.encoded.saturating_sub(self.recording_accounted())
    }

    /// Best pictures that wait to be written.
    #[must_use]
    pub fn shots_in_flight(&self) -> u64 {
        self.shots_ended.saturating_sub(self.shots_accounted())
    }
}

counters! {
    /// `asked = published + dropped`, and
    /// `published = answered + skipped + expired + lost + in flight`.
    CropCounters {
        /// Crops that rules and cascades asked for.
        asked,
        /// Crops put on the bus; also the next sequence number.
        published,
        /// As many crops were unanswered as may be.
        dropped_busy,
        /// No free slot on the bus.
        dropped_no_slot,
        /// Too little of the object was inside the frame.
        dropped_empty,
        /// The model ran, and the answer became an attribute.
        answered,
        /// The model did not run.
        skipped,
        /// No answer came inside `max_latency`, or before the stream or the rule ended.
        expired,
        /// Unanswered when the worker was killed.
        lost,
    }
}

impl Counters for CropCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.published.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {
        self.lost += self.in_flight();
    }

    fn check(&self) -> Result<(), Imbalance> {
        let gone = self.published + self.dropped();
        if self.asked != gone {
            return Err(Imbalance {
                equation: "crops asked = published + dropped",
                left: self.asked,
                right: gone,
            });
        }
        no_more(
            "crops published = answered + skipped + expired + lost + in flight",
            self.accounted(),
            self.published,
        )
    }
}

impl CropCounters {
    fn accounted(&self) -> u64 {
        self.answered + self.skipped + self.expired + self.lost
    }

    /// Crops that were not published, whatever the reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_busy + self.dropped_no_slot + self.dropped_empty
    }
}

counters! {
    /// `received` access units are forwarded to viewers or dropped until the next key frame.
    GatewayCounters {
        /// Sequence number expected next.
        next_sequence,
        /// Access units taken from the bus.
        received,
        /// Access units overwritten on the bus before they were taken.
        overflowed,
        /// Access units produced while the gateway or the producer was dead or starting.
        lost_in_transit,
        /// Access units handed to at least one viewer.
        forwarded,
        /// Access units nobody watched.
        unwatched,
        /// Access units passed over while waiting for a key frame after a gap.
        dropped_resync,
        /// Access units that none of those who watch took in time.
        dropped_slow,
        /// Viewers connected now.
        viewers,
        /// Viewers ever connected.
        viewers_total,
        /// Access units that slow viewers, and those it is pushed to, passed over, each counted for itself.
        skipped_by_viewers,
        /// To how many it is pushed now.
        pushes,
        /// How often a push has begun.
        pushes_total,
        /// Inside the worker when it was killed.
        lost_in_worker,
    }
}

impl Counters for GatewayCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {
        self.lost_in_worker += self.in_flight();
        self.viewers = 0;
        self.pushes = 0;
    }

    fn check(&self) -> Result<(), Imbalance> {
        no_more(
            "received = forwarded + unwatched + dropped + lost + in flight",
            self.accounted(),
            self.received,
        )?;
        taken_in_order(
            self.next_sequence,
            self.received,
            self.overflowed,
            self.lost_in_transit,
        )
    }
}

impl GatewayCounters {
    fn accounted(&self) -> u64 {
        self.forwarded
            + self.unwatched
            + self.dropped_resync
            + self.dropped_slow
            + self.lost_in_worker
    }
}

counters! {
    /// `received = published + lost_in_worker + in flight`, of chunks: what a sender has sent within
    /// some milliseconds, or the mark of its coming or going.
    IntakeCounters {
        /// Chunks begun.
        received,
        /// Chunks put on the bus; also the number of the next.
        published,
        /// Inside the worker when it was killed.
        lost_in_worker,
        /// Messages of senders in these chunks; access units of those who send such.
        messages,
        /// Bytes of those.
        bytes,
        /// Messages of senders that never came, came too late, or found no room while their
        /// stream was made; access units that what was lost makes useless, and too large ones.
        missed,
        /// Senders connected now: 0 or 1.
        senders,
        /// Senders ever connected.
        senders_total,
    }
}

impl Counters for IntakeCounters {
    word_methods!();

    fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.accounted())
    }

    fn settle(&mut self) {
        self.lost_in_worker += self.in_flight();
        self.senders = 0;
    }

    fn check(&self) -> Result<(), Imbalance> {
        no_more(
            "chunks received = published + lost + in flight",
            self.accounted(),
            self.received,
        )
    }
}

impl IntakeCounters {
    fn accounted(&self) -> u64 {
        self.published + self.lost_in_worker
    }
}

fn taken_in_order(
    next_sequence: u64,
    received: u64,
    overflowed: u64,
    lost_in_transit: u64,
) -> Result<(), Imbalance> {
    let taken = received + overflowed + lost_in_transit;
    if next_sequence == taken {
        return Ok(());
    }
    Err(Imbalance {
        equation: "next sequence number = received + overflowed + lost in transit",
        left: next_sequence,
        right: taken,
    })
}
