//! Streams that are pushed to others: by RTMP, RTSP or SRT, from the encode of full size.
//!
//! | room | what for |
//! |---|---|
//! | this | who is pushed to, and one task for each |
//! | `retry` | when a lost one is tried again: pure |
//! | `call` | SRT |
//! | `pipeline` | RTMP and RTSP, by GStreamer |
//!
//! Each has a task, and a reader of its own in the stream's ring, so one that takes nothing costs
//! nobody anything: its queue is bounded, it goes without up to the newest key frame, and after
//! [`STALL_MAX`] it is lost. Its states are connecting, live, refused, lost and, when its retries are used
//! up, gone; each change is a line in the log, and the live ones are counted in the book.
//!
//! An access unit is not copied for RTMP and RTSP up to GStreamer's muxer or payloader. Of SRT the
//! MPEG-TS is made once for viewers and pushes together.

mod call;
mod pipeline;

use std::fmt;
use std::time::Duration;

use contract::name::StreamName;
use contract::push::{PushAddress, PushScheme};
use contract::spec::PushSpec;
use tokio::sync::oneshot;

use crate::GatewayError;
use crate::channel::{Channel, Reader};
use crate::network::Network;

use self::call::Caller;
use self::pipeline::Pipeline;

/// Somebody who does not answer within this time is lost.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Somebody who takes nothing for so long, while there is something, is lost.
const STALL_MAX: Duration = Duration::from_secs(10);

/// All pushes there are. They end when dropped.
#[derive(Default)]
pub(crate) struct Pushes {
    running: Vec<Push>,
    /// For SRT, from the first push by it on.
    driver: Option<::srt::Driver>,
}

/// One task. It ends when this is dropped.
struct Push {
    stream: StreamName,
    spec: PushSpec,
    _stop: oneshot::Sender<()>,
}

impl Pushes {
    /// Has a stream pushed to exactly these. Those that it is pushed to already notice nothing.
    pub(crate) fn follow(
        &mut self,
        network: &Network,
        stream: &StreamName,
        wanted: &[PushSpec],
        channel: &Channel,
    ) -> Result<(), GatewayError> {
        self.running
            .retain(|push| push.stream != *stream || wanted.contains(&push.spec));
        for spec in wanted {
            let mut running = self.running.iter();
            if !running.any(|push| push.stream == *stream && push.spec == *spec) {
                let push = self.begin(network, stream, spec, channel)?;
                self.running.push(push);
            }
        }
        Ok(())
    }

    /// Pushes a stream to nobody any more.
    pub(crate) fn stop(&mut self, stream: &StreamName) {
        self.running.retain(|push| push.stream != *stream);
    }

    fn begin(
        &mut self,
        network: &Network,
        stream: &StreamName,
        spec: &PushSpec,
        channel: &Channel,
    ) -> Result<Push, GatewayError> {
        let address = PushAddress::parse(&spec.location).map_err(GatewayError::PushAddress)?;
        let target = match address.scheme {
            PushScheme::Srt => {
                let driver = match self.driver.take() {
                    Some(driver) => driver,
                    None => ::srt::Driver::start()?,
                };
                let driver = self.driver.insert(driver).clone();
                Target::Srt(Caller::new(driver, &address)?)
            }
            PushScheme::Rtmp | PushScheme::Rtmps | PushScheme::Rtsp | PushScheme::Rtsps => {
                Target::Pipeline(Pipeline::new(address.clone())?)
            }
        };
        let life = Life {
            stream: stream.clone(),
            public: address.public(),
            target,
            channel: channel.clone(),
            spec: spec.clone(),
            failures: 0,
        };
        let (stop, stopped) = oneshot::channel();
        network.spawn(life.run(stopped));
        Ok(Push {
            stream: stream.clone(),
            spec: spec.clone(),
            _stop: stop,
        })
    }
}

enum Target {
    Srt(Caller),
    Pipeline(Pipeline),
}

/// Why a connection has ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// There is nothing more to push, for now.
    Stream,
    /// The other side says no: a wrong key, a wrong passphrase.
    Refused(String),
    /// It cannot be reached, or not any more.
    Lost(String),
}

/// What is shown of a push, as of a source.
#[derive(Debug, Clone, Copy)]
enum State {
    Connecting,
    Live,
    Refused,
    Lost,
    Gone,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Gone => "gone",
        })
    }
}

/// One push from its beginning to its end, over all its connections.
struct Life {
    stream: StreamName,
    /// Its address, as it may be shown.
    public: String,
    target: Target,
    channel: Channel,
    spec: PushSpec,
    /// Connections in a row that did not come live.
    failures: u32,
}

impl Life {
    async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            // An error is the other end that is gone, and that is how it stops.
            _ = stopped => {}
            () = self.live() => {}
        }
        // GStreamer waits for its threads here, and nothing else on this thread may.
        if let Target::Pipeline(pipeline) = self.target {
            pipeline.retire().await;
        }
    }

    async fn live(&mut self) {
        loop {
            let mut reader = self.channel.follow();
            // Nobody is called before there is something to send.
            while reader.behind() == 0 {
                reader.wait().await;
            }
            self.tell(State::Connecting, "");
            let (mut live, stream, public) = (false, &self.stream, &self.public);
            let mut on_live = |reader: &mut Reader| {
                live = true;
                reader.count();
                tell(stream, public, State::Live, "");
            };
            let end = match &mut self.target {
                Target::Srt(caller) => caller.push(&mut reader, &mut on_live).await,
                Target::Pipeline(pipeline) => pipeline.push(&mut reader, &mut on_live).await,
            };
            drop(reader);
            if live {
                self.failures = 0;
            }
            let (state, reason) = match end {
                // The next access unit begins it anew.
                End::Stream => continue,
                End::Refused(reason) => (State::Refused, reason),
                End::Lost(reason) => (State::Lost, reason),
            };
            self.failures += 1;
            let retry = &self.spec.retry;
            if retry.attempts.is_some_and(|most| self.failures >= most) {
                self.tell(State::Gone, &reason);
                return;
            }
            let wait = retry.wait(self.failures, &self.public);
            let seconds = wait.as_secs_f32();
            self.tell(state, &format!("{reason}; trying again in {seconds:.1} s"));
            tokio::time::sleep(wait).await;
        }
    }

    fn tell(&self, state: State, detail: &str) {
        tell(&self.stream, &self.public, state, detail);
    }
}

fn tell(stream: &StreamName, public: &str, state: State, detail: &str) {
    match state {
        State::Connecting => tracing::debug!(%stream, to = public, %state, "push"),
        State::Live => tracing::info!(%stream, to = public, %state, "push"),
        State::Refused | State::Lost | State::Gone => {
            tracing::warn!(%stream, to = public, %state, detail, "push");
        }
    }
}
