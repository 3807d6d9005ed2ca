//! A worker process with the test as its supervisor.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::control::{Decoder, FromWorker, SourceState, ToWorker, encode};
use contract::spec::WorkerSpec;

use crate::process::{Launch, Process};
use crate::wait::wait_until;

/// A worker process, the supervisor's end of its control channel in the test's hands.
#[derive(Debug)]
pub struct WorkerProcess {
    /// The process itself.
    pub process: Process,
    channel: UnixStream,
    received: Arc<Mutex<Vec<FromWorker>>>,
}

impl WorkerProcess {
    /// Starts a worker's program and gives it its spec.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(program: &Path, spec: &WorkerSpec) -> Self {
        Self::launch(Launch::new(program), spec)
    }

    /// Starts a worker as `launch` says, and gives it its spec.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn launch(launch: Launch, spec: &WorkerSpec) -> Self {
        let (channel, theirs) = UnixStream::pair().expect("sockets can be made");
        let process = launch.start_on(theirs);
        let received = Arc::default();
        let reading = channel.try_clone().expect("a socket can be shared");
        std::thread::spawn({
            let received = Arc::clone(&received);
            move || read_all(reading, &received)
        });
        let mut worker = Self {
            process,
            channel,
            received,
        };
        worker.send(&ToWorker::Configure(Box::new(spec.clone())));
        worker
    }

    /// Sends an order; one that has ended does not get it.
    ///
    /// # Panics
    /// When the message is too long.
    pub fn send(&mut self, message: &ToWorker) {
        let bytes = encode(message).expect("messages of tests are short");
        // A worker that failed has closed its end; its exit code tells.
        let _ = self.channel.write_all(&bytes);
    }

    /// Closes the channel, as a supervisor that dies does.
    pub fn abandon(&mut self) {
        // Fails only when the worker has closed it first.
        let _ = self.channel.shutdown(Shutdown::Both);
    }

    /// Everything it has sent so far.
    #[must_use]
    pub fn received(&self) -> Vec<FromWorker> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a message, among all that were sent, that `pick` makes something of.
    ///
    /// # Panics
    /// When none comes in time, with all that came instead.
    pub fn expect<T>(
        &self,
        timeout: Duration,
        mut pick: impl FnMut(&FromWorker) -> Option<T>,
    ) -> T {
        let mut found = None;
        wait_until(timeout, || {
            found = self.received().iter().find_map(&mut pick);
            found.is_some()
        });
        found.unwrap_or_else(|| {
            panic!(
                "the message does not come in {timeout:?}; received {:#?}\n{}",
                self.received(),
                self.process.stderr()
            )
        })
    }

    /// Waits until it is ready and gives the text it says so with.
    ///
    /// # Panics
    /// When it is not ready in time.
    pub fn expect_ready(&self, timeout: Duration) -> String {
        self.expect(timeout, |message| match message {
            FromWorker::Ready(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// The states of its source that it has reported, with their details.
    #[must_use]
    pub fn source_states(&self) -> Vec<(SourceState, String)> {
        let states = self.received().into_iter();
        states
            .filter_map(|message| match message {
                FromWorker::SourceState { state, detail } => Some((state, detail)),
                _ => None,
            })
            .collect()
    }
}

fn read_all(mut channel: UnixStream, received: &Mutex<Vec<FromWorker>>) {
    let mut decoder = Decoder::default();
    let mut chunk = [0; 16 << 10];
    while let Ok(count @ 1..) = channel.read(&mut chunk) {
        decoder.extend(&chunk[..count]);
        while let Ok(Some(message)) = decoder.next_message() {
            let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
            received.push(message);
        }
    }
}
