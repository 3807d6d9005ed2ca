//! JPEG files of frames and of objects, written off the hot path.
//!
//! Making a JPEG of a 1080p frame takes about as long as a frame interval, so a thread
//! of its own does it. Its queue is short: when pictures come faster than they
//! can be written, they are refused, and whoever hands them over is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use contract::geometry::{I420Layout, PixelSize};
use frame_bus::ColourMatrix;
use jpeg_encoder::{ColorType, Encoder, EncodingError, SamplingFactor};

use crate::crop::Still;
use crate::overlay::colour::luma_weights;

/// On the usual scale of 1 to 100: from here on loss is not seen without a magnifying glass.
const QUALITY: u8 = 90;

/// A picture to be written.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// The picture.
    pub still: Still,
    /// Whither, inside the writer's directory.
    pub path: String,
    /// What is given back once it is there, or cannot be.
    pub about: T,
}

/// Writes pictures on its own thread.
#[derive(Debug)]
pub struct SnapshotWriter<T> {
    queue: Option<SyncSender<Snapshot<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> SnapshotWriter<T> {
    /// Starts the thread, before which so many pictures may wait; `done` is called on it
    /// after each file, and told whether it was written.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        directory: PathBuf,
        queue_max: usize,
        done: impl Fn(T, bool) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, snapshots) = sync_channel(queue_max);
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || write_all(&directory, &snapshots, done))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Queues a picture; false when the queue is full and it will not be written.
    #[must_use]
    pub fn submit(&self, snapshot: Snapshot<T>) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send(snapshot).is_ok())
    }

    /// Queues a picture, and waits for its place: for when no frame waits. False when the
    /// thread has ended.
    #[must_use]
    pub fn submit_patiently(&self, snapshot: Snapshot<T>) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.send(snapshot).is_ok())
    }
}

impl<T> Drop for SnapshotWriter<T> {
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

fn write_all<T>(directory: &Path, snapshots: &Receiver<Snapshot<T>>, done: impl Fn(T, bool)) {
    while let Ok(snapshot) = snapshots.recv() {
        let written = write(&directory.join(&snapshot.path), &snapshot.still);
        if let Err(error) = &written {
            let path = &snapshot.path;
            tracing::warn!("the snapshot `{path}` cannot be written: {error}");
        }
        done(snapshot.about, written.is_ok());
    }
}

fn write(path: &Path, still: &Still) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let rgb = rgb_of(&still.layout, &still.bytes, still.matrix);
    let jpeg = jpeg_of(still.layout.size, &rgb).map_err(std::io::Error::other)?;
    // Under another name until it is whole: who sees the file sees all of it.
    let partial = path.with_extension("jpg.part");
    let written = fs::write(&partial, jpeg).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // Half a picture would only take room on a disk that may be full.
        let _ = fs::remove_file(&partial);
    }
    written
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

    fn snapshot(path: &str) -> Snapshot<String> {
        let (layout, bytes) = flat(TRACKS[0], ColourMatrix::Bt601);
        let still = Still {
            layout,
            matrix: ColourMatrix::Bt601,
            bytes,
        };
        Snapshot {
            still,
            path: path.to_owned(),
            about: path.to_owned(),
        }
    }

    #[test]
    fn files_are_whole_and_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let (sender, reports) = sync_channel(4);
        let done = move |path, written| sender.send((path, written)).expect("read below");
        let writer = SnapshotWriter::start(directory.path().to_owned(), 4, done);
        let writer = writer.expect("a thread");
        assert!(writer.submit(snapshot("snapshots/yard-loitering-7-120.jpg")));
        // A file stands where its directory would be.
        fs::write(directory.path().join("shots"), "").expect("written");
        assert!(writer.submit_patiently(snapshot("shots/yard-person-7-120.jpg")));
        drop(writer);
        let (path, written) = reports.recv().expect("a report");
        assert!(written);
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
        let refused = ("shots/yard-person-7-120.jpg".to_owned(), false);
        assert_eq!(reports.recv(), Ok(refused));
    }

    #[test]
    fn a_full_queue_refuses_and_patience_waits() {
        let directory = tempfile::tempdir().expect("a directory");
        let (open, gate) = sync_channel::<()>(0);
        let (sender, reports) = sync_channel(8);
        let done = move |path: String, written| {
            let _ = gate.recv();
            sender.send((path, written)).expect("read below");
        };
        let writer = SnapshotWriter::start(directory.path().to_owned(), 1, done);
        let writer = writer.expect("a thread");
        // One in the thread's hands and one in the queue; the thread takes its time for the first.
        assert!(writer.submit_patiently(snapshot("a.jpg")));
        assert!(writer.submit_patiently(snapshot("b.jpg")));
        let refused = (0..2).filter(|_| !writer.submit(snapshot("c.jpg"))).count();
        assert!(refused >= 1);
        drop(open);
        assert!(writer.submit_patiently(snapshot("d.jpg")));
        drop(writer);
        let written: Vec<_> = reports.iter().map(|(path, _)| path).collect();
        assert_eq!(written.len(), 3 + 2 - refused, "{written:?}");
    }

    #[test]
    fn a_picture_that_is_not_there_is_an_error() {
        assert!(jpeg_of(SIZE, &[]).is_err());
    }
}
