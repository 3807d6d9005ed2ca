//! Snapshots: JPEG files of frames and of objects, written off the hot path.
//!
//! Making a JPEG of a 1080p frame takes about as long as a frame interval, so a thread
//! of its own does it. Its queue is short: when events come faster than pictures
//! can be written, the event goes on without one, which its sender is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use contract::control::FileRecord;
use contract::geometry::{I420Layout, PixelSize};
use frame_bus::ColourMatrix;
use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use crate::crop::Still;
use crate::overlay::colour::luma_weights;

/// Pictures that wait for the writer: a few events at once are common, many are a flood.
const QUEUE: usize = 4;
/// On the usual scale of 1 to 100: from here on loss is not seen without a magnifying glass.
const QUALITY: u8 = 90;

/// A picture to be written.
#[derive(Debug)]
pub struct Snapshot {
    /// The picture.
    pub still: Still,
    /// Whither, and what is reported once it is there; its path is inside the writer's directory.
    pub record: FileRecord,
}

/// Writes pictures on its own thread.
#[derive(Debug)]
pub struct SnapshotWriter {
    queue: Option<SyncSender<Snapshot>>,
    thread: Option<JoinHandle<()>>,
}

impl SnapshotWriter {
    /// Starts the thread; `written` is called on it after each file.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        directory: PathBuf,
        written: impl Fn(FileRecord) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, snapshots) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || write_all(&directory, &snapshots, written))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Queues a picture; false when the queue is full and it will not be written.
    #[must_use]
    pub fn submit(&self, snapshot: Snapshot) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send(snapshot).is_ok())
    }
}

impl Drop for SnapshotWriter {
    /// Writes what is queued, then ends the thread.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the snapshot writer panicked");
        }
    }
}

fn write_all(directory: &Path, snapshots: &Receiver<Snapshot>, written: impl Fn(FileRecord)) {
    while let Ok(snapshot) = snapshots.recv() {
        match write(directory, &snapshot) {
            Ok(()) => written(snapshot.record),
            Err(error) => {
                let path = &snapshot.record.path;
                tracing::warn!("the snapshot `{path}` cannot be written: {error}");
            }
        }
    }
}

fn write(directory: &Path, snapshot: &Snapshot) -> std::io::Result<()> {
    let path = directory.join(&snapshot.record.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let still = &snapshot.still;
    let rgb = rgb_of(&still.layout, &still.bytes, still.matrix);
    let jpeg = jpeg_of(still.layout.size, &rgb).map_err(std::io::Error::other)?;
    // Under another name until it is whole: who sees the file sees all of it.
    let partial = path.with_extension("jpg.part");
    fs::write(&partial, jpeg)?;
    fs::rename(partial, path)
}

/// Encodes packed RGB rows as a baseline JPEG with chroma at half size, as it came.
///
/// # Errors
/// When `rgb` is not three bytes a pixel of `size`.
pub fn jpeg_of(size: PixelSize, rgb: &[u8]) -> Result<Vec<u8>, EncodingError> {
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.encode(rgb, side(size.width), side(size.height), ColorType::Rgb)?;
    Ok(file)
}

/// Converts limited-range I420 to packed RGB; empty when `bytes` is shorter than the layout says.
///
/// The inverse of [`crate::overlay::colour::Rgb::to_yuv`], in 16-bit fixed point.
#[must_use]
pub fn rgb_of(layout: &I420Layout, bytes: &[u8], matrix: ColourMatrix) -> Vec<u8> {
    if bytes.len() < layout.bytes {
        return Vec::new();
    }
    let factors = Factors::of(matrix);
    let (width, height) = (layout.size.width as usize, layout.size.height as usize);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        let line = |plane: usize, row: usize| {
            &bytes[layout.offsets[plane] + row * layout.strides[plane]..]
        };
        let (luma, blue, red) = (line(0, row), line(1, row / 2), line(2, row / 2));
        for column in 0..width {
            let pixel = factors.convert(luma[column], blue[column / 2], red[column / 2]);
            rgb.extend_from_slice(&pixel);
        }
    }
    rgb
}

/// What each component adds, times 65536.
struct Factors {
    luma: i32,
    red_of_v: i32,
    green_of_u: i32,
    green_of_v: i32,
    blue_of_u: i32,
}

impl Factors {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "factors are at most 2.2 * 65536"
    )]
    fn of(matrix: ColourMatrix) -> Self {
        let (red, blue) = luma_weights(matrix);
        let green = 1.0 - red - blue;
        let fixed = |value: f32| (value * 65536.0).round() as i32;
        let range = 255.0 / 224.0;
        Self {
            luma: fixed(255.0 / 219.0),
            red_of_v: fixed(2.0 * (1.0 - red) * range),
            green_of_u: fixed(2.0 * (1.0 - blue) * blue / green * range),
            green_of_v: fixed(2.0 * (1.0 - red) * red / green * range),
            blue_of_u: fixed(2.0 * (1.0 - blue) * range),
        }
    }

    fn convert(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let luma = (i32::from(y) - 16) * self.luma;
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [
            luma + v * self.red_of_v,
            luma - u * self.green_of_u - v * self.green_of_v,
            luma + u * self.blue_of_u,
        ]
        .map(|value| u8::try_from(((value + 32768) >> 16).clamp(0, 255)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::colour::{Rgb, TRACKS, WHITE};
    use contract::control::FileKind;

    const SIZE: PixelSize = PixelSize {
        width: 33,
        height: 17,
    };

    fn flat(colour: Rgb, matrix: ColourMatrix) -> (I420Layout, Vec<u8>) {
        let layout = I420Layout::of(SIZE);
        let mut bytes = vec![0; layout.bytes];
        let yuv = colour.to_yuv(matrix);
        bytes[..layout.offsets[1]].fill(yuv.y);
        bytes[layout.offsets[1]..layout.offsets[2]].fill(yuv.u);
        bytes[layout.offsets[2]..].fill(yuv.v);
        (layout, bytes)
    }

    #[test]
    fn colours_survive_the_way_there_and_back() {
        for matrix in [ColourMatrix::Bt601, ColourMatrix::Bt709] {
            for colour in TRACKS.into_iter().chain([WHITE, Rgb(0, 0, 0)]) {
                let (layout, bytes) = flat(colour, matrix);
                let rgb = rgb_of(&layout, &bytes, matrix);
                assert_eq!(rgb.len(), 33 * 17 * 3);
                for (byte, wanted) in rgb.iter().zip([colour.0, colour.1, colour.2]) {
                    assert!(
                        byte.abs_diff(wanted) <= 2,
                        "{colour:?} became {:?}",
                        &rgb[..3]
                    );
                }
            }
        }
    }

    #[test]
    fn files_are_whole_and_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let (sender, reports) = sync_channel(QUEUE);
        let report = move |record: FileRecord| sender.send(record.path).expect("read below");
        let writer = SnapshotWriter::start(directory.path().to_owned(), report).expect("a thread");
        let (layout, bytes) = flat(TRACKS[0], ColourMatrix::Bt601);
        let record = FileRecord {
            stream: "yard".parse().expect("a name"),
            kind: FileKind::Snapshot,
            path: "snapshots/yard-loitering-7-120.jpg".to_owned(),
            begin_wall_ms: 0,
            begin_pts_ns: 0,
            frames: Some(1),
        };
        let still = Still {
            layout,
            matrix: ColourMatrix::Bt601,
            bytes,
        };
        assert!(writer.submit(Snapshot { still, record }));
        drop(writer);
        let path = reports.recv().expect("a report");
        let file = fs::read(directory.path().join(path)).expect("a file");
        // Start and end of image (ITU-T T.81, table B.1); what is in between the tests of
        // the whole worker decode.
        assert!(file.starts_with(&[0xff, 0xd8]) && file.ends_with(&[0xff, 0xd9]));
        assert_eq!(
            fs::read_dir(directory.path().join("snapshots"))
                .expect("listed")
                .count(),
            1
        );
    }

    #[test]
    fn a_picture_that_is_not_there_is_an_error() {
        assert!(jpeg_of(SIZE, &[]).is_err());
    }
}
