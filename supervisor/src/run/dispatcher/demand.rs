//! Who asks for which stream: said by the gateway, remembered here, told to the ingest workers
//! of sources on demand.
//!
//! An ingest worker that is started anew is told again; a gateway that has died asks for nothing.

use contract::control::ToWorker;
use contract::name::{StreamName, WorkerId};
use contract::spec::Role;

use super::Dispatcher;

impl Dispatcher {
    /// The gateway says whether anybody asks for a stream.
    pub(super) fn wanted(&mut self, worker: &WorkerId, stream: &StreamName, wanted: bool) {
        if !matches!(worker, WorkerId::Gateway) {
            tracing::warn!(%worker, "only the gateway knows who asks for a stream");
            return;
        }
        // What is no stream of the run, after a reload say, is not remembered.
        if self.stream_mut(stream).is_none() {
            return;
        }
        let changed = if wanted {
            self.wanted.insert(stream.clone())
        } else {
            self.wanted.remove(stream)
        };
        if changed {
            self.tell_demand(stream);
        }
    }

    /// A worker has ended: what a gateway asked for is asked for no more.
    pub(super) fn demand_ends(&mut self, worker: &WorkerId) {
        if !matches!(worker, WorkerId::Gateway) {
            return;
        }
        for stream in std::mem::take(&mut self.wanted) {
            self.tell_demand(&stream);
        }
    }

    /// Tells the ingest worker of a stream whether it is asked for, where that matters.
    fn tell_demand(&mut self, stream: &StreamName) {
        let ingest = WorkerId::Ingest(stream.clone());
        if let Some(member) = self.fleet.index_of(&ingest) {
            self.remind_of_demand(member);
        }
    }

    /// Tells a worker, which may have been started a moment ago, what is asked for.
    pub(super) fn remind_of_demand(&mut self, member: usize) {
        let Some(Role::Ingest(spec)) = self.role(member) else {
            return;
        };
        if spec.on_demand.is_none() {
            return;
        }
        let wanted = self.wanted.contains(&spec.stream);
        self.send(member, &ToWorker::Wanted(wanted));
    }
}
