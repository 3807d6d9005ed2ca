//! Who holds the descriptors of pools, so that whoever comes later finds them.
//!
//! A Unix socket beside the bus: a producer puts the descriptor of its pool there before it
//! publishes; a consumer that meets a pool it does not know takes a copy. One request a
//! connection, each a packet of fixed size.

#![expect(unsafe_code, reason = "descriptors that were received become ours")]

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use contract::name::StreamName;
use contract::spec::FrameServiceSpec;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::pipe2;

use super::pool::{Pool, PoolLayout};
use crate::error::BusError;
use crate::supervision::Root;

const MAGIC: u64 = 0x534c_5543_504f_4f4c;

/// Pools that are kept of one service: the producer's, and that of the one before it, of which
/// frames may still be queued.
const POOLS_OF_A_SERVICE: usize = 2;

/// Whoever is asked answers at once, or is dead.
const ANSWER_MAX_SECONDS: i64 = 2;

/// Longest name of a service.
const TOPIC_BYTES: usize = 128;

const PUT: u64 = 1;
const TAKE: u64 = 2;

const DONE: u64 = 0;
const UNKNOWN: u64 = 1;
const MALFORMED: u64 = 2;

#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Request {
    magic: u64,
    verb: u64,
    layout: PoolLayout,
    /// The service's name, filled up with zeroes.
    topic: [u8; TOPIC_BYTES],
}

#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Answer {
    magic: u64,
    status: u64,
    layout: PoolLayout,
}

/// Where the keeper of a bus listens; `bus` is the bus' own directory.
pub(crate) fn socket_path(bus: &Path) -> PathBuf {
    bus.with_file_name("pools")
}

type Kept = BTreeMap<String, Vec<(PoolLayout, OwnedFd)>>;

/// Holds the descriptors of all pools of a run, in a thread of its own. Dropping it lets them go.
#[derive(Debug)]
pub struct PoolKeeper {
    kept: Arc<Mutex<Kept>>,
    /// Closing it ends the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl PoolKeeper {
    /// Listens beside the bus of this root.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(root: &Root) -> Result<Self, BusError> {
        let path = socket_path(&root.bus().root);
        let cannot = |error: Errno| BusError::file(&path, &error.desc());
        let listener = packets().map_err(cannot)?;
        let address = UnixAddr::new(&path).map_err(cannot)?;
        bind(listener.as_raw_fd(), &address).map_err(cannot)?;
        listen(&listener, Backlog::MAXCONN).map_err(cannot)?;
        // A worker that had its end would keep the thread alive.
        let (stopped, stop) = pipe2(OFlag::O_CLOEXEC).map_err(cannot)?;
        let kept = Arc::<Mutex<Kept>>::default();
        let shared = Arc::clone(&kept);
        let thread = std::thread::Builder::new()
            .name("pool-keeper".to_owned())
            .spawn(move || serve(&listener, &stopped, &shared))
            .map_err(|error| BusError::file(&path, &error))?;
        Ok(Self {
            kept,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Lets the pools of a stream go: nobody opens it again.
    pub fn forget(&self, stream: &StreamName) {
        lock(&self.kept).remove(&FrameServiceSpec::frames_of(stream));
    }

    /// How many pools are kept.
    #[must_use]
    pub fn pools(&self) -> usize {
        lock(&self.kept).values().map(Vec::len).sum()
    }
}

impl Drop for PoolKeeper {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Leaves a pool with the keeper at `path`.
pub(crate) fn put(path: &Path, topic: &str, pool: &Pool) -> Result<(), BusError> {
    let descriptor = pool.export()?;
    let mut request = Request {
        magic: MAGIC,
        verb: PUT,
        layout: pool.layout(),
        topic: [0; TOPIC_BYTES],
    };
    let name = request.topic.get_mut(..topic.len());
    let name = name.ok_or_else(|| BusError::file(path, &"the name of a service is too long"))?;
    name.copy_from_slice(topic.as_bytes());
    match ask(path, &request, Some(descriptor.as_fd()))? {
        (Answer { status: DONE, .. }, _) => Ok(()),
        (Answer { status, .. }, _) => Err(refused(path, status)),
    }
}

/// Takes a copy of what was left there.
pub(crate) fn take(path: &Path, id: u64) -> Result<(PoolLayout, OwnedFd), BusError> {
    let request = Request {
        magic: MAGIC,
        verb: TAKE,
        layout: PoolLayout {
            id,
            ..PoolLayout::default()
        },
        topic: [0; TOPIC_BYTES],
    };
    match ask(path, &request, None)? {
        (answer, Some(descriptor)) if answer.status == DONE => Ok((answer.layout, descriptor)),
        (
            Answer {
                status: UNKNOWN, ..
            },
            _,
        ) => Err(BusError::Invalid {
            what: "the pool of a frame",
            value: id,
        }),
        (Answer { status, .. }, _) => Err(refused(path, status)),
    }
}

fn refused(path: &Path, status: u64) -> BusError {
    BusError::file(path, &format_args!("its answer is {status}"))
}

fn ask(
    path: &Path,
    request: &Request,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(Answer, Option<OwnedFd>), BusError> {
    let cannot = |error: Errno| BusError::file(path, &error.desc());
    let connection = packets().map_err(cannot)?;
    limit(&connection).map_err(cannot)?;
    let address = UnixAddr::new(path).map_err(cannot)?;
    connect(connection.as_raw_fd(), &address).map_err(cannot)?;
    send(&connection, bytemuck::bytes_of(request), descriptor).map_err(cannot)?;
    let mut answer = Answer::default();
    let (length, received) =
        receive(&connection, bytemuck::bytes_of_mut(&mut answer)).map_err(cannot)?;
    if length != size_of::<Answer>() || answer.magic != MAGIC {
        return Err(refused(path, MALFORMED));
    }
    Ok((answer, received))
}

fn serve(listener: &OwnedFd, stopped: &OwnedFd, kept: &Mutex<Kept>) {
    loop {
        let mut waiting = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "pools are not kept any more");
                return;
            }
        }
        if waiting[1].any() == Some(true) {
            return;
        }
        if waiting[0].any() == Some(true)
            && let Ok(connection) = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)
        {
            // SAFETY: the system has made it for us.
            let connection = unsafe { OwnedFd::from_raw_fd(connection) };
            if let Err(error) = answer(&connection, kept) {
                tracing::debug!(%error, "somebody asked for a pool and went away");
            }
        }
    }
}

fn answer(connection: &OwnedFd, kept: &Mutex<Kept>) -> Result<(), Errno> {
    limit(connection)?;
    let mut request = <Request as bytemuck::Zeroable>::zeroed();
    let (length, received) = receive(connection, bytemuck::bytes_of_mut(&mut request))?;
    let mut answer = Answer {
        magic: MAGIC,
        status: MALFORMED,
        layout: PoolLayout::default(),
    };
    let is_whole = length == size_of::<Request>() && request.magic == MAGIC;
    let mut given = None;
    match (is_whole, request.verb, received, topic(&request)) {
        (true, PUT, Some(descriptor), Some(topic)) => {
            let mut kept = lock(kept);
            let pools = kept.entry(topic.to_owned()).or_default();
            if pools.len() == POOLS_OF_A_SERVICE {
                pools.remove(0);
            }
            pools.push((request.layout, descriptor));
            answer.status = DONE;
        }
        (true, TAKE, ..) => {
            let kept = lock(kept);
            let mut pools = kept.values().flatten();
            answer.status = UNKNOWN;
            if let Some((layout, descriptor)) =
                pools.find(|(layout, _)| layout.id == request.layout.id)
            {
                given = descriptor.try_clone().ok();
                answer.layout = *layout;
                answer.status = if given.is_some() { DONE } else { UNKNOWN };
            }
        }
        _ => {}
    }
    send(
        connection,
        bytemuck::bytes_of(&answer),
        given.as_ref().map(OwnedFd::as_fd),
    )
}

fn topic(request: &Request) -> Option<&str> {
    let end = request.topic.iter().position(|byte| *byte == 0);
    let name = &request.topic[..end.unwrap_or(TOPIC_BYTES)];
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty())
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn packets() -> Result<OwnedFd, Errno> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// Nobody waits for the other for long.
fn limit(connection: &OwnedFd) -> Result<(), Errno> {
    let most = TimeVal::seconds(ANSWER_MAX_SECONDS);
    setsockopt(connection, sockopt::ReceiveTimeout, &most)?;
    setsockopt(connection, sockopt::SendTimeout, &most)
}

fn send(
    connection: &OwnedFd,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let descriptors: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() {
        &[][..]
    } else {
        &rights[..]
    };
    let parts = [IoSlice::new(bytes)];
    sendmsg::<UnixAddr>(
        connection.as_raw_fd(),
        &parts,
        rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// One packet, and the descriptor that came with it.
fn receive(connection: &OwnedFd, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<UnixAddr>(
        connection.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut received = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for descriptor in descriptors {
                // SAFETY: it came with this message and is nobody else's.
                received = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok((message.bytes, received))
}
