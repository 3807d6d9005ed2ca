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
