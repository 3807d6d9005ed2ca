//! The stored frames of a stream, one after the other, with what was in force for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use analytics::EngineSpec;
use contract::control::FrameRecord;
use contract::name::StreamName;
use contract::spec::RenderModelSpec;
use dsl::RuleFile;

use super::CommandError;
use super::past::Era;
use super::progress::Progress;
use crate::store::{Reader, Segment, StoredFrame};

/// What a render worker went through.
pub(super) enum Step<'a> {
    /// One begins, with nothing remembered.
    Begin(&'a Era, &'a Segment),
    /// Its rules or settings change between two frames.
    Change(&'a Era),
    /// It evaluates a frame.
    Frame(&'a FrameRecord),
}

/// Plays the stored frames of a stream to `visit`.
///
/// A text counts as in force from the time on at which its last worker had it.
pub(super) fn play(
    store: &Reader,
    run: &str,
    stream: &StreamName,
    eras: &[Era],
    progress: &mut Progress,
    mut visit: impl FnMut(Step<'_>),
) -> Result<(), CommandError> {
    let stored = store.completeness(run, stream.as_str())?;
    let expected = stored.map_or(0, |completeness| completeness.stored);
    let mut script = Script::new(eras);
    for (index, frame) in store.frames(run, stream.as_str())?.enumerate() {
        script.play(&frame?, &mut visit);
        progress.show(|| format!("{stream}: frame {} of {expected}", index + 1));
    }
    Ok(())
}

/// Where the playback is.
struct Script<'a> {
    /// The eras from the one in force on.
    eras: &'a [Era],
    /// The life of the render worker and the models that the engine was made for.
    life: Option<(u32, Vec<RenderModelSpec>)>,
}

impl<'a> Script<'a> {
    fn new(eras: &'a [Era]) -> Self {
        Self { eras, life: None }
    }

    fn play(&mut self, frame: &StoredFrame, visit: &mut impl FnMut(Step<'_>)) {
        let StoredFrame { segment, record } = frame;
        let goes_on = self.life.as_ref().is_some_and(|(incarnation, models)| {
            *incarnation == segment.incarnation && *models == segment.models
        });
        let is_due = |era: &Era| era.from_wall_ms.is_some_and(|from| record.wall_ms >= from);
        while self.eras.get(1).is_some_and(is_due) {
            self.eras = &self.eras[1..];
            if goes_on {
                visit(Step::Change(&self.eras[0]));
            }
        }
        if !goes_on && let Some(era) = self.eras.first() {
            self.life = Some((segment.incarnation, segment.models.clone()));
            visit(Step::Begin(era, segment));
        }
        visit(Step::Frame(record));
    }
}

impl Era {
    /// Its rules; none for a stream without.
    pub(super) fn rule_file(&self) -> Arc<RuleFile> {
        self.rules.clone().unwrap_or_default()
    }

    /// What an engine is told besides the rules.
    pub(super) fn engine_spec(&self, stream: &StreamName, segment: &Segment) -> EngineSpec {
        let models = segment.models.iter();
        let mut spec = EngineSpec {
            generation: 0,
            stream: stream.clone(),
            stream_labels: BTreeMap::new(),
            class_names: models.map(|model| model.labels.clone()).collect(),
            forget_after_ns: 0,
        };
        self.settle(&mut spec);
        spec
    }

    /// Puts its settings into what an engine is told.
    pub(super) fn settle(&self, spec: &mut EngineSpec) {
        spec.generation = self.generation;
        spec.stream_labels.clone_from(&self.settings.labels);
        spec.forget_after_ns = self.settings.lost_timeout_ns;
    }
}
