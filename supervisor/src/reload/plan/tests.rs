use proptest::prelude::*;

use super::super::testing::{BASE, directory, drawn, edition};
use super::*;

/// What is replaced by what in [`BASE`], and the steps that follow from it.
type Case = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);
type Roles = BTreeMap<WorkerId, Role>;

fn owned_roles(plan: &Plan) -> Roles {
    let workers = plan.workers.iter();
    workers
        .map(|planned| (planned.worker.clone(), planned.role.clone()))
        .collect()
}

/// `text` as it would be planned when `old` is in force and it is the seventh text.
fn next(directory: &std::path::Path, old: &Edition, text: &str) -> Edition {
    let mut new = edition(directory, text);
    number_rules(&mut new.config, &old.config, 7);
    new.plan = Plan::new(&new.config, std::path::Path::new("/root/books"), 2);
    keep_gates(&mut new, old);
    new
}

/// The steps from [`BASE`] to a text in which each `from` is replaced by its `to`.
fn lines(changes: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
    let directory = directory();
    let mut text = BASE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let old = edition(directory.path(), BASE);
    let new = next(directory.path(), &old, &text);
    plan(&old, &new, &BTreeSet::new()).map(|plan| plan.lines())
}

#[test]
fn each_change_disturbs_as_little_as_it_can() {
    let cases: &[Case] = &[
        (&[], &[]),
        (&[("run: yard", "run: yard # a remark")], &[]),
        (
            &[("first.yaml", "second.yaml")],
            &["render-yard goes on with another spec: rules"],
        ),
        (
            &[("first.yaml", "gated.yaml")],
            &[
                "infer-people goes on with another spec: gates of yard",
                "render-yard goes on with another spec: rules",
            ],
        ),
        (
            &[(
                "size: 320x240",
                "size: 320x240\n    overlay: {boxes: false}\n    tracker: {iou: 40%}",
            )],
            &["render-yard goes on with another spec: overlay, tracker"],
        ),
        (
            &[("size: 320x240", "size: 320x240\n    best_shots: {}")],
            &["render-yard goes on with another spec: best_shots"],
        ),
        (
            &[(
                "size: 320x240",
                "size: 320x240\n    privacy: {labels: person}",
            )],
            &["render-yard goes on with another spec: privacy"],
        ),
        (
            &[(
                "size: 320x240",
                "size: 320x240\n    cascades: [{model: people, of: car}]",
            )],
            &[
                "infer-people goes on with another spec: crops of yard join",
                "render-yard goes on with another spec: models asked about crops, cascades",
            ],
        ),
        (
            &[(
                "size: 320x240",
                "size: 320x240\n    motion: {threshold: 40}",
            )],
            &["ingest-yard goes on with another spec: motion"],
        ),
        (
            &[(
                "size: 320x240",
                "size: 320x240\n    priority: 3\n    labels: {a: b}",
            )],
            &[
                "infer-people goes on with another spec: labels of yard, priority of yard",
                "render-yard goes on with another spec: labels",
            ],
        ),
        (
            &[(
                "labels: [person, car]",
                "labels: [person, car], score: 0.5, nms: 0.5",
            )],
            &["infer-people goes on with another spec: score, nms"],
        ),
        (
            &[("test:ball", "test:snow")],
            &["stream yard gets its source anew: source"],
        ),
        (
            &[("size: 320x240", "size: 640x480")],
            &[
                "infer-people goes on with another spec: frames of yard",
                "gateway goes on with another spec: stream yard changes",
                "stream yard begins anew: size",
            ],
        ),
        (
            &[("people.onnx", "better.onnx")],
            &["model people is warmed in a new process, which takes over: file"],
        ),
        (
            &[(
                "outputs: [{rtsp: yard}]",
                "outputs: [{rtsp: yard}]\n    encode: {qualities: [120p]}",
            )],
            &[
                "render-yard goes on with another spec: encode",
                "gateway goes on with another spec: stream yard changes",
            ],
        ),
        (
            &[("outputs: [{rtsp: yard}]", "outputs: [{record: yard}]")],
            &[
                "render-yard goes on with another spec: outputs",
                "the gateway ends",
            ],
        ),
        (
            &[(
                "rules: first.yaml\ngateway",
                "rules: first.yaml\n    outputs: [{rtsp: gate}]\ngateway",
            )],
            &[
                "render-gate goes on with another spec: encode, outputs",
                "gateway goes on with another spec: stream gate joins",
            ],
        ),
        (
            &[("  gate:", "  door:")],
            &[
                "infer-people goes on with another spec: stream door joins, stream gate leaves",
                "stream door joins",
                "stream gate leaves",
            ],
        ),
        (
            &[("run: yard", "run: yard\nretention: {max_age: 24h}")],
            &["the store: retention"],
        ),
        (
            &[(
                "infer: [people]\n    rules: first.yaml\n    outputs",
                "rules: first.yaml\n    outputs",
            )],
            &[
                "infer-people goes on with another spec: stream yard leaves",
                "stream yard begins anew: infer",
            ],
        ),
    ];
    for (changes, expected) in cases {
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        let mut found = lines(changes).expect("possible");
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{changes:?}");
    }
}

#[test]
fn a_rule_beside_a_gate_is_no_news_to_the_model() {
    let directory = directory();
    let text = BASE.replacen("first.yaml", "gated.yaml", 1);
    let old = edition(directory.path(), &text);
    let gates = "gates: {people: motion > 1%}\n";
    let rules = "rules: {seen: {on: track, when: score > 0.7}}\n";
    let write = |text: String| {
        std::fs::write(directory.path().join("gated.yaml"), text).expect("written");
    };
    write(format!("{gates}{rules}"));
    let steps = |new: &Edition| plan(&old, new, &BTreeSet::new()).expect("possible").lines();
    assert_eq!(
        steps(&next(directory.path(), &old, &text)),
        ["render-yard goes on with another spec: rules"]
    );
    write(format!("{}{rules}", gates.replace("1%", "2%")));
    assert_eq!(steps(&next(directory.path(), &old, &text)).len(), 2);
}

#[test]
fn what_cannot_change_is_said_by_name() {
    let refused = |changes: &[(&str, &str)]| lines(changes).expect_err("refused").join("\n");
    assert_eq!(
        refused(&[("rtsp_port: 18554", "rtsp_port: 18555")]),
        "`gateway.rtsp_port` cannot change while the run lives: stop it and start again"
    );
    let both = refused(&[
        ("run: yard", "run: other"),
        (
            "{rtsp_port",
            "{address: 0.0.0.0, webrtc_hosts: [203.0.113.9], publish: [webrtc], \
             publish_token: correct-horse, rtsp_port",
        ),
    ]);
    let keys = [
        "`run`",
        "`gateway.address`",
        "`gateway.webrtc_hosts`",
        "`gateway.publish`",
        "`gateway.publish_token`",
    ];
    assert!(keys.iter().all(|key| both.contains(key)), "{both}");
    assert!(!both.contains("correct-horse"), "{both}");
}

#[test]
fn the_least_disturbing_comes_first() {
    let found = lines(&[
        ("people.onnx", "better.onnx"),
        ("size: 320x240", "size: 640x480"),
        ("rules: first.yaml\ngateway", "rules: second.yaml\ngateway"),
    ])
    .expect("possible");
    let order: Vec<usize> = ["render-gate goes on", "is warmed", "begins anew"]
        .iter()
        .map(|part| {
            found
                .iter()
                .position(|line| line.contains(part))
                .expect(part)
        })
        .collect();
    assert!(order.is_sorted(), "{found:?}");
}

#[test]
fn rule_texts_keep_the_number_that_brought_them() {
    let directory = directory();
    let old = edition(directory.path(), BASE);
    let text = BASE.replacen("first.yaml", "second.yaml", 1);
    let new = next(directory.path(), &old, &text);
    let number = |edition: &Edition, stream: &str| {
        let name = stream.parse().expect("a name");
        let rules = edition.config.streams.get(&name)?.rules.as_ref()?;
        Some(rules.source.generation)
    };
    assert_eq!(
        (number(&new, "yard"), number(&new, "gate")),
        (Some(7), Some(0))
    );
}

#[test]
fn a_worker_that_fell_behind_is_told_again() {
    let directory = directory();
    let old = edition(directory.path(), BASE);
    let render = WorkerId::Render("yard".parse().expect("a name"));
    let behind = BTreeSet::from([render]);
    let plan = plan(&old, &old, &behind).expect("possible");
    assert_eq!(
        plan.lines(),
        ["render-yard goes on with another spec: what it did not take before"]
    );
}

fn apply(plan: &ReloadPlan, old: &Roles, new: &Roles) -> Roles {
    let mut roles = old.clone();
    let mut follow = |worker: WorkerId| match new.get(&worker) {
        Some(role) => drop(roles.insert(worker, role.clone())),
        None => drop(roles.remove(&worker)),
    };
    for step in &plan.steps {
        match step.clone() {
            Step::Retain | Step::KeepRecordings => {}
            Step::Reconfigure { worker, .. } => follow(worker),
            Step::Succeed { model, .. }
            | Step::AddModel { model }
            | Step::RemoveModel { model } => follow(WorkerId::Infer(model)),
            Step::StartGateway | Step::EndGateway => follow(WorkerId::Gateway),
            Step::ReplaceIngest { stream, .. } => follow(WorkerId::Ingest(stream)),
            Step::AddStream { stream }
            | Step::RemoveStream { stream }
            | Step::RebuildStream { stream, .. } => {
                follow(WorkerId::Ingest(stream.clone()));
                follow(WorkerId::Render(stream));
            }
        }
    }
    roles
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_leads_from_the_old_workers_to_the_new(
        one in prop::collection::vec(any::<u8>(), 64),
        other in prop::collection::vec(any::<u8>(), 64),
    ) {
        let directory = directory();
        let old = edition(directory.path(), &drawn(&one));
        let new = next(directory.path(), &old, &drawn(&other));
        let plan = plan(&old, &new, &BTreeSet::new()).expect("possible");
        let (old, new) = (owned_roles(&old.plan), owned_roles(&new.plan));
        prop_assert_eq!(apply(&plan, &old, &new), new);
        let mut sorted = plan.steps.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(sorted, plan.steps, "in order, none twice");
    }
}

#[test]
fn accepted_streams_follow_their_template_and_go_with_their_rule() {
    const TEMPLATES: &str = "templates: {camera: {size: 320x240}}\n";
    const ACCEPT: &str = "accept: [{prefix: cam-, template: camera, max: 3}]\n";
    let directory = directory();
    let text = format!("{BASE}{TEMPLATES}{ACCEPT}");
    let names = ["cam-1".parse().expect("a name")];
    let accepting = |text: &str| {
        let mut edition = edition(directory.path(), text);
        edition.config = edition.config.with_accepted(&names);
        edition.plan = Plan::new(&edition.config, std::path::Path::new("/root/books"), 2);
        edition
    };
    let written = edition(directory.path(), &text);
    let old = accepting(&text);
    let lines = |old: &Edition, new: &Edition| {
        let plan = plan(old, new, &BTreeSet::new());
        plan.map(|plan| plan.lines()).expect("it can be done")
    };
    assert_eq!(
        lines(&written, &old),
        [
            "gateway goes on with another spec: cam-1 may be published",
            "stream cam-1 joins"
        ]
    );
    assert_eq!(
        lines(&old, &accepting(&format!("{text}# a remark\n"))),
        [""; 0]
    );
    let edited = text.replace(
        "{size: 320x240}}",
        "{size: 320x240, motion: {threshold: 20}}}",
    );
    assert_eq!(
        lines(&old, &accepting(&edited)),
        ["ingest-cam-1 goes on with another spec: motion"]
    );
    assert_eq!(
        lines(&old, &accepting(BASE)),
        [
            "gateway goes on with another spec: cam-1 is no more published, who is accepted",
            "stream cam-1 leaves"
        ]
    );
}

/// The steps from one mosaic to another.
fn mosaic_lines(old: &str, new: &str) -> Vec<String> {
    let text = |mosaic: &str| {
        format!(
            "
run: wall
streams:
  wall: {{source: {{{mosaic}}}, size: 640x360}}
  yard: {{source: test:ball}}
  gate: {{source: test:ball}}
  door: {{source: test:ball, outputs: [{{record: door}}]}}
"
        )
    };
    let directory = directory();
    let old = edition(directory.path(), &text(old));
    let new = next(directory.path(), &old, &text(new));
    let planned = plan(&old, &new, &BTreeSet::new());
    planned.map(|plan| plan.lines()).expect("possible")
}

#[test]
fn a_changed_mosaic_touches_no_source_of_its_members() {
    let two = "mosaic: [yard, gate]";
    assert_eq!(
        mosaic_lines(two, "mosaic: [gate, yard]"),
        [
            "render-wall goes on with another spec: names in the mosaic",
            "stream wall gets its source anew: source",
        ]
    );
    assert_eq!(
        mosaic_lines(two, "mosaic: [yard, gate, door], columns: 2"),
        [
            "render-door goes on with another spec: mosaics it is in",
            "render-gate goes on with another spec: mosaics it is in",
            "render-wall goes on with another spec: names in the mosaic",
            "render-yard goes on with another spec: mosaics it is in",
            "stream wall gets its source anew: source",
        ],
        "tiles are smaller"
    );
    assert_eq!(
        mosaic_lines(
            "mosaic: [yard, gate], columns: 1",
            "mosaic: [yard], columns: 1"
        ),
        [
            "render-gate goes on with another spec: mosaics it is in",
            "render-wall goes on with another spec: names in the mosaic",
            "render-yard goes on with another spec: mosaics it is in",
            "stream wall gets its source anew: source",
        ]
    );
    assert_eq!(
        mosaic_lines(two, "mosaic: [yard, gate], stale_after: 5s"),
        ["stream wall gets its source anew: source"]
    );
}
