//! What differs between two specs of one stream, and whether it can be changed while frames go by.
//!
//! Pure. A worker that is told to change what it cannot change refuses all of it, and
//! says what: the supervisor then starts another worker with the new spec.

use contract::spec::RenderSpec;
use dsl::RuleFile;

use crate::analysis;
use crate::cascade::Conditions;
use crate::encode;

/// What is to be done to go over from one spec to another.
#[derive(Debug)]
pub(crate) struct Change {
    /// The new rules, where they are others.
    pub(crate) rules: Option<RuleFile>,
    /// The conditions of the new cascades, where these or the rules are others.
    pub(crate) conditions: Option<Conditions>,
    /// What else changes, a line each, for the one who asked.
    pub(crate) lines: Vec<String>,
}

impl Change {
    /// The way from `old` to `new`.
    ///
    /// # Errors
    /// Names what cannot be changed in a running worker, or what is wrong with `new`.
    pub(crate) fn between(old: &RenderSpec, new: &RenderSpec) -> Result<Self, String> {
        let stream = &old.frames.stream;
        let fixed = [
            ("where frames come from", old.frames != new.frames),
            ("the models", old.models != new.models),
            ("the passthrough", old.passthrough != new.passthrough),
            ("the book", old.book != new.book),
        ];
        if let Some((what, _)) = fixed.iter().find(|(_, differs)| *differs) {
            return Err(format!(
                "{what} of stream `{stream}` cannot be changed in a running render worker: it must be replaced"
            ));
        }
        let mut rules = None;
        let mut conditions = None;
        if old.rules != new.rules || old.cascades != new.cascades {
            let file = analysis::read_rules(new.rules.as_ref())?;
            conditions = Some(Conditions::read(&new.cascades, &file)?);
            rules = (old.rules != new.rules).then_some(file);
        }
        if let Some(encode) = new.encode.as_ref().filter(|_| old.encode != new.encode) {
            encode::check(encode).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            rules,
            conditions,
            lines: lines(old, new),
        })
    }
}

fn lines(old: &RenderSpec, new: &RenderSpec) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |differs: bool, line: String| {
        if differs {
            lines.push(line);
        }
    };
    note(old.labels != new.labels, "labels: changed".to_owned());
    let names = |spec: &RenderSpec| -> Vec<String> {
        let models = spec.crops.iter();
        models.map(|crops| crops.model.to_string()).collect()
    };
    note(
        names(old) != names(new),
        format!("crops: for [{}]", names(new).join(", ")),
    );
    let cascades = new.cascades.iter().map(|cascade| {
        let (model, labels) = (&cascade.model, cascade.of.join(", "));
        format!("{model} of [{labels}]")
    });
    let cascades = match &cascades.collect::<Vec<_>>()[..] {
        [] => "cascades: none".to_owned(),
        cascades => format!("cascades: {}", cascades.join("; ")),
    };
    note(old.cascades != new.cascades, cascades);
    note(
        old.tracker != new.tracker,
        "tracker: thresholds changed, tracks kept".to_owned(),
    );
    let best_shots = new.best_shots.as_ref().map_or_else(
        || "best shots: no more".to_owned(),
        |spec| match &spec.labels[..] {
            [] => "best shots: of all tracks".to_owned(),
            labels => format!("best shots: of [{}]", labels.join(", ")),
        },
    );
    note(old.best_shots != new.best_shots, best_shots);
    let privacy = new.privacy.as_ref().map_or_else(
        || "privacy: nothing is hidden any more".to_owned(),
        |spec| format!("privacy: [{}] hidden", spec.labels.join(", ")),
    );
    note(old.privacy != new.privacy, privacy);
    note(old.overlay != new.overlay, "overlay: changed".to_owned());
    note(
        old.captions != new.captions,
        format!("names in the mosaic: {}", new.captions.len()),
    );
    let mosaics = new.tiles.iter().map(|tile| {
        let (mosaic, size, fps) = (&tile.mosaic, tile.size, tile.fps);
        format!("{mosaic} {size} at {fps} fps")
    });
    let mosaics = match &mosaics.collect::<Vec<_>>()[..] {
        [] => "tiles: for no mosaic".to_owned(),
        mosaics => format!("tiles: for {}", mosaics.join(", ")),
    };
    note(old.tiles != new.tiles, mosaics);
    note(
        old.max_latency_ms != new.max_latency_ms,
        format!("max_latency: {} ms", new.max_latency_ms),
    );
    note(
        old.store_detections != new.store_detections,
        format!(
            "detections: {}",
            if new.store_detections {
                "stored"
            } else {
                "not stored"
            }
        ),
    );
    let encode = new.encode.as_ref().map_or_else(
        || "encoder: ended".to_owned(),
        |encode| format!("encoder: {}", encode::described(encode)),
    );
    note(old.encode != new.encode, encode);
    let record = new.record.as_ref().map_or_else(
        || "recording: ended".to_owned(),
        |record| format!("recording: to {}", record.directory.display()),
    );
    note(old.record != new.record, record);
    note(
        old.restream != new.restream,
        format!("restream: {}", if new.restream { "begun" } else { "ended" }),
    );
    lines
}
