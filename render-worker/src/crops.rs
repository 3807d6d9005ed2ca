//! Crops of tracks, sent to second models, and what becomes of their answers.
//!
//! A rule's action `infer(MODEL)`, or a cascade ([`crate::cascade`]), has the track cut out of
//! the frame at hand, before anything is drawn, straight into a slot of the model's own service.
//! The label of the best detection on it becomes the track's attribute of the model's name, in
//! the record of the next frame that is rendered: rules learn of it there, live as in a replay.
//! What a cascade's model finds is also shown in the picture ([`crate::parts`]).
//!
//! So many crops may be unanswered at the same time, and none for longer than
//! `max_latency`. Each crop that was asked for is in the book once
//! ([`contract::ledger::CropCounters`]).

mod lane;

use analytics::{Firing, Phase};
use contract::spec::{CascadeSpec, RenderCropsSpec};
use dsl::Action;
use frame_bus::{Bus, BusError};

use crate::analysis::Analysis;
use crate::cascade::{Cascade, Due};
use crate::shared::Header;

pub(crate) use lane::{Lane, Learned, Subject};

/// Of the crops that may be unanswered, so many are not for cascades: these ask all the time, and
/// a rule asks once.
const FOR_RULES: usize = 2;

/// The models that one stream asks about crops.
pub(crate) struct Crops {
    bus: Bus,
    /// Counts the starts of this worker.
    epoch: u32,
    lanes: Vec<Lane>,
    /// In the order of the spec.
    cascades: Vec<Cascade>,
    /// What has been learned since the last frame.
    learned: Vec<Learned>,
}

impl Crops {
    /// Opens the services and books of `specs`.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub(crate) fn open(
        bus: Bus,
        specs: &[RenderCropsSpec],
        cascades: &[CascadeSpec],
        epoch: u32,
    ) -> Result<Self, BusError> {
        let lanes = specs.iter().map(|spec| Lane::open(&bus, spec, epoch));
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
            cascades: cascades.iter().cloned().map(Cascade::new).collect(),
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
        // What has come is said in the words of the model it came from.
        self.take_answers()?;
        let goes = |lane: &mut Lane| !specs.iter().any(|spec| lane.is_of(spec));
        for mut lane in self.lanes.extract_if(.., goes) {
            lane.end()?;
        }
        for lane in &mut self.lanes {
            if let Some(spec) = specs.iter().find(|spec| lane.is_of(spec)) {
                lane.change(spec);
            }
        }
        self.lanes.extend(new);
        Ok(())
    }

    /// Goes over to other cascades. One that shows the same model tracks of the same labels
    /// remembers when it has shown each.
    pub(crate) fn change_cascades(&mut self, specs: &[CascadeSpec]) {
        let mut old = std::mem::take(&mut self.cascades);
        for spec in specs {
            let same = |cascade: &Cascade| {
                (&cascade.spec().model, &cascade.spec().of) == (&spec.model, &spec.of)
            };
            let cascade = match old.iter().position(same) {
                Some(index) => {
                    let mut cascade = old.swap_remove(index);
                    cascade.change(spec.clone());
                    cascade
                }
                None => Cascade::new(spec.clone()),
            };
            self.cascades.push(cascade);
        }
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
        analysis: &Analysis,
    ) -> Result<(), BusError> {
        for firing in firings.iter().filter(|f| f.phase == Phase::Begin) {
            let (Some(track), Some(bounds)) = (firing.event.track, firing.event.bounds) else {
                continue;
            };
            let subject = Subject {
                track,
                bounds,
                landmarks: analysis.landmarks_of(track),
            };
            for action in &firing.actions {
                if let Action::Infer { model } = action
                    && let Some(lane) = self.lanes.iter_mut().find(|lane| lane.is_called(model))
                {
                    lane.ask(header, pixels, &subject, 0)?;
                }
            }
        }
        Ok(())
    }

    /// Cuts out the tracks whose turn it is in the cascades, as many as there is room for.
    ///
    /// # Errors
    /// When the bus is broken.
    pub(crate) fn ask_cascades(
        &mut self,
        header: &Header,
        pixels: &[u8],
        analysis: &Analysis,
    ) -> Result<(), BusError> {
        let pts_ns = header.stamp.pts_ns;
        for lane in &mut self.lanes {
            let mut due: Vec<(Due, usize)> = Vec::new();
            for (index, cascade) in self.cascades.iter_mut().enumerate() {
                if !lane.is_called(cascade.spec().model.as_str()) {
                    continue;
                }
                cascade.retain(|track| analysis.lives(track));
                let waits = |track| lane.waits_for(track);
                let own = cascade.due(pts_ns, analysis.candidates(index), waits);
                due.extend(own.into_iter().map(|due| (due, index)));
            }
            due.sort_by_key(|(due, _)| due.since_pts_ns);
            for (due, index) in due.into_iter().take(lane.room().saturating_sub(FOR_RULES)) {
                let cascade = &mut self.cascades[index];
                lane.ask(header, pixels, &due.subject, cascade.shown_ns())?;
                // Also where there was nothing to cut out, so that not every frame tries again.
                cascade.shown(due.subject.track, pts_ns);
            }
        }
        Ok(())
    }

    /// Takes the answers that have come, and waits no more for those that are late.
    ///
    /// # Errors
    /// When the bus is broken.
    pub(crate) fn poll(&mut self, now_ns: u64, max_latency_ns: u64) -> Result<(), BusError> {
        self.take_answers()?;
        for lane in &mut self.lanes {
            lane.expire(now_ns, max_latency_ns);
        }
        Ok(())
    }

    /// What has been learned since the last call.
    pub(crate) fn take_learned(&mut self) -> Vec<Learned> {
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
        self.lanes.iter().for_each(Lane::tick);
    }

    fn take_answers(&mut self) -> Result<(), BusError> {
        for lane in &mut self.lanes {
            let before = self.learned.len();
            lane.take_answers(&mut self.learned)?;
            let of_lane = |cascade: &&mut Cascade| lane.is_called(cascade.spec().model.as_str());
            for cascade in self.cascades.iter_mut().filter(of_lane) {
                for learned in &self.learned[before..] {
                    let attribute = &learned.attribute;
                    cascade.answered(attribute.track, attribute.has_found());
                }
            }
        }
        Ok(())
    }
}
