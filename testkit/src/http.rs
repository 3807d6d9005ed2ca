//! An HTTP server for tests: the files of a directory, and a Motion JPEG camera.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::wait::wait_until;

/// Between two pictures of the Motion JPEG camera.
const PICTURE_INTERVAL: Duration = Duration::from_millis(40);

/// What is served and to whom.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Files below it are served under their names.
    pub directory: PathBuf,
    /// This picture of it is sent at `/camera` again and again, at 25 a second.
    pub picture: Option<String>,
    /// The value of `Authorization` that is asked for: `Basic ` and user:password in Base64.
    pub authorization: Option<String>,
}

/// A server on a port of its own of 127.0.0.1.
#[derive(Debug)]
pub struct HttpServer {
    port: u16,
    stopped: Arc<AtomicBool>,
}

impl HttpServer {
    /// Begins to serve.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(options: HttpOptions) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Self {
            port,
            stopped: Arc::clone(&stopped),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (options, stopped) = (options.clone(), Arc::clone(&stopped));
                std::thread::spawn(move || {
                    // A client that leaves is the end of its connection.
                    let _ = serve(&stream, &options, &stopped);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        server
    }

    /// Its address with this path, which begins with `/`.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its address with a user and a password, right or wrong.
    #[must_use]
    pub fn address_as(&self, login: &str, path: &str) -> String {
        format!("http://{login}@127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(stream: &TcpStream, options: &HttpOptions, stopped: &AtomicBool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut authorization = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.to_owned());
        }
    }
    if options.authorization.is_some() && options.authorization != authorization {
        let challenge = "WWW-Authenticate: Basic realm=\"camera\"\r\n";
        return answer(stream, "401 Unauthorized", challenge, b"");
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    let path = path.split('?').next().unwrap_or_default();
    match &options.picture {
        Some(picture) if path == "/camera" => {
            send_pictures(stream, &options.directory.join(picture), stopped)
        }
        _ => match file(&options.directory, path) {
            Some(bytes) => answer(stream, "200 OK", "", &bytes),
            None => answer(stream, "404 Not Found", "", b""),
        },
    }
}

fn file(directory: &Path, path: &str) -> Option<Vec<u8>> {
    let path = Path::new(path.trim_start_matches('/'));
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| std::fs::read(directory.join(path)).ok())?
}

fn answer(mut stream: &TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

fn send_pictures(
    mut stream: &TcpStream,
    picture: &Path,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    let picture = std::fs::read(picture)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n"
    )?;
    while !wait_until(PICTURE_INTERVAL, || stopped.load(Ordering::Relaxed)) {
        let length = picture.len();
        write!(
            stream,
            "--next\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(&picture)?;
        stream.write_all(b"\r\n")?;
    }
    Ok(())
}
