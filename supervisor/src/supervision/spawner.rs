//! The one thread that starts processes.
//!
//! The kernel sends a child its death signal when the *thread* that started it
//! ends, so this thread lives as long as the run does.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use sandbox::{Child, Launch};
use tokio::sync::oneshot;

/// Starts that may wait: more than there are workers of a run.
const REQUESTS_MAX: usize = 1024;

struct Request {
    launch: Launch,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The spawner's thread. When this is dropped the thread ends, and with it every child.
#[derive(Debug)]
pub struct Spawner {
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (requests, receiver) = sync_channel(REQUESTS_MAX);
        let thread = std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || serve(&receiver))?;
        Ok(Self {
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    /// Starts a process; the answer comes when it is made.
    #[must_use]
    pub fn spawn(&self, launch: Launch) -> oneshot::Receiver<io::Result<Child>> {
        let (reply, answer) = oneshot::channel();
        let request = Request { launch, reply };
        let refused = match &self.requests {
            Some(requests) => requests.try_send(request).err(),
            None => Some(TrySendError::Disconnected(request)),
        };
        if let Some(TrySendError::Full(request) | TrySendError::Disconnected(request)) = refused {
            let error = io::Error::other("the spawner's thread does not answer");
            // The asker waits for this answer, it cannot be gone.
            let _ = request.reply.send(Err(error));
        }
        answer
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed already, and there is nothing left to do.
            let _ = thread.join();
        }
    }
}

fn serve(requests: &Receiver<Request>) {
    while let Ok(Request { launch, reply }) = requests.recv() {
        let result = sandbox::spawn(launch);
        if let Err(Ok(child)) = reply.send(result) {
            // Nobody waits for it any more.
            if let Err(error) = child.kill(sandbox::Signal::SIGKILL) {
                tracing::warn!("a child that nobody wants cannot be killed: {error}");
            }
        }
    }
}

/// What of our own environment a worker needs: to find programs, libraries, plug-ins and
/// devices, and to log. Passwords that a config names are in the environment, too.
#[must_use]
pub fn worker_environment() -> Vec<(String, String)> {
    const NAMES: [&str; 8] = [
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "PATH",
        "RUST_BACKTRACE",
        "SLUICE_LOG",
        "TMPDIR",
        "TZ",
    ];
    const PREFIXES: [&str; 7] = ["CUDA_", "GST_", "LC_", "LIBVA_", "NVIDIA_", "ORT_", "XDG_"];
    let needed = |name: &str| {
        NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        needed(&name).then_some((name, value))
    });
    variables.collect()
}
