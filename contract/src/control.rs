//! The messages on the control channel, and how they are framed.
//!
//! The channel is a Unix stream socket pair that the supervisor makes before it
//! starts a worker; the worker has it as its standard input. A message is its length, four bytes little endian, and JSON.
//! End of file is the death signal in both directions.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::best_shot::BestShot;
use crate::detection::Skip;
use crate::event::Event;
use crate::geometry::{BoundingBox, PixelSize};
use crate::motion::Cells;
use crate::name::StreamName;
use crate::spec::{Role, WorkerSpec};
use crate::study::Answer;

/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// From supervisor to worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Always first.
    Configure(Box<WorkerSpec>),
    /// To ingest: all consumers are ready, publish. To an infer worker on standby
    /// ([`crate::spec::InferSpec::standby`]): its predecessor is gone, take over.
    Start,
    /// Go on with another spec of the same role, without losing a frame. The worker
    /// compares it with the one it has and answers with [`FromWorker::Reconfigured`].
    Reconfigure {
        /// Counts the texts that a run was given, from 0 at its start.
        generation: u64,
        /// What it does from now on.
        role: Box<Role>,
    },
    /// Account for what you have, then exit with [`crate::exit::WorkerExit::Drained`].
    ///
    /// Ingest stops at once and publishes the end of its stream; the others go
    /// on until the ends of their streams have reached them.
    Drain,
    /// The event with this id is committed.
    EventCommitted(String),
    /// To ingest: whether anybody asks for the stream. Nobody does until it is said. Means
    /// something to a source on demand only ([`crate::spec::IngestSpec::on_demand`]).
    Wanted(bool),
}

/// From worker to supervisor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// Configured; loading, connecting, running the model for the first time.
    Warming(String),
    /// Takes frames from now on; the text says with what (decoder, sessions, port).
    Ready(String),
    /// What is known of a source once its first frame is there.
    Source(SourceInfo),
    /// The state of the source has changed.
    SourceState {
        /// The new state.
        state: SourceState,
        /// What happened, with no secret in it.
        detail: String,
    },
    /// A rule fired or ended.
    Event(Box<Event>),
    /// What was seen in each of some frames, oldest first.
    Frames(Vec<FrameRecord>),
    /// The answer to [`ToWorker::Reconfigure`].
    Reconfigured {
        /// Which one.
        generation: u64,
        /// What was done, a line each: `rule loitering: state kept`; or why nothing was.
        result: Result<Vec<String>, String>,
    },
    /// A file was begun, has grown, or was finished.
    File(Box<FileRecord>),
    /// A recording has stopped, or goes on.
    RecordingGap(RecordingGap),
    /// The best picture of a track was written.
    BestShot(Box<BestShot>),
    /// Answers the question of a [`crate::spec::Role::Study`].
    Studied(Box<Answer>),
    /// From the gateway: a first viewer asks for a stream, or the last one has gone. A gateway
    /// that is started anew says it anew; what one that died has said is forgotten.
    Wanted {
        /// Which stream.
        stream: StreamName,
        /// Whether anybody asks for it.
        wanted: bool,
    },
    /// From the gateway: a sender publishes what no stream has as its source, and a rule of
    /// [`crate::spec::GatewaySpec::accept`] takes its name.
    Knocked {
        /// What it is to be called: a stranger's word, but a name.
        stream: StreamName,
        /// The prefix of the rule.
        rule: StreamName,
        /// It was refused: there are as many of this rule as there may be. Said now and then.
        full: bool,
    },
    /// The worker is about to exit with a code of [`crate::exit::WorkerExit`]; says why.
    Failing(String),
}

/// State of a source, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// On demand, and nobody asks for it.
    Idle,
    /// A session is being opened, or a sender waited for.
    Connecting,
    /// Frames come.
    Live,
    /// Connected, but no frame for `no_frame_timeout`.
    Stalled,
    /// The source said no: wrong password, forbidden, not found.
    Refused,
    /// The connection broke or could not be made; it will be tried again.
    Lost,
    /// Ended, or given up after all retries.
    Gone,
}

impl SourceState {
    /// The state in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Gone => "gone",
        }
    }
}

/// What is known of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// Size as coded.
    pub source_size: PixelSize,
    /// Size on the bus.
    pub size: PixelSize,
    /// Nominal frames a second, 0 when the source does not say.
    pub fps: f64,
    /// Frames to come, where the source is finite and says so.
    pub frames_total: Option<u64>,
    /// The decoder in use, by its element name.
    pub decoder: String,
    /// That decoder uses hardware.
    pub hardware: bool,
    /// What the media come by where there is a choice: `tcp` or `udp`; else empty.
    pub transport: String,
}

/// What was seen in one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Its sequence number.
    pub sequence_number: u64,
    /// Its event time.
    pub pts_ns: u64,
    /// Wall clock of its capture, milliseconds since the Unix epoch.
    pub wall_ms: i64,
    /// Its size.
    pub size: PixelSize,
    /// The part of it that moved, 0 to 1.
    pub motion: f32,
    /// Where.
    pub moved: Cells,
    /// Whether the models ran on it: `None` when they did, else why the first did not.
    pub skip: Option<Skip>,
    /// What was seen.
    pub objects: Vec<ObjectRecord>,
    /// What became known of tracks at this frame by other means than looking at it.
    pub attributes: Vec<AttributeRecord>,
}

/// What a second model said of a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeRecord {
    /// The track.
    pub track: u64,
    /// The attribute: the name of the model.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Sequence number of the frame that the model looked at, before this one.
    pub asked_sequence: u64,
    /// What it found there; `None`: nothing.
    pub found: Option<FoundRecord>,
    /// The vector that it made of it, of length 1; `None`: it is no model that makes one.
    pub embedding: Option<Vec<f32>>,
}

impl AttributeRecord {
    /// The model has something to say of the track.
    #[must_use]
    pub fn has_found(&self) -> bool {
        self.found.is_some() || self.embedding.is_some()
    }
}

/// What a second model found on a track: the best of it, after which the attribute is named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundRecord {
    /// How many things it found.
    pub count: u16,
    /// How sure it was of the best.
    pub score: f32,
    /// Where that was, in pixels of the frame it looked at.
    pub bounds: BoundingBox,
    /// Landmarks that it found on it.
    pub landmarks: u8,
}

/// Steps that a pixel is stored in: coordinates are multiples of an eighth.
pub const PIXEL_STEPS: f32 = 8.0;
/// Steps that a score is stored in, from 0 to 1.
pub const SCORE_STEPS: f32 = 1e3;
/// Steps that a motion fraction is stored in, from 0 to 1.
pub const MOTION_STEPS: f32 = 1e6;

impl FrameRecord {
    /// Rounds all values to the steps that are stored. Rules are evaluated on rounded
    /// values, so that a replay of what was stored evaluates the very same.
    pub fn round(&mut self) {
        let round = |value: &mut f32, steps: f32| *value = (*value * steps).round() / steps;
        let round_box = |bounds: &mut BoundingBox| {
            let BoundingBox { x1, y1, x2, y2 } = bounds;
            for coordinate in [x1, y1, x2, y2] {
                round(coordinate, PIXEL_STEPS);
            }
        };
        round(&mut self.motion, MOTION_STEPS);
        for found in self
            .attributes
            .iter_mut()
            .filter_map(|it| it.found.as_mut())
        {
            round_box(&mut found.bounds);
            round(&mut found.score, SCORE_STEPS);
        }
        for object in &mut self.objects {
            round_box(&mut object.bounds);
            if let Some(score) = &mut object.score {
                round(score, SCORE_STEPS);
            }
        }
    }
}

/// One object in one frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The track it belongs to.
    pub track: Option<u64>,
    /// Index into the stream's models.
    pub model: u16,
    /// Index into the model's labels.
    pub class: u16,
    /// How sure the model was; `None` for a box that was predicted, not seen.
    pub score: Option<f32>,
    /// Where, in pixels of the frame.
    pub bounds: BoundingBox,
    /// How good a picture of it this is; measured only where a rule asks for it.
    pub quality: Option<Quality>,
    /// Landmarks that the model found on it.
    pub landmarks: u8,
    /// Depth in the middle of the box, in the depth model's unit; `None` without a map.
    pub depth: Option<f32>,
}

/// How good a picture of an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Mean gradient of the luma by Sobel's operator, brightness-normalised, in hundredths.
    pub sharpness: u16,
    /// Mean luma, 0 to 255.
    pub brightness: u8,
}

/// A recording, a snapshot or a clip, as far as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// The stream it shows.
    pub stream: StreamName,
    /// What it is.
    pub kind: FileKind,
    /// Path, inside the run's directory or absolute.
    pub path: String,
    /// Whether more is to come.
    pub state: FileState,
    /// Wall clock of its first frame, milliseconds since the Unix epoch.
    pub begin_wall_ms: i64,
    /// Event time of its first frame.
    pub begin_pts_ns: u64,
    /// What is in it by now.
    pub content: FileContent,
}

/// What is in a file by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileContent {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
    /// How long they take from the first frame to the end of the last, in nanoseconds.
    pub duration_ns: u64,
    /// Wall clock of the end of the last frame, milliseconds since the Unix epoch.
    pub end_wall_ms: i64,
    /// Size of its pictures; `None` before the first.
    pub size: Option<PixelSize>,
}

/// Whether more is to come into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It is being written.
    Open,
    /// It is whole.
    Closed,
    /// Its writer died: what was written plays.
    Torn,
}

impl FileState {
    /// The state in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Torn => "torn",
        }
    }
}

/// A time in which a stream that is to be recorded is not; told when it begins and when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingGap {
    /// The stream.
    pub stream: StreamName,
    /// Why.
    pub reason: GapReason,
    /// What happened, where, and what to do.
    pub text: String,
    /// Wall clock of the first frame that is missing, milliseconds since the Unix epoch.
    pub begin_wall_ms: i64,
    /// Wall clock of the first frame that is recorded again; `None` while it lasts.
    pub end_wall_ms: Option<i64>,
    /// Frames that are missing so far.
    pub frames: u64,
}

/// Why frames are not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The disk refuses: it is full, read-only or gone.
    Disk,
    /// The disk takes less than the encoder gives.
    Slow,
}

impl GapReason {
    /// The reason in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Slow => "slow",
        }
    }
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// Fragmented MP4.
    Recording,
    /// JPEG.
    Snapshot,
    /// Fragmented MP4 of one event.
    Clip,
}

impl FileKind {
    /// The kind in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Snapshot => "snapshot",
            Self::Clip => "clip",
        }
    }
}

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over [`MESSAGE_BYTES_MAX`].
    #[error("a control message of {0} bytes is over the limit of {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// The JSON is not a message of this channel.
    #[error("a control message cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// Puts a message into its frame.
///
/// # Errors
/// [`FrameError`] when it is too long.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let header = u32::try_from(length)
        .ok()
        .filter(|_| length <= MESSAGE_BYTES_MAX)
        .ok_or(FrameError::TooLong(length))?;
    bytes[..4].copy_from_slice(&header.to_le_bytes());
    Ok(bytes)
}

/// Collects bytes as they come and takes whole messages out of them.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Adds bytes read from the channel.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message, if there is one.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are no message; the channel is then of no more use.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some((header, body)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        let Some(text) = body.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(text)?;
        self.taken += 4 + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_split() {
        let messages = [
            ToWorker::Start,
            ToWorker::EventCommitted("yard/loitering/7/0".to_owned()),
            ToWorker::Drain,
        ];
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| encode(message).expect("short"))
            .collect();
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(step) {
                decoder.extend(part);
                while let Some(message) = decoder.next_message::<ToWorker>().expect("whole") {
                    seen.push(format!("{message:?}"));
                }
            }
            let sent: Vec<String> = messages.iter().map(|m| format!("{m:?}")).collect();
            assert_eq!(seen, sent, "in parts of {step}");
        }
    }

    #[test]
    fn junk_is_refused() {
        let mut decoder = Decoder::default();
        decoder.extend(&u32::MAX.to_le_bytes());
        assert!(matches!(
            decoder.next_message::<ToWorker>(),
            Err(FrameError::TooLong(_))
        ));
        let mut decoder = Decoder::default();
        decoder.extend(&[2, 0, 0, 0, b'{', b'!']);
        assert!(matches!(
            decoder.next_message::<ToWorker>(),
            Err(FrameError::Json(_))
        ));
    }
}
