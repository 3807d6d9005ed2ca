//! Snapshots: PNG files of drawn frames, written off the hot path.
//!
//! Making a PNG of a 1080p frame takes longer than a frame interval, so a thread
//! of its own does it. Its queue is short: when events come faster than pictures
//! can be written, the event goes on without one, which its sender is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use contract::control::FileRecord;
use contract::geometry::{I420Layout, PixelSize};
use frame_bus::ColourMatrix;

use crate::overlay::colour::luma_weights;

/// Pictures that wait for the writer: a few events at once are common, many are a flood.
const QUEUE: usize = 4;

/// A picture to be written.
#[derive(Debug)]
pub struct Picture {
    /// How the bytes lie.
    pub layout: I420Layout,
    /// The drawn frame.
    pub bytes: Vec<u8>,
    /// The matrix it was made with.
    pub matrix: ColourMatrix,
    /// Whither, and what is reported once it is there; its path is inside the writer's directory.
    pub record: FileRecord,
}

/// Writes pictures on its own thread.
#[derive(Debug)]
pub struct SnapshotWriter {
    queue: Option<SyncSender<Picture>>,
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
        let (queue, pictures) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("snapshots".to_owned())
            .spawn(move || write_all(&directory, &pictures, written))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Queues a picture; false when the queue is full and it will not be written.
    #[must_use]
    pub fn submit(&self, picture: Picture) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send(picture).is_ok())
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

fn write_all(directory: &Path, pictures: &Receiver<Picture>, written: impl Fn(FileRecord)) {
    while let Ok(picture) = pictures.recv() {
        match write(directory, &picture) {
            Ok(()) => written(picture.record),
            Err(error) => {
                let path = &picture.record.path;
                tracing::warn!("the snapshot `{path}` cannot be written: {error}");
            }
        }
    }
}

fn write(directory: &Path, picture: &Picture) -> std::io::Result<()> {
    let path = directory.join(&picture.record.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let rgb = rgb_of(&picture.layout, &picture.bytes, picture.matrix);
    let png = png_of(picture.layout.size, &rgb).map_err(std::io::Error::other)?;
    // Under another name until it is whole: who sees the file sees all of it.
    let partial = path.with_extension("png.part");
    fs::write(&partial, png)?;
    fs::rename(partial, path)
}

/// Encodes packed RGB rows as PNG.
///
/// # Errors
/// When `rgb` is not three bytes a pixel of `size`.
pub fn png_of(size: PixelSize, rgb: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, size.width, size.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
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
            path: "snapshots/yard-loitering-7-120.png".to_owned(),
            begin_wall_ms: 0,
            begin_pts_ns: 0,
            frames: Some(1),
        };
        let picture = Picture {
            layout,
            bytes,
            matrix: ColourMatrix::Bt601,
            record,
        };
        assert!(writer.submit(picture));
        drop(writer);
        let path = reports.recv().expect("a report");
        let file = fs::File::open(directory.path().join(path)).expect("a file");
        let decoder = png::Decoder::new(std::io::BufReader::new(file));
        let mut reader = decoder.read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
        let info = reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!((info.width, info.height), (33, 17));
        assert!(pixels[0].abs_diff(TRACKS[0].0) <= 2);
    }
}
