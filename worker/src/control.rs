//! The worker's end of the control channel.
//!
//! One thread reads, one writes; both end with the channel. Its end means the
//! supervisor is gone, and the worker leaves.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use contract::control::{Decoder, FromWorker, ToWorker, encode};
use contract::exit::WorkerExit;
use contract::spec::WorkerSpec;

use crate::{Failure, Stop};

/// Messages waiting to be written. When the supervisor does not read, [`Control::send`] waits.
const OUTGOING_MAX: usize = 256;
/// Messages waiting to be taken by the main loop.
const INCOMING_MAX: usize = 64;

type Hook = Box<dyn Fn() + Send>;

/// The worker's end of the control channel. Cloning is cheap.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    outgoing: Mutex<Option<SyncSender<FromWorker>>>,
    incoming: Mutex<Receiver<ToWorker>>,
    hook: Arc<Mutex<Option<Hook>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    stop: Stop,
    drain: Arc<AtomicBool>,
    orphaned: Arc<AtomicBool>,
}

impl Control {
    /// Takes the channel from standard input and waits for the spec.
    pub(crate) fn from_stdin(stop: Stop) -> Result<(WorkerSpec, Self), Failure> {
        let descriptor = std::io::stdin().as_fd().try_clone_to_owned();
        let socket = descriptor.ok().map(UnixStream::from);
        let stream = socket.filter(|stream| stream.peer_addr().is_ok());
        let stream = stream.ok_or_else(|| {
            Failure::bad_config(
                "standard input is no control channel: workers are started by `sluice run`, not by hand",
            )
        })?;
        Self::open(stream, stop)
    }

    /// Runs the channel over a connected socket whose first message is the spec.
    ///
    /// # Errors
    /// When the first message is something else.
    pub fn over(stream: UnixStream) -> Result<(WorkerSpec, Self), Failure> {
        Self::open(stream, Stop::default())
    }

    fn open(mut stream: UnixStream, stop: Stop) -> Result<(WorkerSpec, Self), Failure> {
        let mut decoder = Decoder::default();
        let spec = match read_message(&mut stream, &mut decoder) {
            Some(ToWorker::Configure(spec)) => *spec,
            _ => {
                return Err(Failure::failed(
                    "the first message on the control channel was no spec",
                ));
            }
        };
        let failed = |error: std::io::Error| {
            Failure::failed(format!("cannot serve the control channel: {error}"))
        };
        let write_end = stream.try_clone().map_err(failed)?;
        let (outgoing, to_write) = sync_channel(OUTGOING_MAX);
        let (arrived, incoming) = sync_channel(INCOMING_MAX);
        let drain = Arc::new(AtomicBool::new(false));
        let orphaned = Arc::new(AtomicBool::new(false));
        let hook: Arc<Mutex<Option<Hook>>> = Arc::default();
        let writer = spawn("control-writer", move || write_all(write_end, &to_write))?;
        let reader = Reader {
            stream,
            decoder,
            arrived,
            hook: Arc::clone(&hook),
            stop: stop.clone(),
            drain: Arc::clone(&drain),
            orphaned: Arc::clone(&orphaned),
        };
        spawn("control-reader", move || reader.run())?;
        let shared = Shared {
            outgoing: Mutex::new(Some(outgoing)),
            incoming: Mutex::new(incoming),
            hook,
            writer: Mutex::new(Some(writer)),
            stop,
            drain,
            orphaned,
        };
        Ok((
            spec,
            Self {
                shared: Arc::new(shared),
            },
        ))
    }

    /// Sends a message; waits while the supervisor does not read.
    pub fn send(&self, message: FromWorker) {
        if let Some(outgoing) = self.outgoing() {
            // The writer ends with the channel, and then the worker is leaving.
            let _ = outgoing.send(message);
        }
    }

    /// Sends a message unless that would mean waiting; says whether it did.
    #[must_use]
    pub fn try_send(&self, message: FromWorker) -> bool {
        match self.outgoing().map(|outgoing| outgoing.try_send(message)) {
            Some(Ok(()) | Err(TrySendError::Disconnected(_))) | None => true,
            Some(Err(TrySendError::Full(_))) => false,
        }
    }

    /// Answers [`ToWorker::Reconfigure`]: what was done, a line each, or why nothing was.
    pub fn reconfigured(&self, generation: u64, result: Result<Vec<String>, String>) {
        match &result {
            Ok(notes) => tracing::info!(generation, ?notes, "reconfigured"),
            Err(reason) => tracing::warn!(generation, reason, "not reconfigured"),
        }
        self.send(FromWorker::Reconfigured { generation, result });
    }

    fn outgoing(&self) -> Option<SyncSender<FromWorker>> {
        lock(&self.shared.outgoing).clone()
    }

    /// The next message, if one has come.
    #[must_use]
    pub fn try_receive(&self) -> Option<ToWorker> {
        lock(&self.shared.incoming).try_recv().ok()
    }

    /// The next message, waited for.
    #[must_use]
    pub fn receive_timeout(&self, timeout: Duration) -> Option<ToWorker> {
        match lock(&self.shared.incoming).recv_timeout(timeout) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // Nothing can come any more; still do not let the caller spin.
                std::thread::park_timeout(timeout);
                None
            }
        }
    }

    /// Calls `hook` on the reader's thread after each message that came, and when the worker
    /// is told to leave: the place to wake a main loop that waits for something else.
    pub fn on_message(&self, hook: impl Fn() + Send + 'static) {
        *lock(&self.shared.hook) = Some(Box::new(hook));
    }

    /// The worker has been told to leave: SIGTERM, or the supervisor is gone.
    /// If it has not left in 0.9 s it is ended by force.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.shared.stop.is_set()
    }

    /// The order to drain has come, whether or not the main loop has taken it yet.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.shared.drain.load(Ordering::Relaxed)
    }

    pub(crate) fn orphaned(&self) -> bool {
        self.shared.orphaned.load(Ordering::Relaxed)
    }

    /// Writes what is still to be written, then closes the channel.
    pub(crate) fn close(self) {
        lock(&self.shared.outgoing).take();
        if let Some(writer) = lock(&self.shared.writer).take() {
            let _ = writer.join();
        }
    }
}

struct Reader {
    stream: UnixStream,
    decoder: Decoder,
    arrived: SyncSender<ToWorker>,
    hook: Arc<Mutex<Option<Hook>>>,
    stop: Stop,
    drain: Arc<AtomicBool>,
    orphaned: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        while let Some(message) = read_message(&mut self.stream, &mut self.decoder) {
            if matches!(message, ToWorker::Drain) {
                self.drain.store(true, Ordering::Relaxed);
            }
            if self.arrived.send(message).is_err() {
                return;
            }
            self.call_hook();
        }
        tracing::info!("the supervisor is gone");
        self.orphaned.store(true, Ordering::Relaxed);
        self.stop.set(WorkerExit::Orphaned);
        self.call_hook();
    }

    fn call_hook(&self) {
        if let Some(hook) = lock(&self.hook).as_ref() {
            hook();
        }
    }
}

fn read_message(stream: &mut UnixStream, decoder: &mut Decoder) -> Option<ToWorker> {
    let mut chunk = [0; 64 << 10];
    loop {
        match decoder.next_message() {
            Ok(Some(message)) => return Some(message),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "the control channel is unusable");
                return None;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) => return None,
            Ok(count) => decoder.extend(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "the control channel broke");
                return None;
            }
        }
    }
}

fn write_all(mut stream: UnixStream, messages: &Receiver<FromWorker>) {
    for message in messages {
        let written = encode(&message)
            .map_err(|error| error.to_string())
            .and_then(|bytes| stream.write_all(&bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::debug!(error, "a message was not written");
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Failure> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Failure::failed(format!("cannot start thread `{name}`: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
