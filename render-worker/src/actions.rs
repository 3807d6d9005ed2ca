//! What rules want done when they fire: pictures, clips, and the event itself.
//!
//! What a rule wants drawn or tagged is not here: the overlay asks the rules for
//! colours, and the rules remember tags themselves. Publishing and web hooks are
//! carried out by others, from the event.

use std::collections::BTreeMap;
use std::path::PathBuf;

use analytics::{Firing, Phase};
use contract::best_shot::{BestShot, ShotCause};
use contract::control::{FileContent, FileKind, FileRecord, FileState, FromWorker};
use contract::event::Event;
use dsl::{Action, SnapshotOf};
use worker::{Control, Failure};

use crate::analysis::Analysis;
use crate::crop::Still;
use crate::paths;
use crate::shared::Header;
use crate::snapshot::{Snapshot, SnapshotWriter};
use crate::video::Video;

/// Pictures that wait for the writer: a few events at once are common, many are a flood.
const QUEUE_MAX: usize = 4;

/// The files of an event that lasts.
#[derive(Debug, Default)]
struct Files {
    snapshot: Option<String>,
    clip: Option<String>,
}

/// Carries out actions and sends events.
pub(crate) struct Actions {
    control: Control,
    /// Each with what is told once it is written.
    snapshots: SnapshotWriter<Vec<FromWorker>>,
    /// By the ids of events that last: as many as the rules hold, who bound their number.
    files: BTreeMap<String, Files>,
}

impl Actions {
    /// Starts the writer of pictures, which go into the run's directory.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(directory: PathBuf, control: Control) -> Result<Self, Failure> {
        let teller = control.clone();
        let done = move |reports: Vec<FromWorker>, written| {
            for report in reports.into_iter().filter(|_| written) {
                teller.send(report);
            }
        };
        let snapshots = SnapshotWriter::start(directory, QUEUE_MAX, done)
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            control,
            snapshots,
            files: BTreeMap::new(),
        })
    }

    /// Takes the best picture of the track of each event that begins and wants it: that of its
    /// whole life, or, where none was good enough to be kept, the object as it is now. `pixels`
    /// are not drawn on yet.
    pub(crate) fn take_best_shots(
        &mut self,
        header: &Header,
        pixels: &[u8],
        firings: &[Firing],
        analysis: &Analysis,
    ) {
        for firing in begins(firings, SnapshotOf::Best) {
            let event = &firing.event;
            if let Some(best) = event.track.and_then(|track| analysis.best_shot(track)) {
                let cause = ShotCause::Event(event.id.clone());
                let told = best.told(&event.stream, cause, paths::snapshot(event));
                self.submit(header, event, best.still, Some(told));
                continue;
            }
            let hidden = analysis.hidden();
            let now = |bounds| Still::crop(&header.format, pixels, bounds, hidden);
            if let Some(still) = event.bounds.as_ref().and_then(now) {
                self.submit(header, event, still, None);
            }
        }
    }

    /// Takes the drawn frame for each event that begins and wants it.
    pub(crate) fn take_frames(&mut self, header: &Header, drawn: &[u8], firings: &[Firing]) {
        for firing in begins(firings, SnapshotOf::Frame) {
            let still = Still::whole(&header.format, drawn);
            self.submit(header, &firing.event, still, None);
        }
    }

    /// Begins and ends clips, and sends the events, in their order.
    pub(crate) fn carry_out(&mut self, firings: Vec<Firing>, video: &mut Video) {
        for firing in firings {
            let event = &firing.event;
            match firing.phase {
                Phase::Begin => {
                    if let Some(around) = recorded(&firing.actions) {
                        let clip = video.begin_clip(&event.id, paths::clip(event), around);
                        self.files.entry(event.id.clone()).or_default().clip = clip;
                    }
                }
                Phase::End => {
                    let end_pts_ns = event.end_pts_ns.unwrap_or(event.begin_pts_ns);
                    video.end_clip(&event.id, end_pts_ns);
                }
            }
            self.send(firing);
        }
    }

    /// The end of an event names the files that its begin has named.
    fn send(&mut self, firing: Firing) {
        let mut event = firing.event;
        let ended = match firing.phase {
            Phase::Begin => None,
            Phase::End => self.files.remove(&event.id),
        };
        if let Some(files) = ended.as_ref().or_else(|| self.files.get(&event.id)) {
            event.snapshot.clone_from(&files.snapshot);
            event.clip.clone_from(&files.clip);
        }
        if firing.alerts {
            self.control.send(FromWorker::Event(Box::new(event)));
        }
    }

    fn submit(&mut self, header: &Header, event: &Event, still: Still, best: Option<BestShot>) {
        let path = paths::snapshot(event);
        let record = FileRecord {
            stream: event.stream.clone(),
            kind: FileKind::Snapshot,
            path: path.clone(),
            // Told once it is written.
            state: FileState::Closed,
            begin_wall_ms: header.wall_ms,
            begin_pts_ns: header.stamp.pts_ns,
            content: FileContent {
                frames: 1,
                end_wall_ms: header.wall_ms,
                ..FileContent::default()
            },
        };
        let best = best.map(|best| FromWorker::BestShot(Box::new(best)));
        let snapshot = Snapshot {
            still,
            path: path.clone(),
            about: std::iter::once(FromWorker::File(Box::new(record)))
                .chain(best)
                .collect(),
        };
        if self.snapshots.submit(snapshot) {
            self.files.entry(event.id.clone()).or_default().snapshot = Some(path);
        } else {
            tracing::warn!(
                "`{path}` is not written: more snapshots are asked for than can be written"
            );
        }
    }
}

/// An event that begins wants the drawn frame.
pub(crate) fn wants_frame(firings: &[Firing]) -> bool {
    begins(firings, SnapshotOf::Frame).next().is_some()
}

fn begins(firings: &[Firing], wanted: SnapshotOf) -> impl Iterator<Item = &Firing> {
    let begins = firings.iter().filter(|firing| firing.phase == Phase::Begin);
    begins.filter(move |firing| pictured(&firing.actions) == Some(wanted))
}

/// Of what an event is to have a picture; the first that its rule asks for.
fn pictured(actions: &[Action]) -> Option<SnapshotOf> {
    actions.iter().find_map(|action| match action {
        Action::Snapshot(of) => Some(*of),
        _ => None,
    })
}

/// How much before and after an event its clip shows, in nanoseconds.
fn recorded(actions: &[Action]) -> Option<(u64, u64)> {
    actions.iter().find_map(|action| match action {
        Action::Record {
            before_ns,
            after_ns,
        } => Some((*before_ns, *after_ns)),
        _ => None,
    })
}
