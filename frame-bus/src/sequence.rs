//! Gap accounting by sequence numbers.

/// What a consumer learns from the number of the frame that has just come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Frames overwritten or discarded on the bus since the last one.
    pub overflowed: u64,
    /// Frames that went by while this consumer, or their producer, was dead or starting.
    pub lost: u64,
    /// False for a number seen before: the frame must not be counted again.
    pub fresh: bool,
}

/// Follows the sequence numbers of one stream at one consumer.
///
/// A gap between two frames of the same producer is an overflow of the queue.
/// A gap at the first frame after this consumer was restarted, or after its
/// producer was (the epoch has changed), is a loss by the crash.
#[derive(Debug, Clone)]
pub struct Arrivals {
    next_sequence: u64,
    epoch: Option<u32>,
    restarted: bool,
}

impl Arrivals {
    /// Goes on at `next_sequence`, as its book says; `incarnation` counts this consumer's starts.
    #[must_use]
    pub fn new(next_sequence: u64, incarnation: u32) -> Self {
        Self {
            next_sequence,
            epoch: None,
            restarted: incarnation > 0,
        }
    }

    /// The number expected next.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// A frame has come.
    pub fn arrive(&mut self, sequence_number: u64, epoch: u32) -> Arrival {
        let arrival = self.end(sequence_number, epoch);
        if arrival.fresh {
            self.next_sequence = sequence_number + 1;
        }
        arrival
    }

    /// The end of the stream has come: `next_sequence` would have been the next number.
    pub fn end(&mut self, next_sequence: u64, epoch: u32) -> Arrival {
        let crashed = self.restarted || self.epoch.is_some_and(|known| known != epoch);
        self.epoch = Some(epoch);
        self.restarted = false;
        let Some(gap) = next_sequence.checked_sub(self.next_sequence) else {
            return Arrival {
                overflowed: 0,
                lost: 0,
                fresh: false,
            };
        };
        self.next_sequence = next_sequence;
        let (overflowed, lost) = if crashed { (0, gap) } else { (gap, 0) };
        Arrival {
            overflowed,
            lost,
            fresh: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(overflowed: u64, lost: u64) -> Arrival {
        Arrival {
            overflowed,
            lost,
            fresh: true,
        }
    }

    #[test]
    fn gaps_are_overflow_unless_somebody_died() {
        let mut arrivals = Arrivals::new(0, 0);
        assert_eq!(arrivals.arrive(0, 0), arrival(0, 0));
        assert_eq!(arrivals.arrive(3, 0), arrival(2, 0));
        assert!(!arrivals.arrive(3, 0).fresh);
        assert!(!arrivals.arrive(1, 0).fresh);
        assert_eq!(arrivals.arrive(6, 1), arrival(0, 2));
        assert_eq!(arrivals.arrive(8, 1), arrival(1, 0));
        assert_eq!(arrivals.end(11, 1), arrival(2, 0));
        assert_eq!(arrivals.end(11, 1), arrival(0, 0));
        assert_eq!(arrivals.next_sequence(), 11);

        let mut restarted = Arrivals::new(4, 1);
        assert_eq!(restarted.arrive(9, 1), arrival(0, 5));
        assert_eq!(restarted.arrive(12, 1), arrival(2, 0));
    }
}
