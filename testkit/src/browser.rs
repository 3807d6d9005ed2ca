//! A headless Chromium that a test opens a page in, driven by the DevTools protocol.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use crate::process::{Launch, Process};
use crate::wait::wait_until;

/// Longest wait for the browser to start, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// It asks nobody on the network but the page's own server, and plays without a click.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
];

/// A browser with one page open. It ends when dropped.
pub struct Browser {
    socket: WebSocket<TcpStream>,
    session: String,
    next_id: u64,
    process: Process,
    _profile: TempDir,
}

/// What a page shows.
pub struct Screenshot {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Red, green and blue of each pixel, row by row.
    pub rgb: Vec<u8>,
}

impl Screenshot {
    /// Red, green and blue at a place in fractions of width and height.
    #[must_use]
    pub fn at(&self, x: f64, y: f64) -> [u8; 3] {
        let place = |fraction: f64, size: usize| ((fraction * size as f64) as usize).min(size - 1);
        let index = 3 * (place(y, self.height) * self.width + place(x, self.width));
        [self.rgb[index], self.rgb[index + 1], self.rgb[index + 2]]
    }
}

impl Browser {
    /// Starts it, of this size in pixels, and opens a page. Nothing of it is waited for.
    ///
    /// # Panics
    /// When Debian's package `chromium` is missing or does not start.
    #[must_use]
    pub fn open(url: &str, width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().expect("a temporary directory");
        let directory = profile.path();
        let process = Launch::new(Path::new("/usr/bin/chromium"))
            .arguments(ARGUMENTS)
            .arguments([
                format!("--user-data-dir={}", directory.display()),
                "about:blank".to_owned(),
            ])
            .start();
        let mut place = None;
        wait_until(TIMEOUT, || {
            let text = fs::read_to_string(directory.join("DevToolsActivePort"));
            let text = text.unwrap_or_default();
            place = text.split_once('\n').and_then(|(port, path)| {
                let path = path.starts_with('/').then(|| path.trim().to_owned())?;
                Some((port.parse::<u16>().ok()?, path))
            });
            place.is_some()
        });
        let Some((port, path)) = place else {
            panic!("chromium does not start\n{}", process.stderr());
        };
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("chromium listens");
        let timeout = stream.set_read_timeout(Some(TIMEOUT));
        timeout.expect("a time that is not zero");
        let request = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tungstenite::client(request, stream).expect("chromium answers");
        let mut browser = Self {
            socket,
            session: String::new(),
            next_id: 0,
            process,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        let session = attached["sessionId"].as_str();
        browser.session = session.expect("a session").to_owned();
        browser.call(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        browser.call("Page.navigate", &json!({"url": url}));
        browser
    }

    /// The value of an expression in the page, a promise's when it is kept; what is no text
    /// is written as JSON.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> String {
        let result = self.call(
            "Runtime.evaluate",
            &json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "`{expression}` throws {thrown}");
        let value = &result["result"]["value"];
        let text = value.as_str().map(str::to_owned);
        text.unwrap_or_else(|| value.to_string())
    }

    /// What the page shows now.
    ///
    /// # Panics
    /// When there is no picture.
    pub fn screenshot(&mut self) -> Screenshot {
        let result = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let data = result["data"].as_str().expect("a picture");
        let data = STANDARD.decode(data).expect("base64");
        let mut decoder = png::Decoder::new(std::io::Cursor::new(data));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().expect("a PNG");
        let size = reader.output_buffer_size().expect("a picture that fits");
        let mut pixels = vec![0; size];
        let info = reader.next_frame(&mut pixels).expect("a whole PNG");
        let channels = info.color_type.samples();
        assert!(channels >= 3, "a picture in colour");
        let pixels = pixels[..info.buffer_size()].chunks(channels);
        Screenshot {
            width: info.width as usize,
            height: info.height as usize,
            rgb: pixels.flat_map(|pixel| &pixel[..3]).copied().collect(),
        }
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.next_id += 1;
        let mut message = json!({"id": self.next_id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let sent = self.socket.send(Message::text(message.to_string()));
        sent.expect("chromium is there");
        loop {
            let answer = self.socket.read();
            let answer = answer.unwrap_or_else(|error| {
                panic!("{method}: {error}\n{}", self.process.stderr());
            });
            let Ok(text) = answer.to_text() else {
                continue;
            };
            // Events come in between.
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            if answer["id"] == self.next_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // So that it ends its own children; what does not is killed.
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        let _ = self.socket.send(Message::text(close));
        self.process.wait(Duration::from_secs(3));
    }
}
