//! Access units for tests.

use super::{Encoded, PictureInfo};
use crate::encode::AccessUnit;

/// So many zeros, said to be an access unit. Event time, and the wall clock in milliseconds,
/// are the encoder's time.
pub(crate) fn encoded(pts_ns: u64, keyframe: bool, bytes: usize) -> Encoded {
    gstreamer::init().expect("GStreamer");
    let buffer = gstreamer::Buffer::with_size(bytes).expect("memory");
    of_buffer(pts_ns, keyframe, buffer)
}

fn of_buffer(pts_ns: u64, keyframe: bool, buffer: gstreamer::Buffer) -> Encoded {
    Encoded {
        unit: AccessUnit {
            buffer,
            pts_ns,
            keyframe,
            rung: 0,
        },
        picture: PictureInfo {
            pts_ns,
            source_pts_ns: pts_ns,
            captured_ns: 0,
            wall_ms: i64::try_from(pts_ns / 1_000_000).expect("small"),
        },
    }
}

/// Parameter sets of x264 for 320x240, of which the second differs from the first in nothing
/// that matters but in its bytes.
const SEQUENCE: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0b, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x05, 0x23, 0xc5, 0x0a, 0xa8,
];
const PICTURE: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];

/// An access unit that goes into a file: a key frame has its parameter sets, with `profile` as
/// the byte of constraints.
pub(crate) fn playable(pts_ns: u64, keyframe: bool, bytes: usize, constraints: u8) -> Encoded {
    gstreamer::init().expect("GStreamer");
    let mut stream = Vec::new();
    if keyframe {
        let mut sequence = SEQUENCE.to_vec();
        sequence[2] = constraints;
        for unit in [&sequence, PICTURE] {
            stream.extend_from_slice(&[0, 0, 0, 1]);
            stream.extend_from_slice(unit);
        }
    }
    stream.extend_from_slice(&[0, 0, 1, if keyframe { 0x65 } else { 0x41 }]);
    stream.resize(stream.len() + bytes, 0xaa);
    of_buffer(pts_ns, keyframe, gstreamer::Buffer::from_slice(stream))
}
