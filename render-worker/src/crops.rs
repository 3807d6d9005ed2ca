//! Crops of tracks, sent to second models, and the attributes that their answers become.
//!
//! A rule's action `infer(MODEL)` cuts the track out of the frame at hand, before
//! anything is drawn, straight into a slot of the model's own service. The label of the
//! best detection on it becomes the track's attribute of the model's name, in the
//! record of the next frame that is rendered: rules learn of it there, live as in a replay.
//!
//! So many crops may be unanswered at the same time, and none for longer than
//! `max_latency`. Each crop that was asked for is in the book once ([`CropCounters`]).

use std::collections::BTreeMap;

use analytics::{Firing, Phase};
use contract::clock::monotonic_ns;
use contract::control::AttributeRecord;
use contract::detection::Detection;
use contract::geometry::BoundingBox;
use contract::ledger::CropCounters;
use contract::motion::Cells;
use contract::name::WorkerId;
use contract::spec::RenderCropsSpec;
use dsl::Action;
use frame_bus::{
    BookWriter, Bus, BusError, FrameLoan, FramePublisher, FrameStamp, ResultBody, ResultSubscriber,
    Waker,
};

use crate::crop::Cut;
use crate::shared::Header;

/// The models that the rules of one stream ask about crops.
pub(crate) struct Crops {
    bus: Bus,
    /// Counts the starts of this worker.
    epoch: u32,
    lanes: Vec<Lane>,
    /// What has been learned since the last frame.
    learned: Vec<AttributeRecord>,
}

/// One model.
pub(crate) struct Lane {
    spec: RenderCropsSpec,
    publisher: FramePublisher,
    results: ResultSubscriber,
    model: Waker,
    book: BookWriter<CropCounters>,
    /// By sequence number.
    unanswered: BTreeMap<u64, Asked>,
}

/// Of which track a crop is.
#[derive(Debug, Clone, Copy)]
struct Asked {
    track: u64,
    asked_ns: u64,
}

impl Crops {
    /// Opens the services and books of `specs`.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub(crate) fn open(bus: Bus, specs: &[RenderCropsSpec], epoch: u32) -> Result<Self, BusError> {
        let lanes = specs.iter().map(|spec| Lane::open(&bus, spec, epoch));
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
            bus,
            epoch,
            learned: Vec::new(),
        })
    }

    /// Opens those of `specs` that are not open yet, for [`Crops::change`].
    ///
    /// # Errors
    /// When one of them cannot be opened; nothing has changed then.
    pub(crate) fn prepare(&self, specs: &[RenderCropsSpec]) -> Result<Vec<Lane>, BusError> {
        let known = |spec: &&RenderCropsSpec| self.lanes.iter().any(|lane| lane.is_of(spec));
        let new = specs.iter().filter(|spec| !known(spec));
        new.map(|spec| Lane::open(&self.bus, spec, self.epoch))
            .collect()
    }

    /// Goes over to `specs`, of which `new` are open. Crops of the others are waited for no more.
    ///
    /// # Errors
    /// When the bus is broken.
    pub(crate) fn change(
        &mut self,
        specs: &[RenderCropsSpec],
        new: Vec<Lane>,
    ) -> Result<(), BusError> {
        let goes = |lane: &mut Lane| !specs.iter().any(|spec| lane.is_of(spec));
        for mut lane in self.lanes.extract_if(.., goes) {
            lane.end()?;
        }
        for lane in &mut self.lanes {
            // What has come is said in the words of the model it came from.
            lane.take_answers(&mut self.learned)?;
            if let Some(spec) = specs.iter().find(|spec| lane.is_of(spec)) {
                lane.spec.clone_from(spec);
            }
        }
        self.lanes.extend(new);
        Ok(())
    }

    /// Cuts out the tracks of events that begin and ask for it. `pixels` are not drawn on yet.
    ///
    /// # Errors
    /// When the bus is broken.
    pub(crate) fn ask(
        &mut self,
        header: &Header,
        pixels: &[u8],
        firings: &[Firing],
    ) -> Result<(), BusError> {
        for firing in firings.iter().filter(|f| f.phase == Phase::Begin) {
            let (Some(track), Some(bounds)) = (firing.event.track, &firing.event.bounds) else {
                continue;
            };
            for action in &firing.actions {
                if let Action::Infer { model } = action
                    && let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_called(model))
                {
                    lane.ask(header, pixels, track, bounds)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the answers that have come, and waits no more for those that are late.
    ///
    /// # Errors
    /// When the bus is broken.
    pub(crate) fn poll(&mut self, now_ns: u64, max_latency_ns: u64) -> Result<(), BusError> {
        for lane in &mut self.lanes {
            lane.take_answers(&mut self.learned)?;
            lane.expire(now_ns, max_latency_ns);
        }
        Ok(())
    }

    /// What has been learned since the last call.
    pub(crate) fn take_learned(&mut self) -> Vec<AttributeRecord> {
        std::mem::take(&mut self.learned)
    }

    /// No crop comes any more.
    ///
    /// # Errors
    /// When the bus is broken.
    pub(crate) fn end(&mut self) -> Result<(), BusError> {
        self.lanes.iter_mut().try_for_each(Lane::end)
    }

    /// Says in the books that this worker is alive.
    pub(crate) fn tick(&self) {
        self.lanes.iter().for_each(|lane| lane.book.tick());
    }
}

impl Lane {
    fn open(bus: &Bus, spec: &RenderCropsSpec, epoch: u32) -> Result<Self, BusError> {
        Ok(Self {
            publisher: FramePublisher::open(bus, &spec.frames, epoch)?,
            results: ResultSubscriber::open(bus, &spec.frames, &spec.model)?,
            model: Waker::open(bus, &WorkerId::Infer(spec.model.clone()))?,
            book: BookWriter::open(&spec.book)?,
            unanswered: BTreeMap::new(),
            spec: spec.clone(),
        })
    }

    fn is_called(&self, model: &str) -> bool {
        self.spec.model.as_str() == model
    }

    /// It can go on by this spec.
    fn is_of(&self, spec: &RenderCropsSpec) -> bool {
        let own = &self.spec;
        (&own.model, &own.frames, &own.book) == (&spec.model, &spec.frames, &spec.book)
    }

    fn ask(
        &mut self,
        header: &Header,
        pixels: &[u8],
        track: u64,
        bounds: &BoundingBox,
    ) -> Result<(), BusError> {
        let sequence_number = self.book.counters().published;
        let cut = self.cut(header, pixels, bounds)?;
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
        let Ok(loan) = cut else {
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
        self.unanswered
            .insert(sequence_number, Asked { track, asked_ns });
        self.publisher.publish(loan, &stamp)?;
        self.model.wake();
        Ok(())
    }

    /// A slot with the crop in it, or why there is none.
    fn cut(
        &self,
        header: &Header,
        pixels: &[u8],
        bounds: &BoundingBox,
    ) -> Result<Result<FrameLoan, Dropped>, BusError> {
        if self.unanswered.len() >= self.spec.unanswered_max as usize {
            return Ok(Err(Dropped::Busy));
        }
        let size = self.spec.frames.size;
        let side_max = size.width.max(size.height) as usize;
        let Some(cut) = Cut::of(bounds, &header.format, pixels, side_max) else {
            return Ok(Err(Dropped::Empty));
        };
        let Some(mut loan) = self.publisher.loan(cut.size())? else {
            return Ok(Err(Dropped::NoSlot));
        };
        let layout = loan.layout();
        cut.copy(&header.format, pixels, &layout, loan.payload_mut());
        Ok(Ok(loan))
    }

    fn take_answers(&mut self, learned: &mut Vec<AttributeRecord>) -> Result<(), BusError> {
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
                    learned.push(AttributeRecord {
                        track: asked.track,
                        name: self.spec.model.to_string(),
                        value: best_label(findings.detections(), &self.spec.labels).to_owned(),
                    });
                    self.book.update(|counters| counters.answered += 1);
                } else {
                    self.book.update(|counters| counters.skipped += 1);
                }
            }
        }
    }

    fn expire(&mut self, now_ns: u64, max_latency_ns: u64) {
        let before = self.unanswered.len();
        let waits = |asked: &Asked| now_ns.saturating_sub(asked.asked_ns) <= max_latency_ns;
        self.unanswered.retain(|_, asked| waits(asked));
        let expired = (before - self.unanswered.len()) as u64;
        if expired > 0 {
            self.book.update(|counters| counters.expired += expired);
        }
    }

    fn end(&mut self) -> Result<(), BusError> {
        let expired = self.unanswered.len() as u64;
        self.unanswered.clear();
        self.book.update(|counters| counters.expired += expired);
        let published = self.book.counters().published;
        self.publisher
            .end_of_stream(published, || self.model.wake())
    }
}

/// Why a crop that a rule asked for was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Busy,
    NoSlot,
    Empty,
}

/// The label of the best detection; nothing when there is none.
fn best_label<'a>(detections: &[Detection], labels: &'a [String]) -> &'a str {
    let best = detections
        .iter()
        .max_by(|left, right| left.score.total_cmp(&right.score));
    let label = best.and_then(|best| labels.get(usize::from(best.class)));
    label.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surest_detection_gives_the_label() {
        let labels = ["face".to_owned(), "hat".to_owned()];
        let bounds = BoundingBox {
            x1: 0.0,
            y1: 0.0,
            x2: 9.0,
            y2: 9.0,
        };
        let found = [(0, 0.5), (1, 0.8), (0, 0.7)].map(|(class, score)| Detection {
            bounds,
            score,
            class,
            landmarks: contract::detection::Landmarks::NONE,
        });
        assert_eq!(best_label(&found, &labels), "hat");
        assert_eq!(best_label(&[], &labels), "");
        assert_eq!(
            best_label(&found, &labels[..1]),
            "",
            "a class without a name"
        );
    }
}
