//! What changes between two specs of one worker, by the keys of the config.

use contract::name::ModelName;
use contract::spec::{
    FrameServiceSpec, GatewaySpec, InferSpec, InferStreamSpec, IngestSpec, RenderSpec, RuleSource,
};

/// What changes between two specs of one worker.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The worker can go on with it.
    pub(super) live: Vec<String>,
    /// It cannot.
    pub(super) fixed: Vec<String>,
}

impl Changes {
    fn of(
        live: impl IntoIterator<Item = (&'static str, bool)>,
        fixed: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Self {
        fn changed(keys: impl IntoIterator<Item = (&'static str, bool)>) -> Vec<String> {
            let changed = keys.into_iter().filter(|(_, changed)| *changed);
            changed.map(|(key, _)| key.to_owned()).collect()
        }
        Self {
            live: changed(live),
            fixed: changed(fixed),
        }
    }

    pub(super) fn all(self) -> Vec<String> {
        self.fixed.into_iter().chain(self.live).collect()
    }
}

pub(super) fn ingest_changes(old: &IngestSpec, new: &IngestSpec) -> Changes {
    let IngestSpec {
        stream,
        source,
        retry,
        no_frame_timeout_ms,
        on_demand,
        motion,
        hardware_decoder,
        passthrough: _,
        frames,
        consumers,
        book,
    } = new;
    let names = *stream != old.stream || *book != old.book;
    Changes::of(
        [("motion", *motion != old.motion)],
        [
            ("source", *source != old.source),
            ("retry", *retry != old.retry),
            (
                "no_frame_timeout",
                *no_frame_timeout_ms != old.no_frame_timeout_ms,
            ),
            ("on_demand", *on_demand != old.on_demand),
            ("decoder", *hardware_decoder != old.hardware_decoder),
            ("size", frames.size != old.frames.size),
            ("memory", frames.memory != old.frames.memory),
            (
                "queue",
                (frames.policy, frames.depth, frames.held_max)
                    != (old.frames.policy, old.frames.depth, old.frames.held_max),
            ),
            (
                "infer",
                *consumers != old.consumers || frames.consumers_max != old.frames.consumers_max,
            ),
            ("names", names || frames.stream != old.frames.stream),
        ],
    )
}

pub(super) fn render_changes(old: &RenderSpec, new: &RenderSpec) -> Changes {
    let RenderSpec {
        frames: _,
        models,
        crops,
        cascades,
        max_latency_ms,
        tracker,
        best_shots,
        privacy,
        rules,
        labels,
        overlay,
        captions,
        tiles,
        encode,
        passthrough,
        record,
        restream,
        store_detections,
        book,
    } = new;
    let names = |spec: &RenderSpec| -> Vec<ModelName> {
        let models = spec.models.iter();
        models.map(|model| model.model.clone()).collect()
    };
    let same_models = names(new) == names(old);
    let text = |rules: &Option<RuleSource>| rules.as_ref().map(|rules| rules.text.clone());
    Changes::of(
        [
            ("rules", text(rules) != text(&old.rules)),
            ("models asked about crops", *crops != old.crops),
            ("cascades", *cascades != old.cascades),
            ("labels", *labels != old.labels),
            ("overlay", *overlay != old.overlay),
            ("names in the mosaic", *captions != old.captions),
            ("mosaics it is in", *tiles != old.tiles),
            ("tracker", *tracker != old.tracker),
            ("best_shots", *best_shots != old.best_shots),
            ("privacy", *privacy != old.privacy),
            ("queue.max_latency", *max_latency_ms != old.max_latency_ms),
            ("store", *store_detections != old.store_detections),
            ("encode", *encode != old.encode),
            (
                "outputs",
                *record != old.record || *restream != old.restream,
            ),
        ],
        [
            ("infer", !same_models),
            // Also that of the ingest worker: both are of the one key.
            ("passthrough", *passthrough != old.passthrough),
            ("labels of its models", same_models && *models != old.models),
            ("names", *book != old.book),
        ],
    )
}

pub(super) fn infer_changes(old: &InferSpec, new: &InferSpec) -> Changes {
    let InferSpec {
        model,
        file,
        family,
        input,
        labels,
        score_min,
        nms_iou,
        sessions,
        batch,
        backend,
        library,
        streams,
        standby: _,
    } = new;
    #[expect(clippy::float_cmp, reason = "either it is the same text or it is not")]
    let thresholds = [
        ("score", *score_min != old.score_min),
        ("nms", *nms_iou != old.nms_iou),
    ];
    let mut changes = Changes::of(
        thresholds.into_iter().chain([
            ("sessions", *sessions != old.sessions),
            ("batch", *batch != old.batch),
        ]),
        [
            ("file", *file != old.file),
            ("family", *family != old.family),
            ("input", *input != old.input),
            ("labels", *labels != old.labels),
            ("back end", *backend != old.backend),
            ("names", *model != old.model || *library != old.library),
        ],
    );
    let find = |spec: &'_ InferSpec, frames: &FrameServiceSpec| {
        let mut streams = spec.streams.iter();
        streams
            .find(|stream| stream.frames.topic() == frames.topic())
            .cloned()
    };
    for stream in streams {
        let frames = &stream.frames;
        match find(old, frames) {
            None => changes.live.push(lane_does(frames, "join")),
            Some(known) => changes.live.extend(infer_stream_changes(&known, stream)),
        }
    }
    for stream in &old.streams {
        let frames = &stream.frames;
        if find(new, frames).is_none() {
            changes.live.push(lane_does(frames, "leave"));
        }
    }
    changes
}

fn infer_stream_changes(old: &InferStreamSpec, new: &InferStreamSpec) -> Vec<String> {
    let InferStreamSpec {
        frames,
        rules,
        labels,
        feedback,
        max_staleness_ms,
        priority,
        consumer,
        book,
    } = new;
    let text = |rules: &Option<RuleSource>| rules.as_ref().map(|rules| rules.text.clone());
    let anew = *frames != old.frames
        || *feedback != old.feedback
        || *consumer != old.consumer
        || *book != old.book;
    let changes = [
        ("frames", anew),
        ("gates", text(rules) != text(&old.rules)),
        ("labels", *labels != old.labels),
        (
            "queue.max_staleness",
            *max_staleness_ms != old.max_staleness_ms,
        ),
        ("priority", *priority != old.priority),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    let lane = match frames.crops {
        None => frames.stream.to_string(),
        Some(_) => frames.described(),
    };
    changed.map(|(key, _)| format!("{key} of {lane}")).collect()
}

/// `stream yard joins`, `crops of yard join`.
fn lane_does(frames: &FrameServiceSpec, verb: &str) -> String {
    let ending = if frames.crops.is_none() { "s" } else { "" };
    format!("{} {verb}{ending}", frames.described())
}

pub(super) fn gateway_changes(old: &GatewaySpec, new: &GatewaySpec) -> Vec<String> {
    let GatewaySpec {
        // A change of these is refused.
        address: _,
        ports: _,
        webrtc_hosts: _,
        srt_passphrase: _,
        publish: _,
        publish_token: _,
        streams,
        intakes,
        accept,
    } = new;
    let mut changes = Vec::new();
    for stream in streams {
        let known = old
            .streams
            .iter()
            .find(|known| known.stream == stream.stream);
        if known != Some(stream) {
            let verb = if known.is_some() { "changes" } else { "joins" };
            changes.push(format!("stream {} {verb}", stream.stream));
        }
    }
    for known in &old.streams {
        if !streams.iter().any(|stream| stream.stream == known.stream) {
            changes.push(format!("stream {} leaves", known.stream));
        }
    }
    for known in old.intakes.iter().filter(|known| !intakes.contains(known)) {
        changes.push(format!("{} is no more published", known.path));
    }
    for intake in intakes.iter().filter(|new| !old.intakes.contains(new)) {
        changes.push(format!("{} may be published", intake.path));
    }
    if *accept != old.accept {
        changes.push("who is accepted".to_owned());
    }
    changes
}
