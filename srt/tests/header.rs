//! The hand-written declarations against the header of the machine, by the C compiler.

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

use srt::sys;

macro_rules! offsets {
    ($($field:ident)*) => {
        [$((stringify!($field), offset_of!(sys::TraceStats, $field))),*]
    };
}

#[test]
fn constants_sizes_and_offsets_are_those_of_the_header() {
    let offsets = offsets! {
        msTimeStamp pktSentTotal pktRecvTotal pktSndLossTotal pktRcvLossTotal pktRetransTotal
        pktSentACKTotal pktRecvACKTotal pktSentNAKTotal pktRecvNAKTotal usSndDurationTotal
        pktSndDropTotal pktRcvDropTotal pktRcvUndecryptTotal byteSentTotal byteRecvTotal
        byteRcvLossTotal byteRetransTotal byteSndDropTotal byteRcvDropTotal byteRcvUndecryptTotal
        pktSent pktRecv pktSndLoss pktRcvLoss pktRetrans pktRcvRetrans pktSentACK pktRecvACK
        pktSentNAK pktRecvNAK mbpsSendRate mbpsRecvRate usSndDuration pktReorderDistance
        pktRcvAvgBelatedTime pktRcvBelated pktSndDrop pktRcvDrop pktRcvUndecrypt byteSent byteRecv
        byteRcvLoss byteRetrans byteSndDrop byteRcvDrop byteRcvUndecrypt usPktSndPeriod
        pktFlowWindow pktCongestionWindow pktFlightSize msRTT mbpsBandwidth byteAvailSndBuf
        byteAvailRcvBuf mbpsMaxBW byteMSS pktSndBuf byteSndBuf msSndBuf msSndTsbPdDelay pktRcvBuf
        byteRcvBuf msRcvBuf msRcvTsbPdDelay pktSndFilterExtraTotal pktRcvFilterExtraTotal
        pktRcvFilterSupplyTotal pktRcvFilterLossTotal pktSndFilterExtra pktRcvFilterExtra
        pktRcvFilterSupply pktRcvFilterLoss pktReorderTolerance pktSentUniqueTotal
        pktRecvUniqueTotal byteSentUniqueTotal byteRecvUniqueTotal pktSentUnique pktRecvUnique
        byteSentUnique byteRecvUnique
    };
    let mut checks: Vec<(String, i64)> = vec![
        ("sizeof(SRTSOCKET)".to_owned(), bytes::<sys::Socket>()),
        ("sizeof(SRT_EPOLL_EVENT)".to_owned(), bytes::<sys::Event>()),
        ("sizeof(struct linger)".to_owned(), bytes::<sys::Linger>()),
        (
            "sizeof(SRT_TRACEBSTATS)".to_owned(),
            bytes::<sys::TraceStats>(),
        ),
        (
            "SRT_LIVE_DEF_PLSIZE".to_owned(),
            number(srt::MESSAGE_BYTES_MAX),
        ),
    ];
    for (name, value) in sys::CONSTANTS {
        checks.push(((*name).to_owned(), i64::from(*value)));
    }
    for (name, offset) in offsets {
        checks.push((format!("offsetof(SRT_TRACEBSTATS, {name})"), number(offset)));
    }

    let mut program = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include <sys/socket.h>\n#include <syslog.h>\n\
         #include <srt/srt.h>\n#include <srt/access_control.h>\nint main(void) {\n",
    );
    for (text, _) in &checks {
        writeln!(program, "printf(\"%lld\\n\", (long long)({text}));").expect("a string");
    }
    // The signatures: a compiler refuses a pointer of another type.
    program.push_str(SIGNATURES);
    program.push_str("return 0; }\n");

    let directory = tempfile::tempdir().expect("a temporary directory");
    let (source, binary) = (directory.path().join("a.c"), directory.path().join("a"));
    std::fs::write(&source, program).expect("written");
    let mut compiler = run("cc");
    compiler.args([
        "-Werror=incompatible-pointer-types",
        "-Wno-deprecated-declarations",
        "-o",
    ]);
    let compiled = compiler
        .arg(&binary)
        .arg(&source)
        .args(["-lsrt-gnutls"])
        .output();
    let compiled = compiled.expect("a C compiler");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    let printed = run(&binary).output().expect("it runs").stdout;
    let printed = String::from_utf8(printed).expect("numbers");
    let found: Vec<i64> = printed
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert_eq!(found.len(), checks.len());
    for ((text, ours), theirs) in checks.iter().zip(found) {
        assert_eq!(*ours, theirs, "{text}");
    }
}

const SIGNATURES: &str = "
void (*level)(int) = srt_setloglevel; (void)level;
int32_t (*create)(void) = srt_create_socket; (void)create;
int (*bind_)(int32_t, const struct sockaddr*, int) = srt_bind; (void)bind_;
int (*listen_)(int32_t, int) = srt_listen; (void)listen_;
int32_t (*accept_)(int32_t, struct sockaddr*, int*) = srt_accept; (void)accept_;
int (*hook)(int32_t, int (*)(void*, int32_t, int, const struct sockaddr*, const char*), void*) = srt_listen_callback; (void)hook;
int (*connect_)(int32_t, const struct sockaddr*, int) = srt_connect; (void)connect_;
int (*close_)(int32_t) = srt_close; (void)close_;
int (*peer)(int32_t, struct sockaddr*, int*) = srt_getpeername; (void)peer;
int (*name)(int32_t, struct sockaddr*, int*) = srt_getsockname; (void)name;
int (*get)(int32_t, SRT_SOCKOPT, void*, int*) = srt_getsockflag; (void)get;
int (*set)(int32_t, SRT_SOCKOPT, const void*, int) = srt_setsockflag; (void)set;
int (*send_)(int32_t, const char*, int) = srt_send; (void)send_;
int (*recv_)(int32_t, char*, int) = srt_recv; (void)recv_;
int (*error)(int*) = srt_getlasterror; (void)error;
const char* (*text)(int, int) = srt_strerror; (void)text;
int (*stats)(int32_t, SRT_TRACEBSTATS*, int, int) = srt_bistats; (void)stats;
int (*buffer)(int32_t, size_t*, size_t*) = srt_getsndbuffer; (void)buffer;
int (*reason)(int32_t) = srt_getrejectreason; (void)reason;
int (*set_reason)(int32_t, int) = srt_setrejectreason; (void)set_reason;
const char* (*reason_text)(int) = srt_rejectreason_str; (void)reason_text;
int (*epoll)(void) = srt_epoll_create; (void)epoll;
int32_t (*flags)(int, int32_t) = srt_epoll_set; (void)flags;
int (*add)(int, int32_t, const int*) = srt_epoll_add_usock; (void)add;
int (*remove_)(int, int32_t) = srt_epoll_remove_usock; (void)remove_;
int (*wait_)(int, SRT_EPOLL_EVENT*, int, int64_t) = srt_epoll_uwait; (void)wait_;
int (*release)(int) = srt_epoll_release; (void)release;
";

fn bytes<T>() -> i64 {
    number(size_of::<T>())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("it is small")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a compiler, and what it made, run and end inside of this test"
)]
fn run(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}
