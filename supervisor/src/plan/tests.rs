use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};

use contract::spec::{BestShotsSpec, CascadeSpec, Protocol, QueuePolicy, SourceSpec};

use super::*;
use crate::config;

const CONFIG: &str = "
run: yard
models:
  people: {file: people.onnx, family: nanodet, labels: coco, score: 0.4}
  unused: {file: people.onnx, family: nanodet, labels: coco}
streams:
  yard:
    source: test:ball
    size: 768x576
    infer: [people]
    queue: {policy: wait, depth: 2, max_latency: 300ms}
    outputs: [{rtsp: yard}, {record: video}]
  gate:
    source: test:smpte
    infer: []
gateway: {rtsp_port: 18554}
";

fn plan_of(text: &str) -> Plan {
    plan_with(text, "rules: {}")
}

fn plan_with(text: &str, rules: &str) -> Plan {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("r.yaml"), rules).expect("written");
    std::fs::write(directory.path().join("people.onnx"), b"a model").expect("written");
    let path = directory.path().join("run.yaml");
    std::fs::write(&path, text).expect("written");
    let config = config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
    Plan::new(&config, Path::new("/root/books"), 2)
}

fn roles(plan: &Plan) -> BTreeMap<String, Role> {
    let workers = plan.workers.iter();
    workers
        .map(|planned| (planned.worker.to_string(), planned.role.clone()))
        .collect()
}

#[test]
fn a_config_becomes_workers() {
    let plan = plan_of(CONFIG);
    let ids: Vec<_> = plan.worker_ids().iter().map(ToString::to_string).collect();
    assert_eq!(
        ids,
        [
            "infer-people",
            "render-gate",
            "render-yard",
            "gateway",
            "ingest-gate",
            "ingest-yard"
        ],
        "consumers come first, and a model that nobody uses is not run"
    );
    assert_eq!(plan.books.len(), 2 + 4);
    assert!(plan.shared_memory_bytes > 10 << 20);
    assert_eq!(plan.served[&Protocol::Rtsp].port(), 18554);

    let roles = roles(&plan);
    let Role::Ingest(ingest) = &roles["ingest-yard"] else {
        panic!("not ingest");
    };
    let consumers: Vec<_> = ingest.consumers.iter().map(ToString::to_string).collect();
    assert_eq!(consumers, ["infer-people", "render-yard"]);
    assert_eq!(ingest.frames.policy, QueuePolicy::Wait);
    assert_eq!(ingest.frames.consumers_max, 2);
    // 300 ms at 30 fps, and two.
    assert_eq!(ingest.frames.held_max, 11);
    assert_eq!(ingest.book, Path::new("/root/books/ingest.yard.book"));
    assert!(matches!(ingest.source, SourceSpec::Test { .. }));

    let Role::Infer(infer) = &roles["infer-people"] else {
        panic!("not infer");
    };
    assert_eq!(infer.streams.len(), 1);
    assert_eq!(
        infer.streams[0].frames, ingest.frames,
        "both open the same service"
    );
    assert_eq!(infer.streams[0].consumer.to_string(), "render-yard");

    let Role::Render(render) = &roles["render-yard"] else {
        panic!("not render");
    };
    assert_eq!(render.frames, ingest.frames);
    assert!(render.restream && render.encode.is_some());
    assert_eq!(render.models[0].labels, infer.labels);
    let Role::Render(bare) = &roles["render-gate"] else {
        panic!("not render");
    };
    assert!(!bare.restream && bare.record.is_none() && bare.models.is_empty());

    let Role::Gateway(gateway) = &roles["gateway"] else {
        panic!("not gateway");
    };
    assert_eq!(gateway.streams.len(), 1);
    assert_eq!(gateway.streams[0].paths[&Protocol::Rtsp], "yard");
}

#[test]
fn rules_that_infer_give_a_model_crops_beside_frames() {
    const RULES: &str =
        "rules: {close: {on: track, when: box.height > 0.3, do: [infer(people), infer(unused)]}}";
    let plain = plan_of(CONFIG);
    let plan = plan_with(
        &CONFIG.replace("infer: [people]", "infer: [people]\n    rules: r.yaml"),
        RULES,
    );
    let roles = roles(&plan);
    let Role::Render(render) = &roles["render-yard"] else {
        panic!("not render");
    };
    let asked: Vec<_> = render
        .crops
        .iter()
        .map(|crops| crops.frames.topic())
        .collect();
    assert_eq!(asked, ["crops/yard/people", "crops/yard/unused"]);
    let crops = &render.crops[0];
    assert!(
        crops.frames.depth >= crops.unanswered_max,
        "none is lost on the bus"
    );
    assert_eq!(crops.book, Path::new("/root/books/crops.yard.people.book"));

    let Role::Infer(people) = &roles["infer-people"] else {
        panic!("not infer");
    };
    let [frames, lane] = &people.streams[..] else {
        panic!("{:?}", people.streams);
    };
    assert_eq!(frames.frames, render.frames);
    assert_eq!(lane.frames, crops.frames, "both open the same service");
    assert_eq!(
        lane.book,
        Path::new("/root/books/infer-crops.yard.people.book")
    );
    assert_eq!(lane.max_staleness_ms, 300, "later it is not waited for");
    let Role::Infer(unused) = &roles["infer-unused"] else {
        panic!("not infer");
    };
    assert_eq!(unused.streams.len(), 1, "the gate has no rules");
    // Neither the frames nor who takes them are others than without the rule.
    assert_eq!(
        plain.role(&WorkerId::Ingest(render.frames.stream.clone())),
        Some(&roles["ingest-yard"])
    );
    assert_eq!(plan.books.len(), plain.books.len() + 4);
    assert!(plan.shared_memory_bytes > plain.shared_memory_bytes);
}

#[test]
fn a_model_of_a_cascade_needs_no_stream_that_infers_whole_frames() {
    const RULES: &str = "zones: {door: {polygon: [[0, 0], [1, 0], [1, 1]]}}";
    let cascades = "infer: [people]
    rules: r.yaml
    best_shots: {labels: person, min_score: 60%}
    cascades: [{model: unused, of: person, every: 500ms, when: in_zone(door), until: found}]";
    let plan = plan_with(&CONFIG.replace("infer: [people]", cascades), RULES);
    let roles = roles(&plan);
    let Role::Infer(unused) = &roles["infer-unused"] else {
        panic!("not infer");
    };
    let Role::Render(render) = &roles["render-yard"] else {
        panic!("not render");
    };
    assert_eq!(unused.streams.len(), 1);
    assert_eq!(unused.streams[0].frames, render.crops[0].frames);
    let cascade = CascadeSpec {
        model: "unused".parse().expect("a name"),
        of: vec!["person".to_owned()],
        every_ms: 500,
        when: Some("in_zone(door)".to_owned()),
        until_found: true,
    };
    assert_eq!(render.cascades, [cascade]);
    let best_shots = BestShotsSpec {
        labels: vec!["person".to_owned()],
        score_min: 0.6,
        side_min: 32,
    };
    assert_eq!(render.best_shots, Some(best_shots));
    let Role::Render(gate) = &roles["render-gate"] else {
        panic!("not render");
    };
    assert_eq!((gate.best_shots.as_ref(), gate.cascades.len()), (None, 0));
}

#[test]
fn what_a_consumer_holds_is_bounded() {
    let with_latency = |latency: &str| {
        let plan = plan_of(&CONFIG.replace("300ms", latency));
        match &roles(&plan)["render-yard"] {
            Role::Render(spec) => spec.frames.held_max,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(with_latency("10ms"), 4);
    assert_eq!(with_latency("5s"), 16);
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = holder.local_addr().expect("bound").port();
    let plan = plan_of(&CONFIG.replace("18554", &port.to_string()));
    let error = plan.check_ports(None).expect_err("taken").to_string();
    assert!(error.contains(&port.to_string()), "{error}");
    assert!(
        error.contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
    drop(holder);
    plan.check_ports(None).expect("free");
}

#[test]
fn a_port_that_the_gateway_holds_by_the_plan_before_is_not_looked_at() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = holder.local_addr().expect("bound").port();
    let before = plan_of(&CONFIG.replace("18554", &port.to_string()));
    before
        .check_ports(Some(&before))
        .expect("held by ourselves");

    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let taken = udp.local_addr().expect("bound").port();
    let ports = format!("{port}, srt_port: {taken}");
    let text = CONFIG.replace("18554", &ports);
    let after = plan_of(&text.replace("{rtsp: yard}", "{rtsp: yard}, {srt: yard}"));
    let error = after.check_ports(Some(&before)).expect_err("taken");
    let error = error.to_string();
    assert!(error.contains("cannot serve srt on"), "{error}");
    assert!(error.contains("gateway: {srt_port: ...}"), "{error}");
}

#[test]
fn a_published_source_needs_the_gateway_even_without_viewers() {
    let plan = plan_of(
        "
run: yard
streams:
  cam: {source: 'publish:cams/1', size: 320x240}
gateway: {srt_port: 18890}
",
    );
    let Some(Role::Gateway(gateway)) = plan.role(&WorkerId::Gateway) else {
        panic!("a gateway");
    };
    assert_eq!(gateway.streams, []);
    let [intake] = &gateway.intakes[..] else {
        panic!("one intake: {gateway:?}");
    };
    assert_eq!(
        (intake.stream.as_str(), &intake.path[..]),
        ("cam", "cams/1")
    );
    assert_eq!(intake.book, Path::new("/root/books/intake.cam.book"));
    assert!(plan.books.iter().any(|id| id.part == Part::Intake));
    assert_eq!(plan.served[&Protocol::Srt].port(), 18890);
    let ingest = WorkerId::Ingest("cam".parse().expect("a name"));
    let Some(Role::Ingest(ingest)) = plan.role(&ingest) else {
        panic!("an ingest worker");
    };
    let path = "cams/1".to_owned();
    assert_eq!(ingest.source, SourceSpec::Publish { path });
}

#[test]
fn senders_come_by_the_protocols_that_are_named() {
    let served = |gateway: &str, source: &str| -> Vec<Protocol> {
        let config = format!(
            "run: yard\ngateway: {gateway}\nstreams: {{cam: {{source: '{source}', size: 320x240}}}}"
        );
        plan_of(&config).served.into_keys().collect()
    };
    let (published, other) = ("publish:cam", "test:ball");
    assert_eq!(served("{}", published), [Protocol::Srt]);
    let both = "{publish: [srt, webrtc]}";
    assert_eq!(served(both, published), [Protocol::Webrtc, Protocol::Srt]);
    assert_eq!(served("{publish: [webrtc]}", published), [Protocol::Webrtc]);
    assert_eq!(served(both, other), [], "nothing is published");
}

#[test]
fn who_accepts_senders_listens_for_them() {
    let plan = plan_of(
        "
run: yard
streams: {yard: {source: test:ball, size: 320x240}}
templates: {camera: {}}
accept: [{prefix: cam-, template: camera, max: 3}]
",
    );
    let Some(Role::Gateway(gateway)) = plan.role(&WorkerId::Gateway) else {
        panic!("a gateway");
    };
    assert_eq!((gateway.accept.len(), gateway.accept[0].max), (1, 3));
    assert!(plan.served.contains_key(&Protocol::Srt));
    assert!(!plan.books.iter().any(|id| id.part == Part::Intake));
}

#[test]
fn a_mosaic_takes_tiles_of_its_members() {
    let plan = plan_of(
        "
run: yard
streams:
  wall: {source: {mosaic: [yard, gate, door], columns: 3, fps: 5, stale_after: 3s}, size: 644x180}
  yard: {source: test:ball, size: 320x240}
  gate: {source: test:ball, size: 320x240}
  door: {source: test:ball, size: 320x240}
  other: {source: test:ball, size: 320x240}
",
    );
    let roles = roles(&plan);
    let Role::Ingest(ingest) = &roles["ingest-wall"] else {
        panic!("not ingest");
    };
    let SourceSpec::Mosaic(mosaic) = &ingest.source else {
        panic!("{:?}", ingest.source);
    };
    assert_eq!(
        (mosaic.fps, mosaic.columns, mosaic.stale_after_ms),
        (5, 3, 3000)
    );
    assert_eq!(mosaic.size.to_string(), "644x180");
    let members: Vec<_> = mosaic.members.iter().map(|it| it.stream.as_str()).collect();
    assert_eq!(members, ["yard", "gate", "door"], "as written");
    let Role::Render(gate) = &roles["render-gate"] else {
        panic!("not render");
    };
    let [tile] = &gate.tiles[..] else {
        panic!("{:?}", gate.tiles);
    };
    assert_eq!((tile.mosaic.as_str(), tile.fps), ("wall", 5));
    assert_eq!(tile.size.to_string(), "212x180");
    assert_eq!(tile.book, Path::new("/root/books/tiles.gate.wall.book"));
    assert_eq!(
        mosaic.members[1].book,
        Path::new("/root/books/mosaic.gate.wall.book")
    );
    let Role::Render(wall) = &roles["render-wall"] else {
        panic!("not render");
    };
    let captions: Vec<_> = wall
        .captions
        .iter()
        .map(|it| (&it.text[..], it.place.left))
        .collect();
    assert_eq!(captions, [("yard", 0), ("gate", 216), ("door", 432)]);
    let Role::Render(other) = &roles["render-other"] else {
        panic!("not render");
    };
    assert_eq!((other.tiles.len(), other.captions.len()), (0, 0));
    // Of each member what it gives, and what the mosaic takes.
    assert_eq!(plan.books.len(), 5 * 2 + 3 * 2);
    let uses = &plan.topology.streams[&"wall".parse().expect("a name")];
    assert_eq!(uses.tiles.len(), 3);
}

#[test]
fn what_is_handed_on_is_decoded_only_where_somebody_looks_at_it() {
    let plan = plan_of(
        "
run: yard
streams:
  watched: {source: 'rtsp://h/1', size: 640x360, passthrough: true, outputs: [{rtsp: watched}]}
  shown: {source: 'rtsp://h/2', size: 640x360, passthrough: true, outputs: [{rtsp: shown}]}
  wall: {source: {mosaic: [shown]}, outputs: [{rtsp: wall}]}
",
    );
    let roles = roles(&plan);
    for (stream, decoded) in [("watched", false), ("shown", true)] {
        let Role::Render(render) = &roles[&format!("render-{stream}")[..]] else {
            panic!("a render worker");
        };
        let passed = render.passthrough.expect("it is handed on");
        assert_eq!((passed.decoded, passed.size.height), (decoded, 1080));
        assert_eq!(render.encode, None);
        let Role::Ingest(ingest) = &roles[&format!("ingest-{stream}")[..]] else {
            panic!("an ingest worker");
        };
        assert_eq!(ingest.passthrough, Some(passed));
    }
}
