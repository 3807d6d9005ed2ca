//! What right configs come to. Wrong ones are the goldens of `configs/invalid/`.

use std::path::Path;
use std::time::Duration;

use contract::geometry::PixelSize;
use contract::name::StreamName;
use contract::spec::{
    Backoff, Hiding, Pace, Protocol, QueuePolicy, RtspTransport, Secret, TlsVerification,
};
use dsl::yaml;

use super::reader::{Fields, Reader};
use super::run::RUN;
use super::table::{Absent, Kind, Section};
use super::{ByteSize, KeepConfig, RunConfig, SourceConfig, StreamConfig, parse};

fn read(text: &str) -> RunConfig {
    let environment = |name: &str| (name == "PASSWORD").then(|| "ge$heim".to_owned());
    parse(text, Path::new("test.yaml"), &environment)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn stream<'a>(config: &'a RunConfig, name: &str) -> &'a StreamConfig {
    let name: StreamName = name.parse().expect("a name");
    config.streams.get(&name).expect("the stream is there")
}

#[test]
fn what_is_not_written_is_the_default() {
    let config = read("run: r\nstreams: {s: {source: 'test:ball', outputs: [{rtsp: s}]}}\n");
    assert_eq!(config.run.as_str(), "r");
    assert_eq!(config.gateway.address.to_string(), "127.0.0.1");
    assert_eq!(config.gateway.ports[&Protocol::Rtsp], 8554);
    let stream = stream(&config, "s");
    assert_eq!(stream.size.to_string(), "1280x720");
    assert_eq!(stream.queue.policy, QueuePolicy::DropOldest);
    assert_eq!(stream.queue.depth, 2);
    assert_eq!(stream.queue.max_staleness, Duration::from_millis(500));
    assert_eq!(stream.queue.max_latency, Duration::from_millis(250));
    assert_eq!(stream.retry.attempts, Some(5));
    assert_eq!(stream.retry.interval, Duration::from_secs(5));
    assert_eq!(stream.retry.backoff, Backoff::Fixed);
    assert_eq!(stream.no_frame_timeout, Duration::from_secs(10));
    assert_eq!(stream.priority, 1);
    assert!(stream.hardware_decoder && stream.store_detections && stream.overlay.boxes);
    let encode = stream.encode.as_ref().expect("there is an output");
    assert_eq!(encode.preset.as_str(), "ultrafast");
    assert_eq!((encode.bitrate.kbps(), encode.threads), (3000, 1));
    assert!(stream.rules.is_none() && stream.infer.is_empty());
}

#[test]
fn best_shots_of_all_streams_can_be_off_for_one() {
    let config = read(
        "run: r
defaults: {best_shots: {min_size: 64}}
streams:
  a: {source: 'test:ball'}
  b: {source: 'test:ball', best_shots: {min_score: 30%}}
  c: {source: 'test:ball', best_shots: off}
",
    );
    let of = |name| {
        let best_shots = stream(&config, name).best_shots.as_ref()?;
        Some((best_shots.min_size, best_shots.min_score.get()))
    };
    assert_eq!(of("a"), Some((64, 0.5)));
    assert_eq!(of("b"), Some((64, 0.3)));
    assert_eq!(of("c"), None);
    let plain = read("run: r\nstreams: {s: {source: 'test:ball'}}\n");
    assert_eq!(stream(&plain, "s").best_shots, None);
}

#[test]
fn what_is_hidden_for_all_streams_can_be_shown_in_one() {
    let config = read(
        "run: r
models:
  faces: {file: Cargo.toml, family: centerface}
  people: {file: Cargo.toml, family: nanodet, labels: coco}
defaults: {privacy: {labels: face, hold: 2s}}
streams:
  a: {source: 'test:ball'}
  b: {source: 'test:ball', privacy: {labels: [face, person], method: fill}}
  c: {source: 'test:ball', privacy: off}
",
    );
    let of = |name| {
        let spec = stream(&config, name).privacy.as_ref()?.spec();
        assert!(spec.hide_unseen && (spec.margin - 0.15).abs() < 1e-6);
        Some((spec.labels.join(" "), spec.method, spec.hold_ms))
    };
    assert_eq!(of("a"), Some(("face".to_owned(), Hiding::Pixelate, 2000)));
    assert_eq!(
        of("b"),
        Some(("face person".to_owned(), Hiding::Fill, 2000))
    );
    assert_eq!(of("c"), None);
}

#[test]
fn a_fast_source_loses_nothing_unless_told_to() {
    let config = read(
        "run: r\nstreams:\n  a: {source: 'test:ball', pace: fast}\n  b: {source: 'test:ball', pace: fast, queue: {policy: drop_latest}}\n",
    );
    let queue = stream(&config, "a").queue;
    assert_eq!((queue.policy, queue.depth), (QueuePolicy::Wait, 4));
    assert_eq!(queue.max_latency, Duration::from_secs(10));
    assert_eq!(stream(&config, "b").queue.policy, QueuePolicy::DropLatest);
}

#[test]
fn what_is_written_is_taken() {
    let config = read(
        "run: r
defaults: {queue: {depth: 8, max_latency: 1.5s}, retry: {attempts: forever}, size: 640x360}
streams:
  a:
    source: test:smpte?size=320x240&fps=5&frames=10
    pace: fast
    decoder: software
    queue: {policy: drop_latest, max_latency: 2s}
    motion: {threshold: 30, mask: [[[0, 0], [1, 0], [1, 0.5]]]}
    tracker: {iou: 30%}
    overlay: {trails: false}
    encode: {preset: fast, bitrate: 2.5M, keyframe_interval: 500ms, threads: 2}
    outputs: [{rtsp: a/b}, {record: rec}]
    store: {detections: false}
  b:
    source: test:ball
    queue:
    encode: off
",
    );
    let a = stream(&config, "a");
    let SourceConfig::Test {
        pattern,
        size,
        fps,
        frames,
        pace,
    } = a.source.clone()
    else {
        panic!("a pattern");
    };
    assert_eq!(
        (pattern.as_str(), fps, frames, pace),
        ("smpte", 5, Some(10), Pace::Fast)
    );
    assert_eq!(
        size,
        PixelSize {
            width: 320,
            height: 240
        }
    );
    assert!(a.source.is_finite());
    assert_eq!(
        (a.queue.policy, a.queue.depth),
        (QueuePolicy::DropLatest, 8)
    );
    assert_eq!(a.queue.max_latency, Duration::from_secs(2));
    assert_eq!(a.size.to_string(), "640x360");
    assert_eq!(a.retry.attempts, None);
    assert_eq!((a.motion.threshold, a.motion.mask.len()), (30, 1));
    assert!((a.tracker.iou.get() - 0.3).abs() < 1e-6);
    assert!(!a.overlay.trails && !a.hardware_decoder && !a.store_detections);
    let encode = a.encode.as_ref().expect("it has outputs").spec();
    assert_eq!(
        (encode.preset.as_str(), encode.bitrate_kbps),
        ("fast", 2500)
    );
    assert_eq!((encode.keyframe_interval_ms, encode.threads), (500, 2));
    assert_eq!(
        a.outputs
            .served
            .get(&Protocol::Rtsp)
            .map(ToString::to_string)
            .as_deref(),
        Some("a/b")
    );
    let record = a.outputs.record.as_ref().expect("recorded");
    assert_eq!(record.directory, Path::new("rec"));
    assert_eq!(record.segment, Duration::from_secs(600));
    assert_eq!(record.segment_size.bytes(), 1_000_000_000);
    assert_eq!(record.keep, KeepConfig::default());
    let b = stream(&config, "b");
    assert_eq!(b.queue.depth, 8, "an empty key is as good as none");
    assert_eq!(b.encode, None);
    assert!(!b.source.is_finite());
}

#[test]
fn ranges_are_spelled_out_and_secrets_kept() {
    let config = read(
        "run: r
streams:
  gate-{08..10}:
    source: rtsp://u:${PASSWORD}@10.0.0.{n}/$$x
    transport: udp
    outputs: [{rtsp: \"gates/{n}\"}]
  plain: {source: 'rtsp://u:offen@h/s'}
",
    );
    assert_eq!(config.streams.len(), 4);
    let gate = stream(&config, "gate-09");
    assert_eq!(
        gate.source,
        SourceConfig::Rtsp {
            location: Secret::new("rtsp://u:ge$heim@10.0.0.09/$x".to_owned()),
            transport: RtspTransport::Udp,
            latency: Duration::from_millis(100),
            tls: TlsVerification::Verify,
        }
    );
    let mount = gate
        .outputs
        .served
        .get(&Protocol::Rtsp)
        .map(ToString::to_string);
    assert_eq!(mount.as_deref(), Some("gates/09"));
    let shown = format!("{config:?}");
    for secret in ["ge$heim", "offen"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(config.text.contains("${PASSWORD}") && config.text.contains("rtsp://u:*****@h/s"));
}

/// Every default is taken by the reader it is for.
#[test]
fn defaults_of_the_tables_are_right() {
    fn check(section: &'static Section, seen: &mut Vec<&'static str>) {
        seen.push(section.name);
        for key in section.keys {
            if let Absent::Default(text) = key.absent {
                let yaml = format!("{}: {text}\n", key.name);
                let node = yaml::parse(&yaml).root.expect("a mapping");
                let reader = Reader::new(Path::new("table"), &yaml, Path::new("/"));
                if let Some(fields) = Fields::open(&reader, section, &node, (&(0..0), "it")) {
                    fields.check();
                }
                let wrong = reader.into_found().0;
                let wrong = wrong.iter().find(|problem| problem.span.start > 0);
                assert_eq!(wrong, None, "{} of {}", key.name, section.name);
            }
            match &key.kind {
                Kind::Section(inner) | Kind::SectionOr(inner, _) => check(inner, seen),
                Kind::Map(Kind::Section(inner)) | Kind::List(Kind::Section(inner)) => {
                    check(inner, seen);
                }
                _ => {}
            }
        }
    }
    let mut seen = Vec::new();
    check(&RUN, &mut seen);
    assert!(
        seen.contains(&"retry") && seen.contains(&"model"),
        "{seen:?}"
    );
}

#[test]
fn recordings_have_lengths_and_bounds() {
    let config = read(
        "run: r
streams:
  a:
    source: 'test:ball'
    outputs: [{record: {directory: ./video/, segment: 60s, keep: {max_age: 168h, max_size: 50GB}}}]
  b: {source: 'test:ball', outputs: [{record: {directory: /data, segment_size: 100MB}}]}
",
    );
    let spec = |name: &str| {
        let stream = stream(&config, name);
        stream.outputs.record.as_ref().expect("recorded").spec()
    };
    assert_eq!(spec("a").directory, Path::new("video"));
    assert_eq!(spec("a").segment_ms, 60_000);
    assert_eq!(spec("b").segment_bytes, 100_000_000);
    let kept = config.kept_recordings();
    let video = kept.get(Path::new("video")).expect("kept");
    assert_eq!(video.max_age, Some(Duration::from_secs(7 * 24 * 3600)));
    assert_eq!(video.max_size.map(ByteSize::bytes), Some(50_000_000_000));
    assert_eq!(kept.get(Path::new("/data")), None, "without a bound");
}

#[test]
fn qualities_are_sorted_and_have_fewer_bits_the_smaller_they_are() {
    const TEXT: &str = "run: a
defaults: {encode: {bitrate: 4M, qualities: [240p, {height: 480p, bitrate: 1.5M}]}}
streams:
  shown: {source: 'test:ball', size: 1280x720, outputs: [{rtsp: a}]}
  kept: {source: 'test:ball', size: 1280x720, outputs: [{record: a}]}
";
    let run = read(TEXT);
    let qualities = |name: &str| {
        let encode = run.streams[&name.parse().expect("a name")].encode.as_ref();
        let qualities = encode.expect("it has outputs").spec().qualities;
        let pairs = qualities.iter().map(|one| (one.height, one.bitrate_kbps));
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(qualities("shown"), [(480, 1500), (240, 770)]);
    assert_eq!(qualities("kept"), [], "nobody could see them");
}
