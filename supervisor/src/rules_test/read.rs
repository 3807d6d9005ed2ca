//! From the YAML of a test file to its cases.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use contract::geometry::PixelSize;
use contract::name::StreamName;
use dsl::Diagnostic;
use dsl::yaml::{self, Entry, FaultKind, Key, Node};
use jiff::Timestamp;

use super::reader::{Reader, Section};
use super::{
    CASES_MAX, Case, Expected, FRAMES_MAX, LOST_TIMEOUT_DEFAULT_NS, Movement, Setting, TRACKS_MAX,
    TestFile, Track, Waypoint, Written, code,
};

/// Keys of a setting: they stand at the top for all cases, or in a case for that one.
const SETTING_KEYS: &[&str] = &["fps", "size", "stream", "labels", "start", "lost_timeout"];

/// Score of a track that says none.
const SCORE_DEFAULT: f32 = 0.9;
/// Box of a track that says none: a person some way off.
const BOX_DEFAULT: [f32; 2] = [0.05, 0.2];
/// Left, top, right and bottom of the picture.
const WHOLE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

/// Reads a test file. `file` is only named in diagnostics.
///
/// # Errors
/// Every mistake in it, in the order of the text.
pub fn parse(text: &str, file: &Path) -> Result<TestFile, Vec<Diagnostic>> {
    let mut reader = Reader {
        file,
        text,
        diagnostics: Vec::new(),
    };
    let document = yaml::parse(text);
    for fault in document.faults {
        let code = match fault.kind {
            FaultKind::Syntax => code::NOT_YAML,
            FaultKind::DuplicateKey => code::DUPLICATE_KEY,
        };
        reader.diagnostics.push(fault.diagnostic(code, file, text));
    }
    let read = match &document.root {
        Some(root) => read_file(&mut reader, root),
        None if reader.diagnostics.is_empty() => {
            let problem = reader.problem(code::MISSING_KEY, &(0..0), "the test file is empty");
            let help = "it needs `rules: FILE.yaml` and `cases`";
            reader.diagnostics.push(problem.helped(help));
            None
        }
        None => None,
    };
    let mut diagnostics = reader.diagnostics;
    match read {
        Some(read) if diagnostics.is_empty() => Ok(read),
        _ => {
            diagnostics.sort_by_key(|problem| problem.span.start);
            Err(diagnostics)
        }
    }
}

fn read_file(reader: &mut Reader<'_>, root: &Node) -> Option<TestFile> {
    let keys = [&["rules", "cases"], SETTING_KEYS].concat();
    let section = reader.section(root, "a test file", &(0..0), &keys)?;
    let rules = reader
        .required(&section, "rules", "name the rule file: `rules: yard.yaml`")
        .and_then(|node| written(reader, node, "`rules` is the path of the rule file"));
    let setting = read_setting(reader, &section, &Setting::default());
    let help = "each case is `NAME: {tracks: ..., expect: ...}`";
    let cases = reader
        .required(&section, "cases", help)
        .and_then(|node| reader.map(node, "`cases`", CASES_MAX))?;
    if cases.is_empty() {
        let span = section.get("cases").map_or(0..0, |node| node.span.clone());
        return reader.wrong_value(&span, "`cases` has none", help);
    }
    // One that is wrong does not hide what is wrong in the others.
    let setting = setting.unwrap_or_default();
    let cases: Vec<_> = cases
        .iter()
        .map(|entry| read_case(reader, entry, &setting))
        .collect();
    Some(TestFile {
        rules: rules?,
        cases: cases.into_iter().collect::<Option<_>>()?,
    })
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            fps: 10.0,
            size: PixelSize {
                width: 1280,
                height: 720,
            },
            stream: "test".parse().expect("a name"),
            labels: BTreeMap::new(),
            // 2025-01-01 00:00:00Z, a Wednesday.
            start_wall_ms: 1_735_689_600_000,
            lost_timeout_ns: LOST_TIMEOUT_DEFAULT_NS,
        }
    }
}

fn read_setting(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    default: &Setting,
) -> Option<Setting> {
    let fps = reader.optional(section.get("fps"), |reader, node| {
        let help = "write frames a second, 0.1 to 240";
        reader.value(node, "a frame rate", help, |text| {
            let fps = text.parse::<f64>().ok();
            fps.filter(|fps| (0.1..=240.0).contains(fps))
        })
    });
    let size = reader.optional(section.get("size"), |reader, node| {
        let help = "write width x height in pixels, like 768x576";
        reader.value(node, "a size", help, |text| text.parse().ok())
    });
    let stream = reader.optional(section.get("stream"), |reader, node| {
        let help = "use lower-case letters, digits, `-` and `_`";
        reader.value(node, "a stream's name", help, |text| {
            text.parse::<StreamName>().ok()
        })
    });
    let labels = reader.optional(section.get("labels"), |reader, node| {
        reader.texts(node, "`labels`")
    });
    let start = reader.optional(section.get("start"), |reader, node| {
        let help = "write a date, a time and `Z` or an offset: `2025-01-06 08:00:00Z`";
        reader.value(node, "a time", help, |text| {
            let start = text.parse::<Timestamp>().ok()?;
            Some(start.as_millisecond())
        })
    });
    let lost_timeout = reader.optional(section.get("lost_timeout"), Reader::duration);
    Some(Setting {
        fps: fps?.unwrap_or(default.fps),
        size: size?.unwrap_or(default.size),
        stream: stream?.unwrap_or_else(|| default.stream.clone()),
        labels: labels?.unwrap_or_else(|| default.labels.clone()),
        start_wall_ms: start?.unwrap_or(default.start_wall_ms),
        lost_timeout_ns: lost_timeout?.unwrap_or(default.lost_timeout_ns),
    })
}

fn read_case(reader: &mut Reader<'_>, entry: &Entry, default: &Setting) -> Option<Case> {
    const KEYS: &[&str] = &["length", "motion", "skipped", "tracks", "only", "expect"];
    let Entry { key, value } = entry;
    let owner = format!("case `{}`", key.text);
    let section = reader.section(value, &owner, &key.span, &[KEYS, SETTING_KEYS].concat())?;
    let setting = read_setting(reader, &section, default);
    let length = reader.optional(section.get("length"), Reader::duration);
    let motion = read_motion(reader, section.get("motion"));
    let skipped = reader.ranges(section.get("skipped"));
    let tracks = read_tracks(reader, section.get("tracks"));
    let only = read_only(reader, section.get("only"));
    let help = "say what fires, or `expect: []` if nothing does";
    let expected = reader
        .required(&section, "expect", help)
        .and_then(|node| read_expected(reader, node));
    let (setting, tracks, motion) = (setting?, tracks?, motion?);
    let length_ns = length?.unwrap_or_else(|| last_time(&tracks, &motion));
    check_length(reader, key, &setting, length_ns);
    Some(Case {
        name: key.text.clone(),
        setting,
        length_ns,
        motion,
        skipped: skipped?,
        tracks,
        only: only?,
        expected: expected?,
    })
}

/// The last time that a case speaks of.
fn last_time(tracks: &[Track], motion: &[Movement]) -> u64 {
    let ends = tracks.iter().filter_map(|track| track.path.last());
    let ends = ends.map(|waypoint| waypoint.at_ns);
    // Motion without an end lasts as long as the case and does not make it longer.
    let movements = motion.iter().map(|movement| movement.during_ns.end);
    let movements = movements.filter(|end| *end != u64::MAX);
    ends.chain(movements).max().unwrap_or(0)
}

fn check_length(reader: &mut Reader<'_>, key: &Key, setting: &Setting, length_ns: u64) {
    if length_ns == 0 {
        let message = format!("case `{}` has no length", key.text);
        let help = "add tracks, or `length: 10s`";
        reader.wrong_value::<()>(&key.span, message, help);
    }
    let frames = length_ns / setting.frame_ns();
    if frames > FRAMES_MAX {
        let message = format!(
            "case `{}` has {frames} frames, over the limit of {FRAMES_MAX}",
            key.text
        );
        let problem = reader.problem(code::TOO_LARGE, &key.span, message);
        reader
            .diagnostics
            .push(problem.helped("make it shorter, or lower `fps`"));
    }
}

fn read_motion(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<Movement>> {
    let Some(node) = node else {
        return Some(Vec::new());
    };
    if node.as_scalar().is_some_and(|scalar| !scalar.is_null()) {
        let amount = reader.fraction(node, "a part of the picture")?;
        return Some(vec![Movement {
            during_ns: 0..u64::MAX,
            amount,
            area: WHOLE,
        }]);
    }
    let help = "write a part of the picture, like `2%`, or a list of {during, area, amount}";
    let items = reader.list(node, help)?;
    let movements: Vec<_> = items
        .iter()
        .map(|item| read_movement(reader, item))
        .collect();
    movements.into_iter().collect()
}

fn read_movement(reader: &mut Reader<'_>, node: &Node) -> Option<Movement> {
    const KEYS: &[&str] = &["during", "area", "amount"];
    let section = reader.section(node, "a movement", &node.span, KEYS)?;
    let during = reader
        .required(&section, "during", "say when: `during: 3s..4s`")
        .and_then(|node| reader.range(node));
    let area = reader.optional(section.get("area"), |reader, node| {
        let help = "write left, top, right and bottom: [0, 0, 0.5, 1]";
        let area = reader.fractions::<4>(node, help)?;
        if area[0] >= area[2] || area[1] >= area[3] {
            return reader.wrong_value(&node.span, "the area is empty", help);
        }
        Some(area)
    });
    let amount = reader.optional(section.get("amount"), |reader, node| {
        reader.fraction(node, "a part of the picture")
    });
    let area = area?.unwrap_or(WHOLE);
    Some(Movement {
        during_ns: during?,
        amount: amount?.unwrap_or((area[2] - area[0]) * (area[3] - area[1])),
        area,
    })
}

fn read_tracks(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<Track>> {
    let Some(node) = node else {
        return Some(Vec::new());
    };
    let entries = reader.map(node, "`tracks`", TRACKS_MAX)?;
    let tracks: Vec<_> = entries
        .iter()
        .map(|entry| read_track(reader, &entry.key, &entry.value))
        .collect();
    tracks.into_iter().collect()
}

fn read_track(reader: &mut Reader<'_>, key: &Key, node: &Node) -> Option<Track> {
    let keys = ["label", "score", "size", "path", "absent", "predicted"];
    let owner = format!("track `{}`", key.text);
    let section = reader.section(node, &owner, &key.span, &keys)?;
    let id = key.text.parse::<u64>().ok().filter(|id| *id > 0);
    if id.is_none() {
        let message = format!("`{}` is not a track's id", key.text);
        reader.wrong_value::<()>(&key.span, message, "write a whole number from 1");
    }
    let label = reader
        .required(&section, "label", "say what it is: `label: person`")
        .and_then(|node| reader.scalar(node, "a label is a text"))
        .map(str::to_owned);
    let score = reader.optional(section.get("score"), |reader, node| {
        reader.fraction(node, "a score")
    });
    let size = reader.optional(section.get("size"), read_size);
    let help = "say where it is: `path: [{at: 0s, foot: [0.5, 0.8]}, ...]`";
    let path = reader
        .required(&section, "path", help)
        .and_then(|node| read_path(reader, node, help));
    let absent = reader.ranges(section.get("absent"));
    let predicted = reader.ranges(section.get("predicted"));
    let mut path = path?;
    let (score, size) = (
        score?.unwrap_or(SCORE_DEFAULT),
        size?.unwrap_or(BOX_DEFAULT),
    );
    let first = path.first_mut()?;
    first.score = first.score.or(Some(score));
    first.size = first.size.or(Some(size));
    Some(Track {
        id: id?,
        label: label?,
        path,
        absent: absent?,
        predicted: predicted?,
    })
}

fn read_path(reader: &mut Reader<'_>, node: &Node, help: &str) -> Option<Vec<Waypoint>> {
    let items = reader.list(node, help)?;
    let path: Vec<_> = items
        .iter()
        .map(|item| read_waypoint(reader, item))
        .collect();
    let path: Option<Vec<Waypoint>> = path.into_iter().collect();
    let path = path?;
    let Some(first) = path.first() else {
        return reader.wrong_value(&node.span, "the path has no waypoint", help);
    };
    if first.foot.is_none() {
        return reader.wrong_value(
            &items[0].span,
            "the first waypoint does not say where",
            "add `foot: [x, y]`",
        );
    }
    let mut ordered = true;
    for (pair, item) in path.windows(2).zip(&items[1..]) {
        if pair[1].at_ns <= pair[0].at_ns {
            let help = "write waypoints in the order of time, each later than the one before";
            reader.wrong_value::<()>(&item.span, "this waypoint is not later", help);
            ordered = false;
        }
    }
    ordered.then_some(path)
}

fn read_waypoint(reader: &mut Reader<'_>, node: &Node) -> Option<Waypoint> {
    /// A sharpness is stored in hundredths, in 16 bits.
    const SHARPNESS_MAX: f32 = 655.35;
    const KEYS: &[&str] = &[
        "at",
        "foot",
        "size",
        "score",
        "attributes",
        "sharpness",
        "brightness",
        "landmarks",
        "depth",
    ];
    let section = reader.section(node, "a waypoint", &node.span, KEYS)?;
    let at = reader
        .required(&section, "at", "say when: `at: 2s`")
        .and_then(|node| reader.duration(node));
    let foot = reader.optional(section.get("foot"), |reader, node| {
        let help = "write x and y, from [0, 0] at the top left to [1, 1] at the bottom right";
        reader.fractions::<2>(node, help)
    });
    let size = reader.optional(section.get("size"), read_size);
    let score = reader.optional(section.get("score"), |reader, node| {
        reader.fraction(node, "a score")
    });
    let attributes = reader.optional(section.get("attributes"), |reader, node| {
        reader.texts(node, "`attributes`")
    });
    let sharpness = reader.optional(section.get("sharpness"), |reader, node| {
        let help = "write a number from 0 to 655";
        reader.value(node, "a sharpness", help, |text| {
            let sharpness = text.parse::<f32>().ok();
            sharpness.filter(|value| (0.0..=SHARPNESS_MAX).contains(value))
        })
    });
    let brightness = reader.optional(section.get("brightness"), |reader, node| {
        reader.fraction(node, "a brightness")
    });
    let landmarks = reader.optional(section.get("landmarks"), |reader, node| {
        let help = "write a whole number from 0 to 255";
        reader.value(node, "a number of landmarks", help, |text| {
            text.parse().ok()
        })
    });
    let depth = reader.optional(section.get("depth"), |reader, node| {
        let help = "write a number, in the unit of the depth model";
        reader.value(node, "a depth", help, |text| {
            text.parse::<f32>().ok().filter(|depth| depth.is_finite())
        })
    });
    Some(Waypoint {
        at_ns: at?,
        foot: foot?,
        size: size?,
        score: score?,
        attributes: attributes?.unwrap_or_default().into_iter().collect(),
        sharpness: sharpness?,
        brightness: brightness?,
        landmarks: landmarks?,
        depth: depth?,
    })
}

fn read_size(reader: &mut Reader<'_>, node: &Node) -> Option<[f32; 2]> {
    let help = "write width and height of the box, parts of the picture: [0.05, 0.2]";
    let size = reader.fractions::<2>(node, help)?;
    if size.contains(&0.0) {
        return reader.wrong_value(&node.span, "the box is empty", help);
    }
    Some(size)
}

fn read_only(reader: &mut Reader<'_>, node: Option<&Node>) -> Option<Vec<Written>> {
    let Some(node) = node else {
        return Some(Vec::new());
    };
    let help = "`only` is a list of rules, like [loitering]";
    let items = reader.list(node, help)?;
    let names: Vec<_> = items
        .iter()
        .map(|item| written(reader, item, help))
        .collect();
    names.into_iter().collect()
}

fn read_expected(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<Expected>> {
    let help = "`expect` is a list of {rule, track, begin, end, message, labels}";
    let items = reader.list(node, help)?;
    let expected: Vec<_> = items.iter().map(|item| read_firing(reader, item)).collect();
    expected.into_iter().collect()
}

fn read_firing(reader: &mut Reader<'_>, node: &Node) -> Option<Expected> {
    const KEYS: &[&str] = &["rule", "track", "begin", "end", "message", "labels"];
    let section = reader.section(node, "what is expected", &node.span, KEYS)?;
    let rule = reader
        .required(&section, "rule", "name the rule that fires")
        .and_then(|node| written(reader, node, "`rule` is the name of a rule"));
    let track = reader.optional(section.get("track"), |reader, node| {
        let help = "write the id of a track of this case";
        reader.value(node, "a track's id", help, |text| text.parse().ok())
    });
    let begin = reader
        .required(&section, "begin", "say when it fires: `begin: 12s`")
        .and_then(|node| reader.duration(node));
    let end = reader.optional(section.get("end"), Reader::duration);
    let message = reader.optional(section.get("message"), |reader, node| {
        let text = reader.scalar(node, "a message is a text")?;
        Some(text.to_owned())
    });
    let labels = reader.optional(section.get("labels"), |reader, node| {
        reader.texts(node, "`labels`")
    });
    Some(Expected {
        rule: rule?,
        track: track?,
        begin_ns: begin?,
        end_ns: end?,
        message: message?,
        labels: labels?,
    })
}

fn written(reader: &mut Reader<'_>, node: &Node, help: &str) -> Option<Written> {
    let text = reader.scalar(node, help)?.to_owned();
    let span: Range<usize> = node.span.clone();
    Some(Written { text, span })
}
