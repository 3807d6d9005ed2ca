//! Every kind of source in, every kind of viewer out, in one run, with peers that others made.
//!
//! People who walk are sent in each way; what every viewer decodes must show a box in a colour
//! that is nowhere in the clip.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::browser::Browser;
use testkit::camera::{CameraOptions, RtspCamera};
use testkit::free_port;
use testkit::http::{HttpOptions, HttpServer};
use testkit::process::{Launch, Process};
use testkit::rtmp::RtmpServer;
use testkit::wait::wait_until;

use crate::site::{RUN_TIMEOUT, STATE_TIMEOUT, Site, repository};

const WIDTH: usize = 512;
const HEIGHT: usize = 384;
/// A viewer looks at so many pictures, five seconds of the clip.
const PICTURES: usize = 50;
/// A picture with so many pixels of the colour has a box: the outline of a small one.
const PIXELS_MIN: usize = 60;

const RULES: &str = "
rules:
  person: {on: track, when: label == \"person\", do: [draw(color: \"magenta\")]}
";

#[test]
fn every_source_reaches_every_viewer() {
    let site = Site::new();
    let clip = Clip::make(site.path());
    let senders = Senders::start(&clip);
    let [rtsp, hls, webrtc, srt] = [0; 4].map(|_| free_port());
    let sources = senders.sources(&clip);
    site.file("matrix.rules.yaml", RULES);
    let mut text = format!(
        "
run: matrix
models:
  people: {{file: '{{root}}/assets/models/nanodet-416-int8.onnx', family: nanodet, labels: coco, score: 0.4}}
gateway: {{rtsp_port: {rtsp}, hls_port: {hls}, webrtc_port: {webrtc}, srt_port: {srt}}}
defaults:
  size: {WIDTH}x{HEIGHT}
  pace: live
  loop: true
  infer: [people]
  store: {{detections: false}}
  overlay: {{trails: false, status: false}}
  no_frame_timeout: 5s
  retry: {{attempts: forever, interval: 500ms, max_interval: 1s}}
streams:
"
    );
    for source in &sources {
        let (name, more) = (source.name, &source.config);
        let _ = writeln!(
            text,
            "  {name}: {{{more}, rules: matrix.rules.yaml, outputs: [{{rtsp: {name}}}, {{hls: {name}}}, \
             {{webrtc: {name}}}, {{srt: {name}}}]}}"
        );
    }
    let mut run = site.run(&site.config(&text), &[]);
    // FFmpeg gives up after three seconds without a listener.
    site.wait_state("srt-listener", "connecting");
    let _caller = clip.send(&format!(
        "-f mpegts srt://127.0.0.1:{}?mode=caller",
        senders.srt_caller
    ));
    for source in &sources {
        site.wait_state_in(source.name, &["live", "degraded"]);
    }

    let mut table = Table::default();
    // Each source, by one viewer.
    let mut viewers: Vec<_> = sources
        .iter()
        .map(|source| {
            let url = format!("rtsp://127.0.0.1:{rtsp}/{}", source.name);
            let viewer = ffmpeg(
                &["-rtsp_transport", "tcp", "-i", &url],
                site.path(),
                source.name,
            );
            (source.what.to_owned(), "FFmpeg, RTSP".to_owned(), viewer)
        })
        .collect();
    // One source, by each viewer.
    let one = sources[0].name;
    let shown = sources[0].what;
    let hls_url = format!("http://127.0.0.1:{hls}/{one}/index.m3u8");
    let srt_url = format!("srt://127.0.0.1:{srt}?streamid={one}&latency=100000");
    let rtsp_url = format!("rtsp://127.0.0.1:{rtsp}/{one}");
    let of_ffmpeg = [
        (
            "FFmpeg, RTSP over UDP",
            vec!["-rtsp_transport", "udp", "-i", &rtsp_url],
        ),
        ("FFmpeg, HLS", vec!["-i", &hls_url]),
        ("FFmpeg, SRT", vec!["-i", &srt_url]),
    ];
    for (index, (what, input)) in of_ffmpeg.iter().enumerate() {
        let viewer = ffmpeg(input, site.path(), &format!("ffmpeg-{index}"));
        viewers.push((shown.to_owned(), (*what).to_owned(), viewer));
    }
    let depay = "rtph264depay ! h264parse";
    let of_gstreamer = [
        (
            "GStreamer, RTSP over TCP",
            format!("rtspsrc location={rtsp_url} protocols=tcp latency=0 ! {depay}"),
        ),
        (
            "GStreamer, RTSP over UDP",
            format!("rtspsrc location={rtsp_url} protocols=udp latency=0 ! {depay}"),
        ),
        (
            "GStreamer, HLS",
            format!("souphttpsrc location={hls_url} ! hlsdemux ! qtdemux ! h264parse"),
        ),
        (
            "GStreamer, SRT",
            format!(
                "srtsrc uri=srt://127.0.0.1:{srt}?mode=caller streamid={one} latency=100 ! tsdemux ! h264parse"
            ),
        ),
    ];
    for (index, (what, source)) in of_gstreamer.iter().enumerate() {
        let viewer = gstreamer(source, site.path(), &format!("gstreamer-{index}"));
        viewers.push((shown.to_owned(), (*what).to_owned(), viewer));
    }
    for (source, what, viewer) in viewers {
        table.add(&source, &what, &viewer.boxes());
    }
    for (what, port) in [("Chromium, HLS", hls), ("Chromium, WebRTC", webrtc)] {
        let url = format!("http://127.0.0.1:{port}/{one}");
        table.add(
            shown,
            what,
            &browse(&url, &site.path().join(format!("{what}.png"))),
        );
    }
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit_code(RUN_TIMEOUT), 0, "{}", run.stderr());
    site.database().assert_closed();
    println!("{}", table.text);
    keep_pictures(site.path());
    assert!(
        table.missing.is_empty(),
        "no box is seen: {:?}\n{}",
        table.missing,
        table.text
    );
}

/// What was seen by whom.
#[derive(Default)]
struct Table {
    text: String,
    missing: Vec<String>,
}

impl Table {
    fn add(&mut self, source: &str, viewer: &str, seen: &Result<usize, String>) {
        let cell = format!("{source} | {viewer}");
        let boxes = match seen {
            Ok(count) => format!("a box in {count} pictures"),
            Err(error) => format!("no picture: {error}"),
        };
        let _ = writeln!(self.text, "| {cell} | {boxes} |");
        if !matches!(seen, Ok(1..)) {
            self.missing.push(cell);
        }
    }
}

/// People who walk, as files of each kind that senders need.
struct Clip {
    directory: PathBuf,
}

impl Clip {
    fn make(directory: &Path) -> Self {
        let clip = Self {
            directory: directory.join("clip"),
        };
        fs::create_dir_all(clip.directory.join("pictures")).expect("a directory");
        let walking = repository().join(".deps/clips/walking.mp4");
        let scale = format!("scale={WIDTH}:{HEIGHT}");
        let [mp4, mkv, h265] = ["clip.mp4", "clip.mkv", "h265.mp4"].map(|name| clip.file(name));
        let [flv, jpeg] = ["clip.flv", "pictures/%03d.jpg"].map(|name| clip.file(name));
        let from = [
            "-i",
            walking.to_str().expect("UTF-8"),
            "-t",
            "20",
            "-an",
            "-vf",
            &scale,
        ];
        let h264 = "-c:v libx264 -preset veryfast -g 10 -bf 0 -pix_fmt yuv420p";
        done(&from, h264, &mp4);
        done(
            &from,
            "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -t 6 -pix_fmt yuv420p",
            &mkv,
        );
        done(
            &from,
            "-c:v libx265 -preset ultrafast -x265-params log-level=none -t 6 -pix_fmt yuv420p",
            &h265,
        );
        done(&from, "-t 6 -q:v 3", &jpeg);
        done(&["-i", &mp4], "-c copy", &flv);
        // A camera sends it once.
        done(
            &["-stream_loop", "10", "-i", &mp4],
            "-c copy",
            &clip.file("long.mp4"),
        );
        clip
    }

    fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Sends it again and again, at its own pace.
    fn send(&self, output: &str) -> Process {
        Launch::new(Path::new("/usr/bin/ffmpeg"))
            .arguments("-nostdin -v error -re -stream_loop -1 -i".split(' '))
            .arguments([self.file("clip.mp4").as_str()])
            .arguments("-c copy -bsf:v h264_mp4toannexb".split(' '))
            .arguments(output.split_whitespace())
            .start()
    }
}

fn done(input: &[&str], output: &str, path: &str) {
    let mut process = Launch::new(Path::new("/usr/bin/ffmpeg"))
        .arguments(["-nostdin", "-v", "error", "-y"])
        .arguments(input.iter().copied())
        .arguments(output.split_whitespace())
        .arguments([path])
        .start();
    assert_eq!(process.exit_code(STATE_TIMEOUT), 0, "{}", process.stderr());
}

/// A source as a stream of the run.
struct Source {
    name: &'static str,
    /// As the table calls it.
    what: &'static str,
    /// Its keys.
    config: String,
}

/// Everybody who sends.
struct Senders {
    /// One for each transport: two clients of one are an affair of its own.
    cameras: [RtspCamera; 2],
    rtmp: RtmpServer,
    http: HttpServer,
    srt_listener: u16,
    srt_caller: u16,
    udp: u16,
    _processes: Vec<Process>,
}

impl Senders {
    fn start(clip: &Clip) -> Self {
        let [srt_listener, srt_caller, udp] = [0; 3].map(|_| free_port());
        let options = CameraOptions::clip(Path::new(&clip.file("long.mp4")));
        let cameras = [0, 1].map(|_| RtspCamera::start(options.clone()));
        let send = |output: &str| clip.send(output);
        let playlist = clip.file("live.m3u8");
        let processes = vec![
            send(&format!(
                "-f mpegts srt://127.0.0.1:{srt_listener}?mode=listener"
            )),
            send(&format!("-f mpegts udp://127.0.0.1:{udp}?pkt_size=1316")),
            send(&format!(
                "-f hls -hls_time 1 -hls_list_size 4 -hls_flags delete_segments {playlist}"
            )),
        ];
        let http = HttpServer::start(HttpOptions {
            directory: clip.directory.clone(),
            picture: Some("pictures/050.jpg".to_owned()),
            authorization: None,
        });
        let written =
            || fs::read_to_string(&playlist).is_ok_and(|text| text.matches(".ts").count() >= 3);
        assert!(
            wait_until(STATE_TIMEOUT, written),
            "ffmpeg writes no playlist"
        );
        Self {
            cameras,
            rtmp: RtmpServer::start(Path::new(&clip.file("clip.flv")), "yard"),
            http,
            srt_listener,
            srt_caller,
            udp,
            _processes: processes,
        }
    }

    fn sources(&self, clip: &Clip) -> Vec<Source> {
        let [by_tcp, by_udp] = self.cameras.each_ref().map(RtspCamera::location);
        let of = |name, what, location: String, more: &str| Source {
            name,
            what,
            config: format!("source: '{location}'{more}"),
        };
        vec![
            of("file", "file, H.264 in MP4", clip.file("clip.mp4"), ""),
            of(
                "file-vp9",
                "file, VP9 in Matroska",
                clip.file("clip.mkv"),
                "",
            ),
            of("file-h265", "file, H.265 in MP4", clip.file("h265.mp4"), ""),
            of(
                "pictures",
                "directory of JPEG",
                format!("images:{}?fps=10", clip.file("pictures")),
                "",
            ),
            of(
                "rtsp-tcp",
                "RTSP over TCP, a server of GStreamer's",
                by_tcp,
                ", transport: tcp",
            ),
            of(
                "rtsp-udp",
                "RTSP over UDP, a server of GStreamer's",
                by_udp,
                ", transport: udp",
            ),
            of(
                "rtmp",
                "RTMP, H.264 of FFmpeg's",
                self.rtmp.address("yard"),
                "",
            ),
            of(
                "srt-caller",
                "SRT, FFmpeg listens",
                format!("srt://127.0.0.1:{}", self.srt_listener),
                "",
            ),
            of(
                "srt-listener",
                "SRT, FFmpeg calls",
                format!("srt://127.0.0.1:{}?mode=listener", self.srt_caller),
                "",
            ),
            of(
                "udp",
                "MPEG-TS over UDP, FFmpeg",
                format!("udp://127.0.0.1:{}", self.udp),
                "",
            ),
            of(
                "hls",
                "HLS of FFmpeg's over HTTP",
                self.http.address("/live.m3u8"),
                "",
            ),
            of(
                "mjpeg",
                "Motion JPEG over HTTP",
                self.http.address("/camera"),
                "",
            ),
        ]
    }
}

/// Somebody who writes the pictures he sees, red, green and blue of each pixel, to a file.
struct Viewer {
    process: Process,
    path: PathBuf,
}

impl Viewer {
    /// Waits for his last picture, and counts those with a box; what he says when there is none.
    fn boxes(mut self) -> Result<usize, String> {
        // An HLS player of GStreamer's goes on when its pipeline has ended.
        let enough = (PICTURES * 3 * WIDTH * HEIGHT) as u64;
        wait_until(STATE_TIMEOUT, || {
            let written = fs::metadata(&self.path).map_or(0, |file| file.len());
            written >= enough || self.process.wait(Duration::ZERO).is_some()
        });
        let pictures = fs::read(&self.path).unwrap_or_default();
        let pictures = pictures.chunks_exact(3 * WIDTH * HEIGHT).take(PICTURES);
        let boxed: Vec<_> = pictures
            .clone()
            .filter(|picture| has_box(picture))
            .collect();
        if let Some(last) = boxed.last() {
            write_png(&self.path.with_extension("png"), WIDTH, HEIGHT, last);
        }
        let _ = fs::remove_file(&self.path);
        if pictures.len() == 0 {
            return Err(self.process.stderr());
        }
        Ok(boxed.len())
    }
}

fn ffmpeg(input: &[&str], directory: &Path, name: &str) -> Viewer {
    let path = directory.join(format!("{name}.rgb"));
    let output = format!(
        "-an -vf fps=10,scale={WIDTH}:{HEIGHT} -frames:v {PICTURES} -f rawvideo -pix_fmt rgb24"
    );
    let process = Launch::new(Path::new("/usr/bin/ffmpeg"))
        .arguments(["-nostdin", "-v", "error", "-y"])
        .arguments(input.iter().copied())
        .arguments(output.split(' '))
        .arguments([path.to_str().expect("UTF-8")])
        .start();
    Viewer { process, path }
}

fn gstreamer(source: &str, directory: &Path, name: &str) -> Viewer {
    let path = directory.join(format!("{name}.rgb"));
    let pipeline = format!(
        "{source} ! avdec_h264 ! videoconvert ! video/x-raw,format=RGB ! identity eos-after={PICTURES} ! filesink location={}",
        path.display()
    );
    let process = Launch::new(Path::new("/usr/bin/gst-launch-1.0"))
        .arguments(["--quiet"])
        .arguments(pipeline.split_whitespace())
        .start();
    Viewer { process, path }
}

/// Looks at a page until a box is seen, and keeps what it shows.
fn browse(url: &str, picture: &Path) -> Result<usize, String> {
    let mut browser = Browser::open(url, WIDTH as u32, HEIGHT as u32 + 60);
    let ready = "String(document.querySelector('video')?.readyState)";
    if !wait_until(STATE_TIMEOUT, || browser.evaluate(ready) == "4") {
        return Err(browser.evaluate("document.body.innerText"));
    }
    let seen = wait_until(STATE_TIMEOUT, || {
        let shown = browser.screenshot();
        write_png(picture, shown.width, shown.height, &shown.rgb);
        has_box(&shown.rgb)
    });
    Ok(usize::from(seen))
}

/// Magenta, or what an encoder with chroma of half the size leaves of it.
fn has_box(rgb: &[u8]) -> bool {
    let magenta = |pixel: &&[u8]| {
        let [red, green, blue] = [0, 1, 2].map(|channel| i32::from(pixel[channel]));
        red - green > 70 && blue - green > 70
    };
    rgb.chunks_exact(3).filter(magenta).count() >= PIXELS_MIN
}

fn write_png(path: &Path, width: usize, height: usize, rgb: &[u8]) {
    let file = fs::File::create(path).expect("a file");
    let mut encoder = png::Encoder::new(file, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(rgb).expect("a picture");
}

/// Where somebody may look at them: `SLUICE_MATRIX=directory`.
fn keep_pictures(site: &Path) {
    let Some(directory) = std::env::var_os("SLUICE_MATRIX") else {
        return;
    };
    fs::create_dir_all(&directory).expect("a directory");
    for entry in fs::read_dir(site).expect("the site").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "png") {
            fs::copy(&path, Path::new(&directory).join(entry.file_name())).expect("a copy");
        }
    }
}
