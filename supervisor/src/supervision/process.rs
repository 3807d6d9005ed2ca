//! The supervisor's end of one worker process: its control channel and its death.
//!
//! One task a process. It forwards what the worker says in the order in which it
//! was said, and reports the death last, after everything that was still in the
//! channel. A worker that does not read its channel is reported as deaf: the
//! supervisor never waits for it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use contract::control::{Decoder, FromWorker, ToWorker, encode};
use sandbox::{Child, ExitReport, Signal};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Orders that may wait for the task.
const ORDERS_MAX: usize = 256;

/// Bytes that may wait for a worker to read them.
const UNREAD_BYTES_MAX: usize = 16 << 20;

/// A worker whose channel has ended is about to exit; it has this long.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

/// What a worker process did.
#[derive(Debug)]
pub struct Report {
    /// Its index in the fleet.
    pub member: usize,
    /// The number of the process.
    pub incarnation: u32,
    /// What it did.
    pub what: ProcessEvent,
}

/// What a worker process did.
#[derive(Debug)]
pub enum ProcessEvent {
    /// It said something.
    Message(Box<FromWorker>),
    /// It cannot be talked to; why.
    Deaf(String),
    /// It is dead, and reaped.
    Exited(ExitReport),
}

enum Order {
    Send(Vec<u8>),
    Signal(Signal),
}

/// A running process. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    orders: mpsc::Sender<Order>,
}

impl Process {
    /// Watches a process that was just started. `channel` is our end of its control channel.
    ///
    /// # Errors
    /// When its descriptors cannot be watched.
    pub fn watch(
        child: Child,
        channel: std::os::unix::net::UnixStream,
        member: usize,
        incarnation: u32,
        reports: mpsc::Sender<Report>,
    ) -> io::Result<Self> {
        channel.set_nonblocking(true)?;
        let channel = UnixStream::from_std(channel)?;
        let death = child.pidfd().try_clone_to_owned()?;
        let death = watch_death(death)?;
        let (orders, incoming) = mpsc::channel(ORDERS_MAX);
        let pid = child.pid();
        let task = Task {
            child,
            channel,
            death,
            orders: incoming,
            reporter: Reporter {
                member,
                incarnation,
                reports,
            },
            decoder: Decoder::default(),
            unsent: Vec::new(),
            exit_by: None,
        };
        tokio::spawn(task.run());
        Ok(Self { pid, orders })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a message; says whether it could be queued.
    #[must_use]
    pub fn send(&self, message: &ToWorker) -> bool {
        match encode(message) {
            Ok(bytes) => self.orders.try_send(Order::Send(bytes)).is_ok(),
            Err(error) => {
                tracing::error!("a message for pid {} cannot be sent: {error}", self.pid);
                false
            }
        }
    }

    /// Sends a signal; says whether it could be queued.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        self.orders.try_send(Order::Signal(signal)).is_ok()
    }
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe for types whose descriptor may change; that of an OwnedFd cannot"
)]
fn watch_death(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(process, Interest::READABLE)
}

struct Reporter {
    member: usize,
    incarnation: u32,
    reports: mpsc::Sender<Report>,
}

impl Reporter {
    async fn report(&self, what: ProcessEvent) {
        let report = Report {
            member: self.member,
            incarnation: self.incarnation,
            what,
        };
        // Without a receiver the run is over, and nobody wants to know.
        let _ = self.reports.send(report).await;
    }
}

struct Task {
    child: Child,
    channel: UnixStream,
    death: AsyncFd<OwnedFd>,
    orders: mpsc::Receiver<Order>,
    reporter: Reporter,
    decoder: Decoder,
    unsent: Vec<u8>,
    /// The channel has ended: the process must follow.
    exit_by: Option<Instant>,
}

impl Task {
    async fn run(mut self) {
        let mut orders_come = true;
        loop {
            let interest = if self.unsent.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let exit_by = self.exit_by.unwrap_or_else(Instant::now);
            tokio::select! {
                _ = self.death.readable() => break,
                order = self.orders.recv(), if orders_come => match order {
                    Some(order) => self.obey(order).await,
                    None => orders_come = false,
                },
                ready = self.channel.ready(interest), if self.exit_by.is_none() => {
                    self.serve_channel(ready).await;
                }
                () = tokio::time::sleep_until(exit_by), if self.exit_by.is_some() => {
                    self.exit_by = Some(Instant::now() + EXIT_TIMEOUT);
                    self.deaf("it closed its control channel and did not exit").await;
                }
            }
        }
        // The process is dead: what it said last is still in the channel.
        if self.exit_by.is_none() {
            self.read().await;
        }
        let report = self.reap().await;
        self.reporter.report(ProcessEvent::Exited(report)).await;
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Send(bytes) if self.unsent.len() + bytes.len() <= UNREAD_BYTES_MAX => {
                self.unsent.extend_from_slice(&bytes);
            }
            Order::Send(_) => self.deaf("it does not read its control channel").await,
            Order::Signal(signal) => {
                if let Err(error) = self.child.kill(signal) {
                    tracing::warn!("pid {} gets no {signal}: {error}", self.child.pid());
                }
            }
        }
    }

    async fn serve_channel(&mut self, ready: io::Result<Ready>) {
        match ready {
            Ok(ready) => {
                if ready.is_writable() {
                    self.write();
                }
                if ready.is_readable() || ready.is_read_closed() {
                    self.read().await;
                }
            }
            Err(error) => {
                tracing::warn!("pid {}: control channel: {error}", self.child.pid());
                self.channel_ended();
            }
        }
    }

    fn write(&mut self) {
        match self.channel.try_write(&self.unsent) {
            Ok(written) => drop(self.unsent.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.unsent.clear(),
        }
    }

    /// Reads what is there and forwards whole messages.
    async fn read(&mut self) {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.channel.try_read(&mut buffer) {
                Ok(0) => return self.channel_ended(),
                Ok(length) => self.decoder.extend(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return self.channel_ended(),
            }
            loop {
                match self.decoder.next_message::<FromWorker>() {
                    Ok(Some(message)) => {
                        let message = ProcessEvent::Message(Box::new(message));
                        self.reporter.report(message).await;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.channel_ended();
                        return self.deaf(&error.to_string()).await;
                    }
                }
            }
        }
    }

    fn channel_ended(&mut self) {
        self.exit_by.get_or_insert(Instant::now() + EXIT_TIMEOUT);
    }

    async fn deaf(&self, why: &str) {
        self.reporter
            .report(ProcessEvent::Deaf(why.to_owned()))
            .await;
    }

    async fn reap(&mut self) -> ExitReport {
        loop {
            match self.child.try_reap() {
                Ok(Some(report)) => return report,
                // The descriptor speaks a moment before the zombie can be taken.
                Ok(None) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => {
                    tracing::warn!("pid {} cannot be reaped: {error}", self.child.pid());
                    return ExitReport {
                        code: None,
                        signal: None,
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
