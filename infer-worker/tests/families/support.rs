//! Pictures, engines and references.

use std::path::{Path, PathBuf};

use contract::alignment::{FACE_LANDMARKS, FACE_SIDE, Similarity};
use contract::detection::Detection;
use contract::findings::Findings;
use contract::geometry::{I420Layout, PixelSize};
use contract::spec::{BackendSpec, BatchSpec, InferSpec, InputSpec, ModelFamily};
use frame_bus::ColourMatrix;
use infer_worker::engine::Engine;
use infer_worker::runtime::{self, RuntimeError};
use infer_worker::tensor::Picture;

pub(crate) const ASTRONAUT: &str = ".deps/clips/astronaut-512x512.i420";

/// A file of the repository, or of what set-up has put there.
pub(crate) fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let file = root.expect("the crate lies in the repository").join(path);
    assert!(file.exists(), "{path} is missing: run scripts/setup test");
    file
}

/// A file beside the tests.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

pub(crate) fn reference(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(data(name)).expect("a reference");
    serde_json::from_str(&text).expect("JSON")
}

pub(crate) fn size(width: u32, height: u32) -> PixelSize {
    PixelSize { width, height }
}

/// An I420 picture.
pub(crate) struct Image {
    layout: I420Layout,
    bytes: Vec<u8>,
}

impl Image {
    /// A raw file, rows without padding.
    pub(crate) fn read(path: &str, size: PixelSize) -> Self {
        let bytes = std::fs::read(repository(path)).expect("the picture can be read");
        let layout = I420Layout::of(size);
        assert_eq!(bytes.len(), layout.bytes);
        Self { layout, bytes }
    }

    /// All of one colour, by the bytes of BT.601.
    pub(crate) fn plain(size: PixelSize, yuv: [u8; 3]) -> Self {
        let layout = I420Layout::of(size);
        let mut bytes = vec![0; layout.bytes];
        for (plane, value) in yuv.into_iter().enumerate() {
            bytes[layout.offsets[plane]..].fill(value);
        }
        Self { layout, bytes }
    }

    /// The left half of one colour, the right of another; sizes are multiples of four.
    pub(crate) fn halves(size: PixelSize, left: [u8; 3], right: [u8; 3]) -> Self {
        let mut image = Self::plain(size, left);
        let layout = image.layout;
        for (plane, value) in right.into_iter().enumerate() {
            let columns = layout.size.width as usize / if plane == 0 { 1 } else { 2 };
            let rows = image.bytes[layout.offsets[plane]..].chunks_mut(layout.strides[plane]);
            for row in rows.take(layout.rows[plane]) {
                row[columns / 2..columns].fill(value);
            }
        }
        image
    }

    /// The face with these landmarks, as a model of faces wants it; nearest pixels.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a small picture, and places are clamped to it"
    )]
    pub(crate) fn aligned(&self, landmarks: &[[f32; 2]]) -> Self {
        let to_picture = Similarity::fit(&FACE_LANDMARKS, landmarks).expect("five points");
        let layout = I420Layout::of(size(FACE_SIDE, FACE_SIDE));
        let mut bytes = vec![0; layout.bytes];
        for plane in 0..3 {
            let part = if plane == 0 { 1.0 } else { 2.0 };
            let [columns, rows] = [self.layout.size.width, self.layout.size.height];
            let side = FACE_SIDE as usize / part as usize;
            for row in 0..side {
                for column in 0..side {
                    let middle = |at: usize| (at as f32 + 0.5) * part;
                    let [x, y] = to_picture.apply([middle(column), middle(row)]);
                    let place =
                        |at: f32, most: u32| (at.clamp(0.0, most as f32 - 1.0) / part) as usize;
                    let stride = self.layout.strides[plane];
                    let from =
                        self.layout.offsets[plane] + place(y, rows) * stride + place(x, columns);
                    bytes[layout.offsets[plane] + row * layout.strides[plane] + column] =
                        self.bytes[from];
                }
            }
        }
        Self { layout, bytes }
    }

    pub(crate) fn picture(&self) -> Picture<'_> {
        let layout = &self.layout;
        let plane = |plane: usize| {
            &self.bytes[layout.offsets[plane]..][..layout.strides[plane] * layout.rows[plane]]
        };
        Picture {
            layout,
            planes: [plane(0), plane(1), plane(2)],
            colour: ColourMatrix::Bt601,
        }
    }
}

/// The frames of the man in the car.
pub(crate) fn carphone() -> Vec<Image> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let raw = directory.path().join("carphone.i420");
    testkit::clip::write(
        &raw,
        &format!(
            "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 \
             ! videoconvert ! video/x-raw,format=I420 ! filesink name=file",
            repository(".deps/clips/carphone.mp4").display(),
        ),
    );
    let raw = std::fs::read(raw).expect("the clip is decoded");
    let layout = I420Layout::of(size(176, 144));
    let pictures = raw.chunks_exact(layout.bytes);
    let pictures = pictures.map(|bytes| Image {
        layout,
        bytes: bytes.to_vec(),
    });
    pictures.collect()
}

pub(crate) fn spec(family: ModelFamily, file: PathBuf, labels: usize) -> InferSpec {
    InferSpec {
        model: "objects".parse().expect("a name"),
        file,
        family,
        input: InputSpec::default(),
        labels: (0..labels).map(|class| class.to_string()).collect(),
        score_min: 0.4,
        nms_iou: 0.3,
        sessions: Some(1),
        batch: BatchSpec::default(),
        backend: BackendSpec::default(),
        library: None,
        streams: Vec::new(),
        standby: false,
    }
}

pub(crate) fn load(spec: &InferSpec) -> Result<Engine, RuntimeError> {
    let library = repository(".deps/onnxruntime/lib/libonnxruntime.so");
    let environment = runtime::open(Some(&library)).expect("the library loads");
    Engine::load(&environment, spec)
}

/// What an engine of this spec says of each picture.
pub(crate) fn findings_of(spec: &InferSpec, images: &[Image]) -> Vec<Findings> {
    let mut engine = load(spec).unwrap_or_else(|error| panic!("{error}"));
    let findings = images.iter().map(|image| {
        engine.prepare(&image.picture());
        engine.infer().expect("the model runs").findings
    });
    findings.collect()
}

/// The embeddings that an engine of this spec makes of each picture.
pub(crate) fn embeddings_of(spec: &InferSpec, images: &[Image]) -> Vec<Vec<f32>> {
    let findings = findings_of(spec, images).into_iter();
    let vectors = findings.map(|findings| match findings {
        Findings::Embedding(vector) => vector,
        other => panic!("{other:?}"),
    });
    vectors.collect()
}

/// The cosine of two vectors of length 1.
pub(crate) fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

/// The objects that an engine of this spec finds in each picture.
pub(crate) fn objects_of(spec: &InferSpec, images: &[Image]) -> Vec<Vec<Detection>> {
    let findings = findings_of(spec, images).into_iter();
    let objects = findings.map(|findings| match findings {
        Findings::Detections(detections) => detections,
        other => panic!("{other:?}"),
    });
    objects.collect()
}
