//! Made-up recordings: ten frames a second, a key frame a second.

use std::path::Path;

use contract::control::{FileContent, FileKind, FileRecord, FileState};
use fmp4::{AccessUnit, ParameterSets};

use crate::store::Recording;

/// Parameter sets of x264 for 320x240; the byte of constraints tells two of them apart.
const SEQUENCE: &[u8] = &[
    0x67, 0x42, 0xc0, 0x0b, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00,
    0x00, 0x05, 0x23, 0xc5, 0x0a, 0xa8,
];
const PICTURE: &[u8] = &[0x68, 0xce, 0x0f, 0xc8];
/// Ticks of a frame.
pub(super) const FRAME: u64 = 9000;

fn unit(number: u64, constraints: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    if number.is_multiple_of(10) {
        let mut sequence = SEQUENCE.to_vec();
        sequence[2] = constraints;
        for unit in [&sequence, PICTURE] {
            bytes.extend_from_slice(&[0, 0, 0, 1]);
            bytes.extend_from_slice(unit);
        }
    }
    let kind = if number.is_multiple_of(10) {
        0x65
    } else {
        0x41
    };
    let content = u8::try_from(number % 200 + 10).expect("small");
    bytes.extend_from_slice(&[0, 0, 1, kind, content, 0xff]);
    bytes
}

/// A file of the frames `numbers` of a stream, at 0.1 s each; the wall clock is 1000 s later.
pub(super) fn recording(
    directory: &Path,
    numbers: std::ops::Range<u64>,
    constraints: u8,
) -> Recording {
    let name = format!("yard-{}-01.mp4", 1000 + numbers.start);
    let first = unit(numbers.start, constraints);
    let parameters = ParameterSets::of(&first)
        .expect("readable")
        .expect("a key frame");
    let mut bytes = fmp4::init_segment(&parameters);
    let numbers: Vec<u64> = numbers.collect();
    for (index, group) in numbers
        .chunk_by(|_, next| !next.is_multiple_of(10))
        .enumerate()
    {
        let streams: Vec<_> = group
            .iter()
            .map(|number| unit(*number, constraints))
            .collect();
        let time = |number: u64| (number - numbers[0]) * FRAME;
        let units: Vec<_> = group
            .iter()
            .zip(&streams)
            .map(|(number, byte_stream)| AccessUnit {
                byte_stream,
                dts: time(*number),
                pts: time(*number),
                keyframe: number.is_multiple_of(10),
            })
            .collect();
        let wall_ms = 1_000_000 + i64::try_from(group[0] * 100).expect("small");
        bytes.extend(fmp4::reference_time(wall_ms, time(group[0])));
        let end = time(group[group.len() - 1] + 1);
        let number = u32::try_from(index + 1).expect("few");
        bytes.extend(fmp4::fragment(number, &units, end).expect("in order"));
    }
    std::fs::write(directory.join(&name), bytes).expect("written");
    let first = numbers[0];
    Recording {
        run: "yard-1".to_owned(),
        run_name: "yard".to_owned(),
        run_directory: directory.to_owned(),
        incarnation: 0,
        record: FileRecord {
            stream: "yard".parse().expect("a name"),
            kind: FileKind::Recording,
            path: name,
            state: FileState::Closed,
            begin_wall_ms: 1_000_000 + i64::try_from(first * 100).expect("small"),
            begin_pts_ns: first * 100_000_000,
            content: FileContent::default(),
        },
    }
}
