//! The RTSP server: one port, one shared media a stream.
//!
//! The server and its viewers' connections run on threads of their own, so
//! nothing here waits for the bus loop nor is waited for. What the two know of
//! each other stands in a [`Mount`].
//!
//! A viewer cannot harm another, nor the process:
//! - Each connection has a backlog of its own, of 10 s; a viewer who is slower loses the stream
//!   (`MAX_BACKLOG_DURATION` of the server library). So a frozen viewer in company is harmless.
//! - When none takes data the media takes none: [`super::outlet`] sees it, drops what does not fit
//!   and has the media hidden ([`Mount::hide_media`]), so that whoever comes gets a new one
//!   instead of what was meant for the frozen.
//! - A session without a sign of life ends after 60 s, its connection a second later.
//! - A DESCRIBE that must wait for a key frame holds up the thread of its own connection only.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use contract::spec::Protocol;
use frame_bus::Waker;
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::glib::translate::IntoGlib;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_rtsp_server::prelude::*;
use gstreamer_rtsp_server::{
    RTSPClient, RTSPContext, RTSPFilterResult, RTSPMedia, RTSPMediaFactory, RTSPMountPoints,
    RTSPServer, RTSPSession, RTSPSessionPool, RTSPThreadPool, gio,
};

use crate::GatewayError;

/// From the bus to RTP.
///
/// `max-bytes=0`: the feed bounds the queue itself, by time and bytes. Parameter sets are repeated
/// by the parser, once a key frame: the payloader (1.22) would put them before every slice of it,
/// and players that obey the standard see a new picture there.
const LAUNCH: &str = "( appsrc name=source is-live=true format=time block=false max-bytes=0 \
     caps=video/x-h264,stream-format=byte-stream,alignment=au \
     ! h264parse config-interval=-1 \
     ! rtph264pay name=pay0 pt=96 config-interval=0 aggregate-mode=zero-latency )";

/// What the media is made of, by us and by the server library.
const ELEMENTS: &[&str] = &["appsrc", "h264parse", "rtph264pay", "rtpbin", "udpsink"];

/// Most sessions at once, all streams together.
const SESSIONS_MAX: u32 = 256;

/// Threads that serve connections; more connections share them.
const CONNECTION_THREADS_MAX: i32 = 64;

/// Longest body of a request: viewers send none but a few parameters.
const REQUEST_BYTES_MAX: u32 = 64 << 10;

/// How often sessions without a sign of life are looked for.
const SESSION_CLEANUP_INTERVAL: Duration = Duration::from_secs(2);

/// A connection whose session is gone is closed after so many seconds.
const CONNECTION_LINGER_S: i32 = 1;

/// From the end of a media to the end of its sessions: the last access units and the RTCP BYE go out.
pub(crate) const END_FLUSH: Duration = Duration::from_millis(300);

/// A server. It stops when dropped.
pub(crate) struct Server {
    server: RTSPServer,
    sessions: RTSPSessionPool,
    mount_points: RTSPMountPoints,
    mounts: Mounts,
    context: glib::MainContext,
    waker: Waker,
    listening: Option<Listening>,
}

/// What there is once it listens.
struct Listening {
    source: glib::Source,
    main_loop: glib::MainLoop,
    thread: JoinHandle<()>,
}

/// The mounts there are, for the handlers of the server library: they must not own them.
type Mounts = Arc<Mutex<Vec<Weak<Shared>>>>;

impl Server {
    /// A server that does not listen yet; `waker` wakes the loop that feeds its mounts.
    ///
    /// # Errors
    /// [`GatewayError::NoElement`] when an element of the media is not installed.
    pub(crate) fn new(address: &str, port: u16, waker: Waker) -> Result<Self, GatewayError> {
        let missing = |name: &&&str| gst::ElementFactory::find(name).is_none();
        if let Some(name) = ELEMENTS.iter().find(missing) {
            return Err(GatewayError::NoElement(name));
        }
        let server = RTSPServer::new();
        server.set_address(address);
        server.set_service(&port.to_string());
        server.set_content_length_limit(REQUEST_BYTES_MAX);
        let threads = RTSPThreadPool::new();
        threads.set_max_threads(CONNECTION_THREADS_MAX);
        server.set_thread_pool(Some(&threads));
        let sessions = RTSPSessionPool::new();
        sessions.set_max_sessions(SESSIONS_MAX);
        server.set_session_pool(Some(&sessions));
        let mount_points = RTSPMountPoints::new();
        server.set_mount_points(Some(&mount_points));
        let mounts = Mounts::default();
        watch_sessions(&server, &sessions, &mount_points, &mounts);
        Ok(Self {
            server,
            sessions,
            mount_points,
            mounts,
            context: glib::MainContext::new(),
            waker,
            listening: None,
        })
    }

    /// A path (`/yard`), at which nothing is found before [`Mount::open`].
    pub(crate) fn mount(&self, path: String) -> Mount {
        let mount = Mount(Arc::new(Shared {
            path,
            mount_points: self.mount_points.clone(),
            sessions: self.sessions.clone(),
            context: self.context.clone(),
            waker: self.waker.clone(),
            state: Mutex::default(),
        }));
        let mut mounts = lock(&self.mounts);
        mounts.retain(|mount| mount.strong_count() > 0);
        mounts.push(Arc::downgrade(&mount.0));
        mount
    }

    /// Begins to listen.
    pub(crate) fn listen(&mut self) -> Result<(), GatewayError> {
        let source = self
            .server
            .create_source(gio::Cancellable::NONE)
            .map_err(|error| GatewayError::Listen {
                protocol: Protocol::Rtsp,
                address: self.server.address().map(String::from).unwrap_or_default(),
                port: self.server.service().into(),
                reason: error.message().to_owned(),
            })?;
        source.attach(Some(&self.context));
        let sessions = self.sessions.clone();
        let cleanup = glib::timeout_source_new(
            SESSION_CLEANUP_INTERVAL,
            Some("session cleanup"),
            glib::Priority::DEFAULT,
            move || {
                sessions.cleanup();
                glib::ControlFlow::Continue
            },
        );
        cleanup.attach(Some(&self.context));

        let main_loop = glib::MainLoop::new(Some(&self.context), false);
        let running = main_loop.clone();
        let thread = thread::Builder::new()
            .name("rtsp".to_owned())
            .spawn(move || running.run())
            .map_err(GatewayError::Thread)?;
        self.listening = Some(Listening {
            source,
            main_loop,
            thread,
        });
        Ok(())
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        u16::try_from(self.server.bound_port()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(listening) = self.listening.take() else {
            return;
        };
        listening.source.destroy();
        self.server
            .client_filter(Some(&mut |_, _| RTSPFilterResult::Remove));
        // From inside the loop: a loop that is told to quit before it runs would run for ever.
        let main_loop = listening.main_loop;
        let quit = glib::idle_source_new(Some("quit"), glib::Priority::DEFAULT, move || {
            main_loop.quit();
            glib::ControlFlow::Break
        });
        quit.attach(Some(&self.context));
        if listening.thread.join().is_err() {
            tracing::error!("the RTSP server's thread has panicked");
        }
    }
}

/// One path of the server: the media that its viewers share, and who they are. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Mount(Arc<Shared>);

struct Shared {
    path: String,
    mount_points: RTSPMountPoints,
    sessions: RTSPSessionPool,
    context: glib::MainContext,
    waker: Waker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whoever comes gets no media any more.
    closed: bool,
    media: Option<Media>,
    /// Ids of the sessions that play.
    viewers: HashSet<String>,
    viewers_total: u64,
}

/// What the server makes of a stream while somebody asks for it.
#[derive(Clone)]
pub(crate) struct Media {
    /// Where access units go in.
    pub(crate) source: AppSrc,
    /// Somebody watches. Before, one key frame is all that is wanted, for the answer to DESCRIBE.
    pub(crate) playing: bool,
    media: RTSPMedia,
    /// It gives this media to whoever comes while it stands at the mount point.
    factory: RTSPMediaFactory,
}

impl Mount {
    /// From now on whoever comes is served.
    pub(crate) fn open(&self) {
        self.install();
    }

    /// Nothing is found at the path any more, and those who watch are sent home.
    pub(crate) fn close(&self) {
        self.0.mount_points.remove_factory(&self.0.path);
        let ended = {
            let mut state = self.state();
            state.closed = true;
            state.media.take()
        };
        if let Some(media) = ended {
            self.end(media);
        }
    }

    /// The media there is, if somebody has asked for the stream.
    pub(crate) fn media(&self) -> Option<Media> {
        self.state().media.clone()
    }

    /// Viewers now, and viewers ever.
    pub(crate) fn viewers(&self) -> (u64, u64) {
        let state = self.state();
        (state.viewers.len() as u64, state.viewers_total)
    }

    /// Keeps the media from new viewers: those it has take nothing. The first who comes gets a
    /// new one, and then the old one ends.
    pub(crate) fn hide_media(&self) {
        self.install();
    }

    /// Takes back [`Mount::hide_media`].
    pub(crate) fn show_media(&self) {
        if let Some(media) = self.media() {
            self.0.mount_points.add_factory(&self.0.path, media.factory);
        }
    }

    /// Ends the media. Whoever comes from now on gets a new one.
    pub(crate) fn end_media(&self) {
        let ended = self.state().media.take();
        if let Some(media) = ended {
            self.install();
            self.end(media);
        }
    }

    /// Viewers get all that was handed over, then the end of the stream, then their
    /// connections are closed: not every player knows what an RTCP BYE is.
    fn end(&self, old: Media) {
        if let Err(error) = old.source.end_of_stream() {
            tracing::debug!(path = self.0.path, ?error, "the media is gone already");
        }
        let sessions = self.0.sessions.clone();
        let close = glib::timeout_source_new(
            END_FLUSH,
            Some("end of stream"),
            glib::Priority::DEFAULT,
            move || {
                end_sessions(&sessions, &old.media);
                glib::ControlFlow::Break
            },
        );
        close.attach(Some(&self.0.context));
    }

    /// Answers who waits for the media with `503 Service Unavailable`.
    pub(crate) fn refuse_media(&self, reason: &str) {
        let refused = self.state().media.take();
        if let Some(media) = refused {
            refuse(&media.source, reason);
        }
    }

    /// Puts a new factory at the path. The one before, if any, makes no media any more.
    fn install(&self) {
        let factory = RTSPMediaFactory::new();
        factory.set_launch(LAUNCH);
        factory.set_shared(true);
        // The mount points own the factory, so its handlers must not own them.
        let mount = Arc::downgrade(&self.0);
        factory
            .connect_media_configure(move |factory, media| Self::configure(&mount, factory, media));
        self.0.mount_points.add_factory(&self.0.path, factory);
    }

    fn configure(mount: &Weak<Shared>, factory: &RTSPMediaFactory, media: &RTSPMedia) {
        let source = media
            .element()
            .downcast::<gst::Bin>()
            .ok()
            .and_then(|bin| bin.by_name("source"))
            .and_then(|source| source.downcast::<AppSrc>().ok());
        let Some(source) = source else {
            return;
        };
        let this = mount.upgrade().map(Self);
        let Some(this) = this.filter(|mount| !mount.state().closed) else {
            // Asked for at the moment the mount was closed: nobody would ever feed it.
            refuse(&source, "the stream is not served any more");
            return;
        };
        let mount = mount.clone();
        media.connect_new_state({
            let mount = mount.clone();
            move |media, state| {
                let playing = state == gst::State::Playing.into_glib();
                Self::with_current(&mount, media, |slot| {
                    if let Some(current) = slot {
                        current.playing = playing;
                    }
                });
            }
        });
        media.connect_unprepared(move |media| {
            Self::with_current(&mount, media, |slot| *slot = None);
        });
        let hidden = this.state().media.replace(Media {
            source,
            playing: false,
            media: media.clone(),
            factory: factory.clone(),
        });
        if let Some(hidden) = hidden {
            this.end(hidden);
        }
        this.0.waker.wake();
    }

    /// Changes the slot of `media`, unless another media has taken its place.
    fn with_current(
        mount: &Weak<Shared>,
        media: &RTSPMedia,
        change: impl FnOnce(&mut Option<Media>),
    ) {
        let Some(mount) = mount.upgrade().map(Self) else {
            return;
        };
        let mut state = mount.state();
        if state
            .media
            .as_ref()
            .is_some_and(|current| current.media == *media)
        {
            change(&mut state.media);
            mount.0.waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets the media fail that this source belongs to.
fn refuse(source: &AppSrc, reason: &str) {
    gst::element_error!(source, gst::ResourceError::NotFound, ["{reason}"]);
}

/// Ends every session that plays `media`.
fn end_sessions(sessions: &RTSPSessionPool, media: &RTSPMedia) {
    sessions.filter(Some(&mut |_, session| {
        let mut plays = false;
        session.filter(Some(&mut |_, played| {
            plays |= played.media().as_ref() == Some(media);
            RTSPFilterResult::Keep
        }));
        if plays {
            RTSPFilterResult::Remove
        } else {
            RTSPFilterResult::Keep
        }
    }));
}

/// A viewer is a session from its first PLAY to its end, however it ends.
fn watch_sessions(
    server: &RTSPServer,
    sessions: &RTSPSessionPool,
    mount_points: &RTSPMountPoints,
    mounts: &Mounts,
) {
    let leaving = Arc::clone(mounts);
    sessions.connect_session_removed(move |_, session| {
        for mount in present(&leaving) {
            if mount.state().viewers.remove(&session_id(session)) {
                tracing::info!(path = mount.0.path, "a viewer has left");
            }
        }
    });
    let (mount_points, mounts) = (mount_points.clone(), Arc::clone(mounts));
    let played = move |_: &RTSPClient, context: &RTSPContext| {
        let path = context
            .uri()
            .and_then(|url| mount_points.make_path(url).ok());
        let (Some(session), Some(path)) = (context.session(), path) else {
            return;
        };
        for mount in present(&mounts) {
            if mount.0.path == path.as_str() {
                let mut state = mount.state();
                if state.viewers.insert(session_id(session)) {
                    state.viewers_total += 1;
                    tracing::info!(path = mount.0.path, "a viewer has come");
                }
            }
        }
        // The media may stand still because all other viewers are frozen, and the library looks
        // whether anybody can take data only when somebody has taken some, or each 5 s.
        let played = session.media(&path).0;
        if let Some(transport) = played.and_then(|played| played.transport(0)) {
            transport.message_sent();
        }
    };
    server.connect_client_connected(move |_, client| {
        client.set_post_session_timeout(CONNECTION_LINGER_S);
        client.connect_play_request(played.clone());
    });
}

fn present(mounts: &Mounts) -> Vec<Mount> {
    let mounts = lock(mounts);
    mounts.iter().filter_map(Weak::upgrade).map(Mount).collect()
}

fn session_id(session: &RTSPSession) -> String {
    session.sessionid().map(String::from).unwrap_or_default()
}
