//! The crops of one stream for one model: sent, waited for, answered, and in the book.

use std::collections::BTreeMap;

use contract::alignment::Similarity;
use contract::clock::monotonic_ns;
use contract::control::{AttributeRecord, FoundRecord};
use contract::detection::{Detection, Landmarks};
use contract::findings::Findings;
use contract::geometry::BoundingBox;
use contract::ledger::CropCounters;
use contract::motion::Cells;
use contract::name::WorkerId;
use contract::spec::RenderCropsSpec;
use frame_bus::{
    BookWriter, Bus, BusError, FrameLoan, FramePublisher, FrameStamp, ResultBody, ResultSubscriber,
    Waker,
};

use crate::alignment::{self, align};
use crate::crop::Cut;
use crate::parts::{Finding, PARTS_MAX};
use crate::shared::Header;

/// One model that is asked about crops.
pub(crate) struct Lane {
    spec: RenderCropsSpec,
    publisher: FramePublisher,
    results: ResultSubscriber,
    model: Waker,
    book: BookWriter<CropCounters>,
    /// By sequence number.
    unanswered: BTreeMap<u64, Asked>,
}

/// A track that is cut out of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Subject {
    /// Its id.
    pub(crate) track: u64,
    /// Where it is.
    pub(crate) bounds: BoundingBox,
    /// What was found on it in this frame.
    pub(crate) landmarks: Landmarks,
}

/// Of which track a crop is, and where it was.
#[derive(Debug, Clone, Copy)]
struct Asked {
    track: u64,
    bounds: BoundingBox,
    crop: Crop,
    /// The frame it was cut from.
    frame_sequence: u64,
    asked_ns: u64,
    /// What is found is shown in the picture for so long; 0: not at all.
    shown_ns: u64,
}

/// How a crop was made of its frame.
#[derive(Debug, Clone, Copy)]
enum Crop {
    /// As the object lies.
    Cut(Cut),
    /// A face, set upright.
    Upright(Similarity),
}

impl Crop {
    /// Where a point of the crop lies in the frame.
    fn in_frame(&self, point: [f32; 2]) -> [f32; 2] {
        match self {
            Self::Cut(cut) => cut.in_frame(point),
            Self::Upright(similarity) => similarity.apply(point),
        }
    }
}

/// What an answer tells of a track.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Learned {
    /// What rules and the store are told.
    pub(crate) attribute: AttributeRecord,
    /// What is shown in the picture, where it is.
    pub(crate) finding: Option<Finding>,
}

impl Lane {
    pub(super) fn open(bus: &Bus, spec: &RenderCropsSpec, epoch: u32) -> Result<Self, BusError> {
        Ok(Self {
            publisher: FramePublisher::open(bus, &spec.frames, epoch)?,
            results: ResultSubscriber::open(bus, &spec.frames, &spec.model)?,
            model: Waker::open(bus, &WorkerId::Infer(spec.model.clone()))?,
            book: BookWriter::open(&spec.book)?,
            unanswered: BTreeMap::new(),
            spec: spec.clone(),
        })
    }

    pub(super) fn is_called(&self, model: &str) -> bool {
        self.spec.model.as_str() == model
    }

    /// It can go on by this spec.
    pub(super) fn is_of(&self, spec: &RenderCropsSpec) -> bool {
        let own = &self.spec;
        (&own.model, &own.frames, &own.book) == (&spec.model, &spec.frames, &spec.book)
    }

    /// Goes on by a spec that [`Lane::is_of`] has said yes to.
    pub(super) fn change(&mut self, spec: &RenderCropsSpec) {
        self.spec.clone_from(spec);
    }

    /// A crop of this track is unanswered.
    pub(super) fn waits_for(&self, track: u64) -> bool {
        self.unanswered.values().any(|asked| asked.track == track)
    }

    /// So many more crops may be unanswered.
    pub(super) fn room(&self) -> usize {
        let most = self.spec.unanswered_max as usize;
        most.saturating_sub(self.unanswered.len())
    }

    /// Says in the book that this worker is alive.
    pub(super) fn tick(&self) {
        self.book.tick();
    }

    /// Cuts a track out of the frame and sends it, or counts why not. What is found on it is
    /// shown for `shown_ns` of event time.
    pub(super) fn ask(
        &mut self,
        header: &Header,
        pixels: &[u8],
        subject: &Subject,
        shown_ns: u64,
    ) -> Result<(), BusError> {
        let sequence_number = self.book.counters().published;
        let cut = self.cut(header, pixels, subject)?;
        // Counted before it is sent, as frames are: a worker killed between the two leaves a
        // gap that the model's worker finds, and never a number twice.
        self.book.update(|counters| {
            counters.asked += 1;
            *match &cut {
                Ok(_) => &mut counters.published,
                Err(Dropped::Busy) => &mut counters.dropped_busy,
                Err(Dropped::NoSlot) => &mut counters.dropped_no_slot,
                Err(Dropped::Empty) => &mut counters.dropped_empty,
            } += 1;
        });
        let Ok((crop, loan)) = cut else {
            return Ok(());
        };
        let asked_ns = monotonic_ns();
        let stamp = FrameStamp {
            sequence_number,
            pts_ns: header.stamp.pts_ns,
            // A crop is as old as itself: its frame may have waited for other models.
            captured_ns: asked_ns,
            motion: 0.0,
            moved: Cells::default(),
            colour: header.format.matrix,
            discontinuity: false,
        };
        let asked = Asked {
            track: subject.track,
            bounds: subject.bounds,
            crop,
            frame_sequence: header.stamp.sequence_number,
            asked_ns,
            shown_ns,
        };
        self.unanswered.insert(sequence_number, asked);
        self.publisher.publish(loan, &stamp)?;
        self.model.wake();
        Ok(())
    }

    /// Takes what has come.
    pub(super) fn take_answers(&mut self, learned: &mut Vec<Learned>) -> Result<(), BusError> {
        loop {
            let result = match self.results.receive() {
                Ok(Some(result)) => result,
                Ok(None) => return Ok(()),
                Err(error @ BusError::Invalid { .. }) => {
                    tracing::warn!("an answer about a crop is not used: {error}");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (first, last) = (result.first_sequence, result.last_sequence);
            if result.body == ResultBody::EndOfStream || first > last {
                continue;
            }
            let numbers = self.unanswered.range(first..=last);
            let numbers: Vec<u64> = numbers.map(|(number, _)| *number).collect();
            for number in numbers {
                let Some(asked) = self.unanswered.remove(&number) else {
                    continue;
                };
                if let ResultBody::Found(findings) = &result.body {
                    learned.push(learn(&self.spec, &asked, findings));
                    self.book.update(|counters| counters.answered += 1);
                } else {
                    self.book.update(|counters| counters.skipped += 1);
                }
            }
        }
    }

    /// Waits no more for what has taken too long.
    pub(super) fn expire(&mut self, now_ns: u64, max_latency_ns: u64) {
        let before = self.unanswered.len();
        let waits = |asked: &Asked| now_ns.saturating_sub(asked.asked_ns) <= max_latency_ns;
        self.unanswered.retain(|_, asked| waits(asked));
        let expired = (before - self.unanswered.len()) as u64;
        if expired > 0 {
            self.book.update(|counters| counters.expired += expired);
        }
    }

    /// No crop comes any more.
    pub(super) fn end(&mut self) -> Result<(), BusError> {
        let expired = self.unanswered.len() as u64;
        self.unanswered.clear();
        self.book.update(|counters| counters.expired += expired);
        let published = self.book.counters().published;
        self.publisher
            .end_of_stream(published, || self.model.wake())
    }

    /// A slot with the crop in it, or why there is none.
    fn cut(
        &self,
        header: &Header,
        pixels: &[u8],
        subject: &Subject,
    ) -> Result<Result<(Crop, FrameLoan), Dropped>, BusError> {
        if self.room() == 0 {
            return Ok(Err(Dropped::Busy));
        }
        if self.spec.upright_faces
            && let Some(similarity) = alignment::of(subject.landmarks.points())
        {
            let Some(mut loan) = self.publisher.loan(alignment::size())? else {
                return Ok(Err(Dropped::NoSlot));
            };
            align(
                &similarity,
                &header.format.layout,
                pixels,
                loan.payload_mut(),
            );
            return Ok(Ok((Crop::Upright(similarity), loan)));
        }
        let size = self.spec.frames.size;
        let side_max = size.width.max(size.height) as usize;
        let Some(cut) = Cut::of(&subject.bounds, &header.format, pixels, side_max) else {
            return Ok(Err(Dropped::Empty));
        };
        let Some(mut loan) = self.publisher.loan(cut.size())? else {
            return Ok(Err(Dropped::NoSlot));
        };
        let layout = loan.layout();
        cut.copy(&header.format, pixels, &layout, loan.payload_mut());
        Ok(Ok((Crop::Cut(cut), loan)))
    }
}

/// Why a crop that was asked for was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Busy,
    NoSlot,
    Empty,
}

/// What the findings on a crop tell of its track.
fn learn(spec: &RenderCropsSpec, asked: &Asked, findings: &Findings) -> Learned {
    let in_frame = |detection: &Detection| {
        let BoundingBox { x1, y1, x2, y2 } = detection.bounds;
        let ([x1, y1], [x2, y2]) = (asked.crop.in_frame([x1, y1]), asked.crop.in_frame([x2, y2]));
        Detection {
            bounds: BoundingBox { x1, y1, x2, y2 },
            landmarks: detection.landmarks.map(|point| asked.crop.in_frame(point)),
            ..*detection
        }
    };
    let mut parts: Vec<Detection> = findings.detections().iter().map(in_frame).collect();
    parts.sort_by(|left, right| right.score.total_cmp(&left.score));
    let found = parts.first().map(|best| FoundRecord {
        count: u16::try_from(parts.len()).unwrap_or(u16::MAX),
        score: best.score,
        bounds: best.bounds,
        landmarks: best.landmarks.count(),
    });
    let attribute = AttributeRecord {
        track: asked.track,
        name: spec.model.to_string(),
        value: label_of(parts.first(), &spec.labels).to_owned(),
        asked_sequence: asked.frame_sequence,
        found,
        embedding: match findings {
            Findings::Embedding(vector) => Some(vector.clone()),
            Findings::Detections(_) | Findings::Map(_) => None,
        },
    };
    parts.truncate(PARTS_MAX);
    let is_shown = asked.shown_ns > 0 && attribute.embedding.is_none();
    let finding = is_shown.then(|| Finding {
        track: asked.track,
        model: spec.model.clone(),
        bounds: asked.bounds,
        parts,
        shown_ns: asked.shown_ns,
    });
    Learned { attribute, finding }
}

/// The label of the best detection; nothing when there is none.
fn label_of<'a>(best: Option<&Detection>, labels: &'a [String]) -> &'a str {
    let label = best.and_then(|best| labels.get(usize::from(best.class)));
    label.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use contract::detection::Landmarks;
    use contract::geometry::{I420Layout, PixelSize};
    use contract::spec::{FrameMemory, FrameServiceSpec, QueuePolicy};
    use frame_bus::ColourMatrix;

    use super::*;
    use crate::encode::PictureFormat;

    fn spec(labels: &[&str]) -> RenderCropsSpec {
        RenderCropsSpec {
            model: "faces".parse().expect("a name"),
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            frames: FrameServiceSpec {
                stream: "yard".parse().expect("a name"),
                crops: Some("faces".parse().expect("a name")),
                size: PixelSize {
                    width: 512,
                    height: 512,
                },
                policy: QueuePolicy::DropLatest,
                depth: 8,
                consumers_max: 1,
                held_max: 4,
                memory: FrameMemory::Host,
            },
            upright_faces: false,
            unanswered_max: 8,
            book: "/nowhere".into(),
        }
    }

    fn asked(shown_ns: u64) -> Asked {
        let format = PictureFormat {
            layout: I420Layout::of(PixelSize {
                width: 1920,
                height: 1080,
            }),
            matrix: ColourMatrix::Bt709,
        };
        let bounds = BoundingBox {
            x1: 100.0,
            y1: 100.0,
            x2: 700.0,
            y2: 900.0,
        };
        let pixels = vec![0; format.layout.bytes];
        Asked {
            track: 7,
            bounds,
            // Half the size, from 40, 20.
            crop: Crop::Cut(Cut::of(&bounds, &format, &pixels, 512).expect("inside")),
            frame_sequence: 12,
            asked_ns: 0,
            shown_ns,
        }
    }

    fn detection(class: u16, score: f32) -> Detection {
        Detection {
            bounds: BoundingBox {
                x1: 10.0,
                y1: 20.0,
                x2: 30.0,
                y2: 50.0,
            },
            score,
            class,
            landmarks: Landmarks::new(&[[15.0, 30.0]]).expect("one"),
        }
    }

    fn objects(detections: Vec<Detection>) -> Findings {
        Findings::Detections(detections)
    }

    #[test]
    fn an_embedding_is_kept_as_it_is_and_not_shown() {
        let vector = vec![0.6, -0.8];
        let learned = learn(&spec(&[]), &asked(5), &Findings::Embedding(vector.clone()));
        assert_eq!(learned.attribute.embedding, Some(vector));
        assert!(learned.attribute.has_found());
        assert_eq!(learned.finding, None);
        assert_eq!(learned.attribute.value, "");
    }

    #[test]
    fn the_surest_detection_gives_the_label_and_all_are_placed_in_the_frame() {
        let found = [(0, 0.5), (1, 0.8), (0, 0.7)].map(|(class, score)| detection(class, score));
        let learned = learn(&spec(&["face", "hat"]), &asked(5), &objects(found.to_vec()));
        let attribute = &learned.attribute;
        assert_eq!((attribute.track, attribute.name.as_str()), (7, "faces"));
        assert_eq!(
            (attribute.value.as_str(), attribute.asked_sequence),
            ("hat", 12)
        );
        let in_frame = BoundingBox {
            x1: 60.0,
            y1: 60.0,
            x2: 100.0,
            y2: 120.0,
        };
        let best = FoundRecord {
            count: 3,
            score: 0.8,
            bounds: in_frame,
            landmarks: 1,
        };
        assert_eq!(attribute.found, Some(best));
        let finding = learned.finding.expect("shown");
        assert_eq!((finding.shown_ns, finding.bounds), (5, asked(5).bounds));
        assert_eq!(finding.parts.len(), 3);
        assert_eq!(finding.parts[0].bounds, in_frame);
        assert_eq!(finding.parts[0].landmarks.points(), [[70.0, 80.0]]);
    }

    #[test]
    fn nothing_found_is_an_answer_too_and_a_rules_answer_is_not_shown() {
        let learned = learn(&spec(&["face"]), &asked(0), &objects(Vec::new()));
        assert_eq!(
            (learned.attribute.value.as_str(), learned.attribute.found),
            ("", None)
        );
        assert_eq!(learned.finding, None);
        let unnamed = learn(
            &spec(&["face"]),
            &asked(5),
            &objects(vec![detection(1, 0.5)]),
        );
        assert_eq!(unnamed.attribute.value, "", "a class without a name");
        let crowd = vec![detection(0, 0.5); 3 * PARTS_MAX];
        let learned = learn(&spec(&["face"]), &asked(5), &objects(crowd));
        assert_eq!(learned.finding.expect("shown").parts.len(), PARTS_MAX);
    }
}
