//! The part of `srt/srt.h` (libsrt 1.5) that is used, by hand: `tests/header.rs` holds every
//! constant, size and offset against the header of the machine.

#![expect(unsafe_code, reason = "it is the interface of a C library")]

use std::ffi::{c_char, c_int, c_void};

use nix::libc::{size_t, sockaddr};

/// `SRTSOCKET`.
pub type Socket = i32;

/// `SRT_ERROR`, and `SRT_INVALID_SOCK`.
pub const ERROR: c_int = -1;

/// Defines constants, and a table of them for the test that reads the header.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident = $value:literal $c:literal;)*) => {
        $($(#[$doc])* pub const $name: c_int = $value;)*

        /// Each with its name in the header.
        pub const CONSTANTS: &[(&str, c_int)] = &[$(($c, $name)),*];
    };
}

constants! {
    /// Sending blocks.
    OPTION_SNDSYN = 1 "SRTO_SNDSYN";
    /// Receiving and connecting block.
    OPTION_RCVSYN = 2 "SRTO_RCVSYN";
    /// Bytes of the send buffer, from which its packets are worked out.
    OPTION_SNDBUF = 5 "SRTO_SNDBUF";
    /// Bytes of the receive buffer, in the same way.
    OPTION_RCVBUF = 6 "SRTO_RCVBUF";
    /// How long what is not sent yet is sent after a close.
    OPTION_LINGER = 7 "SRTO_LINGER";
    /// Sockets of this process may share a port.
    OPTION_REUSEADDR = 15 "SRTO_REUSEADDR";
    /// The passphrase.
    OPTION_PASSPHRASE = 26 "SRTO_PASSPHRASE";
    /// Bytes of the key.
    OPTION_PBKEYLEN = 27 "SRTO_PBKEYLEN";
    /// From when on the sender drops what is late; -1: never.
    OPTION_SNDDROPDELAY = 32 "SRTO_SNDDROPDELAY";
    /// Milliseconds of a call.
    OPTION_CONNTIMEO = 36 "SRTO_CONNTIMEO";
    /// Milliseconds a receiver waits for what is missing.
    OPTION_RCVLATENCY = 43 "SRTO_RCVLATENCY";
    /// The same of the peer, at least.
    OPTION_PEERLATENCY = 44 "SRTO_PEERLATENCY";
    /// The stream id.
    OPTION_STREAMID = 46 "SRTO_STREAMID";
    /// Most bytes of a message.
    OPTION_PAYLOADSIZE = 49 "SRTO_PAYLOADSIZE";
    /// Live or file.
    OPTION_TRANSTYPE = 50 "SRTO_TRANSTYPE";
    /// An address of IPv6 does not stand for one of IPv4 too.
    OPTION_IPV6ONLY = 54 "SRTO_IPV6ONLY";
    /// Milliseconds of silence after which a peer is gone.
    OPTION_PEERIDLETIMEO = 55 "SRTO_PEERIDLETIMEO";
    /// The library cannot go on.
    LOG_CRITICAL = 2 "LOG_CRIT";
    /// Live mode.
    TRANSTYPE_LIVE = 0 "SRTT_LIVE";
    /// Something can be received, or accepted.
    EPOLL_IN = 0x1 "SRT_EPOLL_IN";
    /// There is room to send, or a call is through.
    EPOLL_OUT = 0x4 "SRT_EPOLL_OUT";
    /// The socket is broken.
    EPOLL_ERR = 0x8 "SRT_EPOLL_ERR";
    /// Only changes are reported.
    EPOLL_ET = -0x8000_0000 "(int)SRT_EPOLL_ET";
    /// An epoll without sockets is fine.
    EPOLL_ENABLE_EMPTY = 1 "SRT_EPOLL_ENABLE_EMPTY";
    /// There is no such epoll (any more).
    E_INVPOLLID = 5013 "SRT_EINVPOLLID";
    /// The port is another socket's.
    E_BINDCONFLICT = 5015 "SRT_EBINDCONFLICT";
    /// It would block.
    E_ASYNCFAIL = 6000 "SRT_EASYNCFAIL";
    /// There is no room to send.
    E_ASYNCSND = 6001 "SRT_EASYNCSND";
    /// There is nothing to receive.
    E_ASYNCRCV = 6002 "SRT_EASYNCRCV";
    /// The first code beyond those of the class "try again".
    E_PEERERR = 7000 "SRT_EPEERERR";
    /// The passphrase is wrong.
    REJ_BADSECRET = 10 "SRT_REJ_BADSECRET";
    /// One side has a passphrase and the other has none.
    REJ_UNSECURE = 11 "SRT_REJ_UNSECURE";
    /// Nobody has answered.
    REJ_TIMEOUT = 16 "SRT_REJ_TIMEOUT";
    /// Codes of applications begin here.
    REJC_PREDEFINED = 1000 "SRT_REJC_PREDEFINED";
    /// The request is wrong.
    REJX_BAD_REQUEST = 1400 "SRT_REJX_BAD_REQUEST";
    /// Too many are served.
    REJX_OVERLOAD = 1402 "SRT_REJX_OVERLOAD";
    /// It may not.
    REJX_FORBIDDEN = 1403 "SRT_REJX_FORBIDDEN";
    /// There is nothing of that name.
    REJX_NOTFOUND = 1404 "SRT_REJX_NOTFOUND";
    /// It cannot be done with what is named.
    REJX_BAD_MODE = 1405 "SRT_REJX_BAD_MODE";
    /// Somebody else does it already.
    REJX_CONFLICT = 1409 "SRT_REJX_CONFLICT";
    /// The listener itself has failed.
    REJX_ISE = 1500 "SRT_REJX_ISE";
}

/// `SRT_EPOLL_EVENT`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Event {
    /// Of which socket.
    pub socket: Socket,
    /// What.
    pub events: c_int,
}

/// `struct linger`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Linger {
    /// 0 or 1.
    pub on: c_int,
    /// How long.
    pub seconds: c_int,
}

/// `SRT_TRACEBSTATS`, field by field.
#[expect(missing_docs, reason = "srt.h says what each is")]
#[expect(non_snake_case, reason = "the names of srt.h")]
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceStats {
    pub msTimeStamp: i64,
    pub pktSentTotal: i64,
    pub pktRecvTotal: i64,
    pub pktSndLossTotal: c_int,
    pub pktRcvLossTotal: c_int,
    pub pktRetransTotal: c_int,
    pub pktSentACKTotal: c_int,
    pub pktRecvACKTotal: c_int,
    pub pktSentNAKTotal: c_int,
    pub pktRecvNAKTotal: c_int,
    pub usSndDurationTotal: i64,
    pub pktSndDropTotal: c_int,
    pub pktRcvDropTotal: c_int,
    pub pktRcvUndecryptTotal: c_int,
    pub byteSentTotal: u64,
    pub byteRecvTotal: u64,
    pub byteRcvLossTotal: u64,
    pub byteRetransTotal: u64,
    pub byteSndDropTotal: u64,
    pub byteRcvDropTotal: u64,
    pub byteRcvUndecryptTotal: u64,
    pub pktSent: i64,
    pub pktRecv: i64,
    pub pktSndLoss: c_int,
    pub pktRcvLoss: c_int,
    pub pktRetrans: c_int,
    pub pktRcvRetrans: c_int,
    pub pktSentACK: c_int,
    pub pktRecvACK: c_int,
    pub pktSentNAK: c_int,
    pub pktRecvNAK: c_int,
    pub mbpsSendRate: f64,
    pub mbpsRecvRate: f64,
    pub usSndDuration: i64,
    pub pktReorderDistance: c_int,
    pub pktRcvAvgBelatedTime: f64,
    pub pktRcvBelated: i64,
    pub pktSndDrop: c_int,
    pub pktRcvDrop: c_int,
    pub pktRcvUndecrypt: c_int,
    pub byteSent: u64,
    pub byteRecv: u64,
    pub byteRcvLoss: u64,
    pub byteRetrans: u64,
    pub byteSndDrop: u64,
    pub byteRcvDrop: u64,
    pub byteRcvUndecrypt: u64,
    pub usPktSndPeriod: f64,
    pub pktFlowWindow: c_int,
    pub pktCongestionWindow: c_int,
    pub pktFlightSize: c_int,
    pub msRTT: f64,
    pub mbpsBandwidth: f64,
    pub byteAvailSndBuf: c_int,
    pub byteAvailRcvBuf: c_int,
    pub mbpsMaxBW: f64,
    pub byteMSS: c_int,
    pub pktSndBuf: c_int,
    pub byteSndBuf: c_int,
    pub msSndBuf: c_int,
    pub msSndTsbPdDelay: c_int,
    pub pktRcvBuf: c_int,
    pub byteRcvBuf: c_int,
    pub msRcvBuf: c_int,
    pub msRcvTsbPdDelay: c_int,
    pub pktSndFilterExtraTotal: c_int,
    pub pktRcvFilterExtraTotal: c_int,
    pub pktRcvFilterSupplyTotal: c_int,
    pub pktRcvFilterLossTotal: c_int,
    pub pktSndFilterExtra: c_int,
    pub pktRcvFilterExtra: c_int,
    pub pktRcvFilterSupply: c_int,
    pub pktRcvFilterLoss: c_int,
    pub pktReorderTolerance: c_int,
    pub pktSentUniqueTotal: i64,
    pub pktRecvUniqueTotal: i64,
    pub byteSentUniqueTotal: u64,
    pub byteRecvUniqueTotal: u64,
    pub pktSentUnique: i64,
    pub pktRecvUnique: i64,
    pub byteSentUnique: u64,
    pub byteRecvUnique: u64,
}

/// `srt_listen_callback_fn`: what it is given lives as long as the call.
pub type ListenCallback = unsafe extern "C" fn(
    opaque: *mut c_void,
    socket: Socket,
    handshake_version: c_int,
    peer: *const sockaddr,
    stream_id: *const c_char,
) -> c_int;

// The library itself is named by the build script.
unsafe extern "C" {
    /// Prepares the library, once a process.
    pub fn srt_startup() -> c_int;
    /// What is less important is not logged.
    pub fn srt_setloglevel(level: c_int);
    /// A new socket.
    pub fn srt_create_socket() -> Socket;
    /// Gives it an address.
    pub fn srt_bind(socket: Socket, name: *const sockaddr, length: c_int) -> c_int;
    /// Makes it a listener.
    pub fn srt_listen(socket: Socket, backlog: c_int) -> c_int;
    /// The next who was let in.
    pub fn srt_accept(socket: Socket, address: *mut sockaddr, length: *mut c_int) -> Socket;
    /// Has `hook` asked about each who calls.
    pub fn srt_listen_callback(
        socket: Socket,
        hook: Option<ListenCallback>,
        opaque: *mut c_void,
    ) -> c_int;
    /// Calls somebody.
    pub fn srt_connect(socket: Socket, name: *const sockaddr, length: c_int) -> c_int;
    /// Ends it.
    pub fn srt_close(socket: Socket) -> c_int;
    /// Where the peer is.
    pub fn srt_getpeername(socket: Socket, name: *mut sockaddr, length: *mut c_int) -> c_int;
    /// Where it is itself.
    pub fn srt_getsockname(socket: Socket, name: *mut sockaddr, length: *mut c_int) -> c_int;
    /// Reads an option.
    pub fn srt_getsockflag(
        socket: Socket,
        option: c_int,
        value: *mut c_void,
        length: *mut c_int,
    ) -> c_int;
    /// Sets an option.
    pub fn srt_setsockflag(
        socket: Socket,
        option: c_int,
        value: *const c_void,
        length: c_int,
    ) -> c_int;
    /// Sends a message.
    pub fn srt_send(socket: Socket, buffer: *const c_char, length: c_int) -> c_int;
    /// Receives a message.
    pub fn srt_recv(socket: Socket, buffer: *mut c_char, length: c_int) -> c_int;
    /// What the last call on this thread failed with.
    pub fn srt_getlasterror(errno: *mut c_int) -> c_int;
    /// A code in words.
    pub fn srt_strerror(code: c_int, errno: c_int) -> *const c_char;
    /// Statistics; `clear`: of the time since the last call.
    pub fn srt_bistats(
        socket: Socket,
        statistics: *mut TraceStats,
        clear: c_int,
        instantaneous: c_int,
    ) -> c_int;
    /// What is in the send buffer; returns its milliseconds.
    pub fn srt_getsndbuffer(socket: Socket, blocks: *mut size_t, bytes: *mut size_t) -> c_int;
    /// Why a call was rejected.
    pub fn srt_getrejectreason(socket: Socket) -> c_int;
    /// What a caller is told who is rejected.
    pub fn srt_setrejectreason(socket: Socket, value: c_int) -> c_int;
    /// The same in words.
    pub fn srt_rejectreason_str(code: c_int) -> *const c_char;
    /// A new epoll.
    pub fn srt_epoll_create() -> c_int;
    /// Its flags.
    pub fn srt_epoll_set(epoll: c_int, flags: i32) -> i32;
    /// Watches a socket.
    pub fn srt_epoll_add_usock(epoll: c_int, socket: Socket, events: *const c_int) -> c_int;
    /// Watches it no more.
    pub fn srt_epoll_remove_usock(epoll: c_int, socket: Socket) -> c_int;
    /// Waits.
    pub fn srt_epoll_uwait(
        epoll: c_int,
        events: *mut Event,
        length: c_int,
        timeout_ms: i64,
    ) -> c_int;
    /// Ends it, and a wait for it.
    pub fn srt_epoll_release(epoll: c_int) -> c_int;
    /// Version of the library, `0x010501`.
    pub fn srt_getversion() -> u32;
}
