//! From the spec a worker has to the one it is to have: what changes, or why it cannot. Pure.

use std::time::Duration;

use contract::spec::{BatchSpec, FrameServiceSpec, InferSpec, InferStreamSpec, Role};

/// What leads from one spec to another while frames flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The spec when it is done.
    pub wanted: InferSpec,
    /// Streams that are not served any more, or not as they were, by their services' names.
    pub removed: Vec<String>,
    /// Streams that are new.
    pub added: Vec<InferStreamSpec>,
    /// Streams to be opened anew once they are removed: their frames come by another service.
    pub replaced: Vec<InferStreamSpec>,
    /// Streams that go on with another gate, staleness or priority.
    pub changed: Vec<InferStreamSpec>,
    /// What is done, a line each.
    pub notes: Vec<String>,
}

impl Plan {
    /// Compares two specs.
    ///
    /// # Errors
    /// What has changed that a running worker cannot change.
    pub fn between(current: &InferSpec, wanted: Role) -> Result<Self, String> {
        let Role::Infer(wanted) = wanted else {
            return Err("the spec is not one of an infer worker".to_owned());
        };
        if let Some(fixed) = fixed_difference(current, &wanted) {
            return Err(format!(
                "{fixed} cannot change while frames flow: start another worker on standby"
            ));
        }
        if let Some(twice) = named_twice(&wanted.streams) {
            return Err(format!("{twice} is named twice"));
        }
        let mut plan = Self {
            removed: Vec::new(),
            added: Vec::new(),
            replaced: Vec::new(),
            changed: Vec::new(),
            notes: thresholds(current, &wanted),
            wanted,
        };
        if current.batch != plan.wanted.batch {
            let [from, to] = [current.batch, plan.wanted.batch].map(described);
            plan.notes.push(format!("batch: {from} to {to}"));
        }
        plan.compare_streams(&current.streams);
        Ok(plan)
    }

    fn compare_streams(&mut self, current: &[InferStreamSpec]) {
        for old in current {
            if find(&self.wanted.streams, &old.frames).is_none() {
                self.removed.push(old.frames.topic());
                self.notes
                    .push(format!("{}: removed", old.frames.described()));
            }
        }
        for new in &self.wanted.streams {
            let name = new.frames.described();
            match find(current, &new.frames) {
                None => {
                    self.added.push(new.clone());
                    self.notes.push(format!("{name}: added"));
                }
                Some(old) if old == new => {}
                Some(old) if reopens(old, new) => {
                    self.removed.push(new.frames.topic());
                    self.replaced.push(new.clone());
                    self.notes.push(format!("{name}: opened anew"));
                }
                Some(old) => {
                    self.changed.push(new.clone());
                    let what = changes(old, new).join(", ");
                    self.notes.push(format!("{name}: {what}"));
                }
            }
        }
    }
}

/// What makes it another worker.
fn fixed_difference(current: &InferSpec, wanted: &InferSpec) -> Option<&'static str> {
    let InferSpec {
        model,
        file,
        family,
        input,
        labels,
        backend,
        library,
        // Those can change, or say only how a worker begins.
        score_min: _,
        nms_iou: _,
        sessions: _,
        batch: _,
        streams: _,
        standby: _,
    } = wanted;
    let changed = [
        ("the model's name", *model != current.model),
        ("the model's file", *file != current.file),
        ("the model's family", *family != current.family),
        ("the model's input", *input != current.input),
        ("the model's labels", *labels != current.labels),
        ("the model's back end", *backend != current.backend),
        ("the ONNX Runtime library", *library != current.library),
    ];
    let found = changed.into_iter().find(|(_, changed)| *changed);
    found.map(|(what, _)| what)
}

fn thresholds(current: &InferSpec, wanted: &InferSpec) -> Vec<String> {
    let pairs = [
        ("score", current.score_min, wanted.score_min),
        ("nms", current.nms_iou, wanted.nms_iou),
    ];
    let changed = pairs
        .into_iter()
        .filter(|(_, from, to)| from.to_bits() != to.to_bits());
    changed
        .map(|(what, from, to)| format!("{what}: {from} to {to}"))
        .collect()
}

/// `8 in 5ms`
fn described(batch: BatchSpec) -> String {
    let max = batch.max.map_or("auto".to_owned(), |max| max.to_string());
    format!("{max} in {:?}", Duration::from_micros(batch.delay_us))
}

fn named_twice(streams: &[InferStreamSpec]) -> Option<String> {
    let mut others = streams.iter().enumerate();
    let twice = others.find(|(index, stream)| find(&streams[..*index], &stream.frames).is_some());
    twice.map(|(_, stream)| stream.frames.described())
}

fn find<'a>(
    streams: &'a [InferStreamSpec],
    frames: &FrameServiceSpec,
) -> Option<&'a InferStreamSpec> {
    let same =
        |known: &FrameServiceSpec| (&known.stream, &known.crops) == (&frames.stream, &frames.crops);
    streams.iter().find(|stream| same(&stream.frames))
}

/// It reads or writes elsewhere, so nothing of it can stay open.
fn reopens(old: &InferStreamSpec, new: &InferStreamSpec) -> bool {
    old.frames != new.frames || old.consumer != new.consumer || old.book != new.book
}

fn changes(old: &InferStreamSpec, new: &InferStreamSpec) -> Vec<&'static str> {
    let changed = [
        ("rules", old.rules != new.rules),
        ("labels", old.labels != new.labels),
        ("feedback", old.feedback != new.feedback),
        ("staleness", old.max_staleness_ms != new.max_staleness_ms),
        ("priority", old.priority != new.priority),
    ];
    let changed = changed.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(what, _)| what).collect()
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;
    use contract::name::{StreamName, WorkerId};
    use contract::spec::{
        Backend, BackendSpec, FrameMemory, GatewaySpec, InputSpec, ModelFamily, QueuePolicy,
        RuleSource,
    };

    use super::*;

    fn stream(name: &str) -> InferStreamSpec {
        let stream: StreamName = name.parse().expect("a name");
        InferStreamSpec {
            frames: FrameServiceSpec {
                stream: stream.clone(),
                crops: None,
                size: PixelSize {
                    width: 64,
                    height: 48,
                },
                policy: QueuePolicy::DropOldest,
                depth: 2,
                consumers_max: 2,
                held_max: 4,
                memory: FrameMemory::Host,
            },
            rules: None,
            labels: std::collections::BTreeMap::new(),
            feedback: format!("/run/{name}.render").into(),
            max_staleness_ms: 500,
            priority: 1,
            consumer: WorkerId::Render(stream),
            book: format!("/run/{name}.infer").into(),
        }
    }

    fn spec(streams: &[&str]) -> InferSpec {
        InferSpec {
            model: "people".parse().expect("a name"),
            file: "/models/people.onnx".into(),
            family: ModelFamily::Nanodet,
            input: InputSpec::default(),
            labels: vec!["person".to_owned()],
            score_min: 0.4,
            nms_iou: 0.6,
            sessions: Some(1),
            batch: BatchSpec::default(),
            backend: BackendSpec::default(),
            library: None,
            streams: streams.iter().map(|name| stream(name)).collect(),
            standby: false,
        }
    }

    fn names(streams: &[InferStreamSpec]) -> Vec<&str> {
        let names = streams.iter().map(|stream| stream.frames.stream.as_str());
        names.collect()
    }

    #[test]
    fn every_stream_is_in_one_part_of_the_plan() {
        let current = spec(&["gone", "same", "gated", "resized"]);
        let mut wanted = spec(&["same", "gated", "resized", "new"]);
        wanted.standby = true;
        wanted.streams[1].priority = 3;
        wanted.streams[1].rules = Some(RuleSource {
            generation: 1,
            path: "yard.yaml".into(),
            text: "gates: {people: motion > 1%}".to_owned(),
        });
        wanted.streams[2].frames.size.width = 128;
        wanted.score_min = 0.5;
        wanted.batch = BatchSpec {
            max: Some(8),
            delay_us: 5000,
        };
        let plan = Plan::between(&current, Role::Infer(wanted.clone())).expect("it can be done");
        assert_eq!(plan.removed, ["frames/gone", "frames/resized"]);
        assert_eq!(names(&plan.added), ["new"]);
        assert_eq!(names(&plan.replaced), ["resized"]);
        assert_eq!(names(&plan.changed), ["gated"]);
        assert_eq!(
            plan.notes,
            [
                "score: 0.4 to 0.5",
                "batch: auto in 0ns to 8 in 5ms",
                "stream gone: removed",
                "stream gated: rules, priority",
                "stream resized: opened anew",
                "stream new: added",
            ]
        );
        assert_eq!(plan.wanted, wanted);

        let nothing = Plan::between(&current, Role::Infer(current.clone())).expect("the same");
        assert_eq!(nothing.notes, Vec::<String>::new());
    }

    #[test]
    fn the_crops_of_a_stream_come_and_go_beside_its_frames() {
        let current = spec(&["yard"]);
        let mut wanted = spec(&["yard", "yard"]);
        wanted.streams[1].frames.crops = Some(wanted.model.clone());
        let plan = Plan::between(&current, Role::Infer(wanted.clone())).expect("it can be done");
        assert_eq!(plan.added, wanted.streams[1..]);
        assert_eq!(plan.notes, ["crops of yard: added"]);
        let plan = Plan::between(&wanted, Role::Infer(current)).expect("it can be done");
        assert_eq!(plan.removed, ["crops/yard/people"]);
        assert_eq!(plan.notes, ["crops of yard: removed"]);
    }

    #[test]
    fn what_makes_another_worker_is_refused_by_name() {
        let current = spec(&["yard"]);
        type Change = (&'static str, fn(&mut InferSpec));
        let changes: [Change; 5] = [
            ("file", |spec| spec.file = "/models/other.onnx".into()),
            ("labels", |spec| spec.labels.clear()),
            ("back end", |spec| {
                spec.backend.backend = Some(Backend::Cpu);
            }),
            ("library", |spec| spec.library = Some("/lib/ort.so".into())),
            ("twice", |spec| spec.streams.push(stream("yard"))),
        ];
        for (what, change) in changes {
            let mut wanted = spec(&["yard"]);
            change(&mut wanted);
            let error = Plan::between(&current, Role::Infer(wanted)).expect_err(what);
            assert!(error.contains(what), "{error}");
        }
        let gateway = Role::Gateway(GatewaySpec {
            address: String::new(),
            ports: [].into(),
            webrtc_hosts: Vec::new(),
            srt_passphrase: None,
            publish: [].into(),
            publish_token: None,
            streams: Vec::new(),
            intakes: Vec::new(),
            accept: Vec::new(),
        });
        assert!(Plan::between(&current, gateway).is_err());
    }
}
