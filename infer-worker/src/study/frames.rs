//! A sample of the frames of some clips, kept in memory.

use std::time::{Duration, Instant};

use contract::control::FromWorker;
use contract::geometry::I420Layout;
use contract::name::{StreamName, WorkerId};
use contract::study::StudySpec;
use frame_bus::{
    Arrivals, Bus, BusError, ColourMatrix, Frame, FrameSubscriber, Incoming, Listener,
};
use worker::{Control, Failure};

use crate::tensor::Picture;

/// Frames taken of one clip before the others are looked at again.
const RECEIVE_MAX: usize = 16;
/// How often an idle look is repeated, in case a wake-up was lost with its sender.
const TURN: Duration = Duration::from_millis(100);
/// How often it says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A picture that outlives its slot on the bus.
#[derive(Debug)]
pub(super) struct KeptFrame {
    layout: I420Layout,
    colour: ColourMatrix,
    pixels: Vec<u8>,
}

impl KeptFrame {
    fn of(frame: &Frame) -> Self {
        Self {
            layout: *frame.layout(),
            colour: frame.stamp().colour,
            pixels: frame.payload().to_vec(),
        }
    }

    pub(super) fn picture(&self) -> Picture<'_> {
        let layout = &self.layout;
        let plane = |index: usize| {
            &self.pixels[layout.offsets[index]..][..layout.strides[index] * layout.rows[index]]
        };
        Picture {
            layout,
            planes: [plane(0), plane(1), plane(2)],
            colour: self.colour,
        }
    }
}

/// Takes all frames of all clips off the bus and keeps a sample of each clip, in its order.
///
/// Says that it is ready when its queues are open: producers may begin then.
pub(super) fn collect(
    bus: &Bus,
    worker: &WorkerId,
    study: &StudySpec,
    control: &Control,
) -> Result<Vec<Vec<KeptFrame>>, Failure> {
    let broken = |error: BusError| Failure::failed(error.to_string());
    let listener = Listener::open(bus, worker).map_err(broken)?;
    let frames_max = (study.frames_max as usize).div_ceil(study.clips.len().max(1));
    let open = |spec| {
        Ok(Clip {
            subscriber: FrameSubscriber::open(bus, spec)?,
            name: spec.stream.clone(),
            arrivals: Arrivals::new(0, 0),
            sample: EvenSample::new(frames_max),
            ended: false,
        })
    };
    let clips = study.clips.iter().map(open).collect::<Result<Vec<_>, _>>();
    let mut clips = clips.map_err(broken)?;
    control.send(FromWorker::Ready("takes frames".to_owned()));
    let mut told = Instant::now();
    while clips.iter().any(|clip| !clip.ended) {
        if control.stopping() {
            return Err(Failure::failed("told to leave"));
        }
        let mut taken = 0;
        for clip in &mut clips {
            taken += clip.take()?;
        }
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let seen: usize = clips.iter().map(|clip| clip.sample.seen).sum();
            control.send(FromWorker::Warming(format!("decoded {seen} frames")));
        }
        if taken == 0 {
            listener.wait(TURN).map_err(broken)?;
        }
    }
    let finish = |clip: Clip| {
        if clip.sample.seen == 0 {
            let text = format!("`{}` has no frames", clip.name);
            return Err(Failure::source_gone(text));
        }
        Ok(clip.sample.finish(frames_max))
    };
    clips.into_iter().map(finish).collect()
}

struct Clip {
    name: StreamName,
    subscriber: FrameSubscriber,
    arrivals: Arrivals,
    sample: EvenSample<KeptFrame>,
    ended: bool,
}

impl Clip {
    /// Takes some of what is in the queue; returns how many frames that were.
    fn take(&mut self) -> Result<usize, Failure> {
        let broken = |error: BusError| Failure::failed(error.to_string());
        for taken in 0..RECEIVE_MAX {
            match self.subscriber.receive().map_err(broken)? {
                Some(Incoming::Frame(frame)) => {
                    let number = frame.stamp().sequence_number;
                    if self.arrivals.arrive(number, frame.epoch()).fresh {
                        self.sample.offer(|| KeptFrame::of(&frame));
                    }
                }
                Some(Incoming::EndOfStream { .. }) => self.ended = true,
                Some(Incoming::Invalid { reason, .. }) => return Err(broken(reason)),
                None => return Ok(taken),
            }
        }
        Ok(RECEIVE_MAX)
    }
}

/// Evenly spaced items of a sequence whose length is known at its end only: every n-th is
/// kept, and when there is no more room, every other of them is let go and n doubles.
struct EvenSample<T> {
    items: Vec<T>,
    room: usize,
    every: usize,
    seen: usize,
}

impl<T> EvenSample<T> {
    /// Of which `wanted` items will be asked for.
    fn new(wanted: usize) -> Self {
        Self {
            items: Vec::new(),
            // What is kept at the end fills at least half of the room.
            room: 2 * wanted.max(1),
            every: 1,
            seen: 0,
        }
    }

    /// One more item of the sequence, made only when it is kept.
    fn offer(&mut self, make: impl FnOnce() -> T) {
        if self.seen.is_multiple_of(self.every) && self.items.len() == self.room {
            let mut index = 0;
            self.items.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
        if self.seen.is_multiple_of(self.every) {
            self.items.push(make());
        }
        self.seen += 1;
    }

    /// As many as are wanted, from the first on; all, when there were not so many.
    fn finish(self, wanted: usize) -> Vec<T> {
        let count = self.items.len();
        if count <= wanted {
            return self.items;
        }
        // Item i is taken where i * wanted / count steps.
        let is_taken =
            |index: usize| index == 0 || index * wanted / count != (index - 1) * wanted / count;
        let taken = self.items.into_iter().enumerate();
        taken
            .filter(|(index, _)| is_taken(*index))
            .map(|(_, item)| item)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(length: usize, wanted: usize) -> Vec<usize> {
        let mut sample = EvenSample::new(wanted);
        for item in 0..length {
            sample.offer(|| item);
        }
        assert_eq!(sample.seen, length);
        sample.finish(wanted)
    }

    #[test]
    fn a_sample_is_evenly_spaced() {
        assert!(sample(0, 4).is_empty());
        assert_eq!(sample(3, 4), [0, 1, 2]);
        assert_eq!(sample(8, 4), [0, 2, 4, 6]);
        // The room of 8 was full at 8: every other from then on, of which every other is wanted.
        assert_eq!(sample(16, 4), [0, 4, 8, 12]);
    }

    proptest! {
        #[test]
        fn a_sample_has_the_wanted_size_and_no_long_gap(length in 1_usize..3000, wanted in 1_usize..80) {
            let taken = sample(length, wanted);
            prop_assert_eq!(taken.len(), wanted.min(length));
            prop_assert_eq!(taken[0], 0);
            let gap_max = 4 * length.div_ceil(wanted);
            let ends = taken.iter().skip(1).copied().chain([length]);
            for (one, next) in taken.iter().zip(ends) {
                prop_assert!(next > *one && next - one <= gap_max, "{one} to {next} of {length}");
            }
        }
    }
}
