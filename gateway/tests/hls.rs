//! The gateway on a real bus, with real H.264, and players and clients of HLS.

mod http_client;
#[expect(dead_code, reason = "viewers by RTSP are for the other tests")]
mod rig;

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use contract::clock::wall_ms;
use contract::spec::Protocol;
use testkit::browser::Browser;
use testkit::process::{Launch, Process};
use testkit::wait_until;

use crate::http_client::{connect, count, get, next_segment, playlist, request, uri, value};
use crate::rig::{Camera, Picture, Rig};

const SECOND: Duration = Duration::from_secs(1);

fn rig() -> (Rig, u16) {
    let rig = Rig::serving(&[Protocol::Hls], &["yard"]);
    let port = rig.port(Protocol::Hls);
    (rig, port)
}

/// Plays so many pictures and ends; whatever is wrong with them is printed.
fn ffmpeg(port: u16, pictures: u64) -> Process {
    let url = format!("http://127.0.0.1:{port}/yard/index.m3u8");
    Launch::new(Path::new("/usr/bin/ffmpeg"))
        .arguments(["-v", "error", "-xerror", "-i", &url])
        .arguments(["-frames:v", &pictures.to_string(), "-f", "null", "-"])
        .start()
}

#[test]
fn ffmpeg_plays_whole_segments() {
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let mut viewer = ffmpeg(port, 100);
    assert_eq!(viewer.exit_code(9 * SECOND), 0, "{}", viewer.stderr());
    assert_eq!(viewer.stderr(), "");
    assert_eq!(rig.book("yard").viewers_total, 1);
}

#[test]
fn gstreamer_plays_whole_segments() {
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let uri = format!("uri=http://127.0.0.1:{port}/yard/index.m3u8");
    let mut viewer = Launch::new(Path::new("/usr/bin/gst-launch-1.0"))
        .arguments(["-q", "uridecodebin3", &uri, "!", "videoconvert", "!"])
        .arguments(["fakesink", "sync=false", "num-buffers=100"])
        .start();
    assert_eq!(viewer.exit_code(9 * SECOND), 0, "{}", viewer.stderr());
    assert_eq!(rig.book("yard").viewers_total, 1);
}

#[test]
fn a_part_is_there_as_soon_as_its_pictures_are() {
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::LongGroups);
    let first = playlist(port, "yard");
    assert_eq!(value(&first, "#EXT-X-TARGETDURATION:"), "2");
    let first_segment = next_segment(&first);
    let mut text = first;
    let mut ages_ms = Vec::new();
    // Ask for each part of two segments as a player does.
    for segment in first_segment..first_segment + 2 {
        loop {
            let (_, open) = text.rsplit_once("#EXTINF").expect("a segment");
            let part = count(open, "#EXT-X-PART:");
            let path = format!("/yard/stream.m3u8?_HLS_msn={segment}&_HLS_part={part}");
            let answer = get(port, &path);
            assert_eq!(answer.status, 200, "{path}");
            let before = text;
            text = answer.text();
            assert_ne!(before, text);
            if next_segment(&text) > segment {
                break;
            }
        }
        // The hinted part is waited for, and is what the next playlist lists.
        let hint = uri(value(&text, "#EXT-X-PRELOAD-HINT:")).to_owned();
        let part = get(port, &format!("/yard/{hint}"));
        assert_eq!(
            (part.status, part.header("content-type")),
            (200, Some("video/mp4"))
        );
        let newest = captured_ms(&playlist(port, "yard"));
        ages_ms.push(wall_ms() - newest);
        assert!(playlist(port, "yard").contains(&hint));
    }
    println!("ms from the capture of a segment's first picture to its first part: {ages_ms:?}");
    // It lasts 200 ms. The next would be there after 400.
    assert!(ages_ms.iter().min().is_some_and(|age| *age < 400));
    // The last segment is the parts that were listed of it.
    let lines: Vec<&str> = text.lines().collect();
    let end = lines
        .iter()
        .rposition(|line| line.starts_with("seg"))
        .expect("a segment");
    let whole = get(port, &format!("/yard/{}", lines[end])).body;
    let parts = lines[..end].rsplit(|line| line.starts_with("#EXT-X-PROGRAM"));
    let parts = parts.into_iter().next().expect("its lines").iter();
    let parts = parts.filter(|line| line.starts_with("#EXT-X-PART:"));
    let parts: Vec<u8> = parts
        .flat_map(|line| get(port, &format!("/yard/{}", uri(line))).body)
        .collect();
    assert_eq!(whole, parts);
}

/// When the newest segment of a playlist was captured, by the wall clock.
fn captured_ms(playlist: &str) -> i64 {
    let tag = "#EXT-X-PROGRAM-DATE-TIME:";
    let newest = playlist
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(tag));
    let newest: jiff::Timestamp = newest.expect("a time").parse().expect("a time");
    newest.as_millisecond()
}

#[test]
fn playlists_of_a_long_run_keep_the_rules() {
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let mut before = playlist(port, "yard");
    for _ in 0..6 {
        let next = next_segment(&before);
        let path = format!("/yard/stream.m3u8?_HLS_msn={next}");
        let text = get(port, &path).text();
        assert!(next_segment(&text) > next);
        assert!(count(&text, "#EXTINF:") <= 7);
        for same in ["#EXT-X-TARGETDURATION:", "#EXT-X-PART-INF:", "#EXT-X-MAP:"] {
            assert_eq!(value(&text, same), value(&before, same));
        }
        // What stays has the name it had.
        let lines = before.lines().filter(|line| line.starts_with("seg"));
        let stayed = lines.filter(|line| text.contains(*line)).count();
        assert!(
            stayed + 1 >= count(&before, "seg").min(6),
            "{before}\n{text}"
        );
        let durations = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:"));
        for duration in durations {
            let seconds: f64 = duration.trim_end_matches(',').parse().expect("a number");
            assert!((1.0..2.5).contains(&seconds), "{text}");
        }
        before = text;
    }
    // All that is named is there.
    let segments = before.lines().filter(|line| line.starts_with("seg"));
    let parts = before
        .lines()
        .filter(|line| line.starts_with("#EXT-X-PART:"));
    for name in segments.chain(parts.map(uri)) {
        let answer = get(port, &format!("/yard/{name}"));
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(&answer.body[4..8], b"moof", "{name}");
    }
    let init = uri(value(&before, "#EXT-X-MAP:"));
    let init = get(port, &format!("/yard/{init}"));
    assert_eq!(&init.body[4..8], b"ftyp");
}

#[test]
fn a_stream_that_goes_on_after_a_gap_is_played_on() {
    let (rig, port) = rig();
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    let mut viewer = ffmpeg(port, 200);
    assert!(wait_until(5 * SECOND, || rig.book("yard").forwarded > 30));
    let next = camera.kill();
    let _camera = Camera::restart(&rig, "yard", next + 10, 7);
    let is_told = || count(&playlist(port, "yard"), "#EXT-X-DISCONTINUITY\n".trim()) == 2;
    assert!(
        wait_until(5 * SECOND, is_told),
        "{}",
        playlist(port, "yard")
    );
    let text = playlist(port, "yard");
    assert_eq!(
        count(&text, "#EXT-X-MAP:"),
        1,
        "it is the same encoder\n{text}"
    );
    assert_eq!(viewer.exit_code(9 * SECOND), 0, "{}", viewer.stderr());
}

#[test]
fn the_end_is_told_and_who_comes_after_it_gets_what_comes_then() {
    let (rig, port) = rig();
    let camera = Camera::start(&rig, "yard", Picture::Ball);
    let text = playlist(port, "yard");
    let next = next_segment(&text);
    let waiting = std::thread::spawn(move || {
        // A player that is one segment ahead of all.
        let text = get(port, &format!("/yard/stream.m3u8?_HLS_msn={}", next + 1)).text();
        let path = format!("/yard/stream.m3u8?_HLS_msn={}", next_segment(&text) + 1);
        get(port, &path).text()
    });
    assert!(wait_until(5 * SECOND, || next_segment(&playlist(
        port, "yard"
    )) > next + 1));
    let published = camera.end();
    let text = waiting.join().expect("answered");
    assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    assert_eq!(count(&text, "#EXT-X-PRELOAD-HINT"), 0, "{text}");
    assert!(wait_until(SECOND, || rig.book("yard").viewers == 0));
    // It can be watched to its end.
    let last = text
        .lines()
        .rfind(|line| line.starts_with("seg"))
        .expect("a segment");
    assert_eq!(get(port, &format!("/yard/{last}")).status, 200);

    let _camera = Camera::restart(&rig, "yard", published, 0);
    let answer = get(port, "/yard/index.m3u8");
    assert_eq!(answer.status, 200);
    let text = playlist(port, "yard");
    assert_eq!(count(&text, "#EXT-X-ENDLIST"), 0, "{text}");
    assert!(next_segment(&text) > next, "numbers grow for ever");
}

#[test]
fn viewers_are_who_has_asked_a_moment_ago() {
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let index = || {
        let index = get(port, "/yard/index.m3u8").text();
        let uri = index.lines().last().expect("a variant").to_owned();
        format!("/yard/{uri}")
    };
    let (one, two) = (index(), index());
    assert_ne!(one, two);
    assert_eq!(rig.book("yard").viewers, 0, "nobody has a picture yet");
    for path in [&one, &two, &one, "/yard/stream.m3u8", "/yard/stream.m3u8"] {
        assert_eq!(get(port, path).status, 200);
    }
    let viewers = |count| wait_until(9 * SECOND, || rig.book("yard").viewers == count);
    assert!(viewers(3));
    let forwarded = rig.book("yard").forwarded;
    // Two of them go, each without a word.
    let stays = Instant::now();
    while stays.elapsed() < 5 * SECOND {
        let next = next_segment(&get(port, &one).text());
        assert_eq!(get(port, &format!("{one}&_HLS_msn={next}")).status, 200);
    }
    assert!(viewers(1));
    let book = rig.book("yard");
    assert_eq!(book.viewers_total, 3);
    assert!(book.forwarded > forwarded);
}

#[test]
fn streams_come_and_go_while_another_is_watched() {
    let (rig, port) = rig();
    let _yard = Camera::start(&rig, "yard", Picture::Ball);
    assert_eq!(get(port, "/gate/index.m3u8").status, 404);
    let gate = rig.stream_spec("gate");
    let added = rig.reconfigure(|spec| spec.streams.push(gate));
    assert_eq!(
        added,
        Ok(vec!["stream gate: added at hls `gate`".to_owned()])
    );
    let _gate = Camera::start(&rig, "gate", Picture::Ball);
    let next = next_segment(&playlist(port, "gate"));
    let here = next_segment(&playlist(port, "yard"));

    // Who waits for a part of it is told the end, and nobody else.
    let path = format!("/gate/stream.m3u8?_HLS_msn={}", next + 1);
    let waiting = std::thread::spawn(move || get(port, &path));
    assert!(wait_until(5 * SECOND, || rig.book("gate").viewers == 1));
    let removed = rig.reconfigure(|spec| spec.streams.truncate(1));
    assert_eq!(removed, Ok(vec!["stream gate: removed".to_owned()]));
    let text = waiting.join().expect("answered").text();
    assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    assert_eq!(get(port, "/gate/index.m3u8").status, 404);
    assert_eq!(get(port, "/gate/").status, 404);
    let path = format!("/yard/stream.m3u8?_HLS_msn={}", here + 1);
    assert_eq!(count(&get(port, &path).text(), "#EXT-X-ENDLIST"), 0);
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let (rig, port) = rig();
    assert_eq!(get(port, "/yard/stream.m3u8").status, 503, "no picture yet");
    let _camera = Camera::start(&rig, "yard", Picture::Ball);
    let next = next_segment(&playlist(port, "yard"));
    let stream = |query: &str| get(port, &format!("/yard/stream.m3u8?{query}")).status;
    assert_eq!(stream(&format!("_HLS_msn={}", next + 9)), 400);
    assert_eq!(stream("_HLS_msn=many"), 400);
    assert_eq!(stream("_HLS_part=1"), 400);
    assert_eq!(stream("_HLS_msn=0"), 200, "that is long there");
    for path in [
        "/",
        "/elsewhere",
        "/yard/seg1.m4s",
        "/yard/part1.m4s",
        "/yard/x",
        "/x/y/z",
    ] {
        let answer = get(port, path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"), "{path}");
    }
    assert_eq!(request(port, "POST", "/yard/index.m3u8").status, 405);
    let answer = request(port, "OPTIONS", "/yard/index.m3u8");
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (204, Some("*"))
    );
    let answer = request(port, "HEAD", "/yard/index.m3u8");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let long = "x".repeat(40_000);
    assert_eq!(get(port, &format!("/{long}")).status, 431);
}

#[test]
fn a_hundred_clients_and_a_frozen_one() {
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::Noise);
    let text = playlist(port, "yard");
    let next = next_segment(&text);
    let newest = text.lines().rfind(|line| line.starts_with("seg"));
    let newest = newest.expect("a segment").to_owned();
    let ask = |path: &str| {
        let mut stream = connect(port);
        let request = format!("GET /yard/{path} HTTP/1.1\r\nhost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("connected");
        stream
    };
    // One reads nothing of megabytes, one never ends its request.
    let begun = Instant::now();
    let mut frozen = ask(&newest);
    let mut slow = connect(port);
    slow.write_all(b"GET /yard/ind").expect("connected");

    let clients: Vec<_> = (0..100)
        .map(|client| {
            std::thread::spawn(move || {
                for segment in next..next + 4 {
                    let path = format!("/yard/stream.m3u8?viewer={client}&_HLS_msn={segment}");
                    let text = get(port, &path).text();
                    assert!(next_segment(&text) > segment);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all is answered");
    }
    let book = rig.book("yard");
    assert!(book.viewers >= 100, "{book:?}");
    assert_eq!(
        (book.skipped_by_viewers, book.lost_in_transit),
        (0, 0),
        "{book:?}"
    );
    // They are closed after a while.
    let left = (8 * SECOND).saturating_sub(begun.elapsed());
    assert!(!wait_until(left, || false));
    let mut bytes = Vec::new();
    let read = frozen.read_to_end(&mut bytes);
    assert!(
        read.is_err() || bytes.len() < 2_000_000,
        "{} bytes",
        bytes.len()
    );
    slow.set_read_timeout(Some(6 * SECOND)).expect("a time");
    let read = slow.read(&mut [0; 64]);
    assert!(read.is_ok_and(|count| count == 0), "it is closed");
}

#[test]
fn a_browser_plays_the_page_with_low_latency() {
    const BARS: [[i32; 3]; 7] = [
        [255, 255, 255],
        [255, 255, 0],
        [0, 255, 255],
        [0, 255, 0],
        [255, 0, 255],
        [255, 0, 0],
        [0, 0, 255],
    ];
    let (rig, port) = rig();
    let _camera = Camera::start(&rig, "yard", Picture::Bars);
    let answer = get(port, "/yard");
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some("yard/"))
    );
    let mut browser = Browser::open(&format!("http://127.0.0.1:{port}/yard"), 640, 480);
    let time = "String(document.querySelector('video')?.currentTime)";
    let played = |browser: &mut Browser| browser.evaluate(time).parse::<f64>().unwrap_or(0.0);
    let mut first = 0.0;
    let plays = wait_until(20 * SECOND, || {
        let now = played(&mut browser);
        let moves = first > 0.0 && now > first + 2.0;
        first = if first > 0.0 { first } else { now };
        moves
    });
    assert!(plays, "{}", browser.evaluate("document.body.innerText"));
    let screenshot = browser.screenshot();
    for (index, expected) in BARS.into_iter().enumerate() {
        let [red, green, blue] = screenshot
            .at((index as f64 + 0.5) / 7.0, 0.3)
            .map(i32::from);
        let distance = (red - expected[0]).abs().max((green - expected[1]).abs());
        let distance = distance.max((blue - expected[2]).abs());
        assert!(distance < 40, "bar {index}: {red} {green} {blue}");
    }
    let latency = browser.evaluate("String(hls.latency)");
    let latency: f64 = latency.parse().expect("a number");
    println!("latency of hls.js: {latency} s");
    assert!(latency < 3.0, "{latency}");
    assert_eq!(rig.book("yard").viewers, 1);
}

#[test]
fn qualities_are_listed_and_their_segments_are_of_the_same_pictures() {
    let rig = Rig::serving_with(&[Protocol::Hls], &["yard"], |spec| {
        spec.streams[0].qualities = vec![240];
    });
    let port = rig.port(Protocol::Hls);
    let _camera = Camera::ladder(&rig, "yard", &[Picture::Large, Picture::Small], 0);
    let answer = get(port, "/yard/index.m3u8");
    let text = answer.text();
    let variants: Vec<&str> = text.split("#EXT-X-STREAM-INF:").skip(1).collect();
    let [large, small] = variants[..] else {
        panic!("{text}");
    };
    for (variant, size, path) in [
        (large, "RESOLUTION=640x480,", "\nstream.m3u8?viewer="),
        (small, "RESOLUTION=320x240,", "\n240p/stream.m3u8?viewer="),
    ] {
        let rate = "FRAME-RATE=25.";
        for what in [size, path, rate, "CODECS=\"avc1.42", "BANDWIDTH="] {
            assert!(variant.contains(what), "{what}: {text}");
        }
    }
    // Asked for at one moment: the one may have a part more.
    let same = wait_until(9 * SECOND, || {
        let (large, small) = (playlist(port, "yard"), playlist(port, "yard/240p"));
        assert_eq!(
            value(&large, "#EXT-X-TARGETDURATION:"),
            value(&small, "#EXT-X-TARGETDURATION:")
        );
        // The wall clock is asked once for each, in milliseconds.
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.contains("DATE-TIME"));
            lines.map(str::to_owned).collect()
        };
        let apart = captured_ms(&large).abs_diff(captured_ms(&small));
        count(&large, "seg") >= 4 && lines(&large) == lines(&small) && apart < 10
    });
    assert!(
        same,
        "{}\n{}",
        playlist(port, "yard"),
        playlist(port, "yard/240p")
    );
    let text = playlist(port, "yard");
    let segment = text.lines().rfind(|line| line.starts_with("seg"));
    let segment = segment.expect("a segment");
    let times = ["yard", "yard/240p"].map(|path| {
        let bytes = get(port, &format!("/{path}/{segment}")).body;
        let at = bytes.windows(4).position(|kind| kind == b"tfdt");
        // Version 1: four bytes of flags, eight of time.
        bytes[at.expect("a time") + 8..][..8].to_vec()
    });
    assert_eq!(times[0], times[1], "they are of the same time");
    // A player reads either.
    for path in ["yard", "yard/240p"] {
        let url = format!("http://127.0.0.1:{port}/{path}/index.m3u8");
        let mut viewer = Launch::new(Path::new("/usr/bin/ffmpeg"))
            .arguments(["-v", "error", "-xerror", "-i", &url])
            .arguments(["-frames:v", "25", "-f", "null", "-"])
            .start();
        assert_eq!(viewer.exit_code(9 * SECOND), 0, "{}", viewer.stderr());
    }
}
