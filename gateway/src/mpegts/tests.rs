//! The packets, taken apart again by hand.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn unit(sequence_number: u64, pts_ns: u64, keyframe: bool, data: Vec<u8>) -> Arc<AccessUnit> {
    Arc::new(AccessUnit {
        sequence_number,
        pts_ns,
        captured_ns: 0,
        keyframe,
        data: Bytes::from(data),
        transport_stream: std::sync::OnceLock::new(),
    })
}

/// What a demultiplexer finds in the packets of one access unit.
#[derive(Debug, Default)]
struct Found {
    pids: Vec<u16>,
    counters: Vec<u8>,
    pes: Vec<u8>,
    clock: Option<u64>,
    flags: Option<u8>,
}

fn demultiplex(packets: &[u8]) -> Found {
    let mut found = Found::default();
    assert_eq!(packets.len() % PACKET_BYTES, 0);
    for packet in packets.chunks(PACKET_BYTES) {
        assert_eq!(packet[0], SYNC);
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        found.pids.push(pid);
        found.counters.push(packet[3] & 0x0f);
        if pid != PID_VIDEO {
            continue;
        }
        assert_eq!(packet[1] & 0x40 != 0, found.pes.is_empty());
        let mut payload = &packet[4..];
        assert_eq!(packet[3] & 0x10, 0x10, "each has a payload");
        if packet[3] & 0x20 != 0 {
            let length = usize::from(payload[0]);
            if length > 0 {
                let flags = payload[1];
                if flags & 0x10 != 0 {
                    let base = payload[2..7]
                        .iter()
                        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                    found.clock = Some(base >> 7);
                }
                found.flags.get_or_insert(flags);
            }
            payload = &payload[1 + length..];
        }
        assert!(!payload.is_empty());
        found.pes.extend_from_slice(payload);
    }
    found
}

fn pts(pes: &[u8]) -> u64 {
    let byte = |index: usize| u64::from(pes[index]);
    (byte(9) >> 1 & 7) << 30
        | byte(10) << 22
        | (byte(11) >> 1) << 15
        | byte(12) << 7
        | byte(13) >> 1
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        length in prop_oneof![1..700_usize, 65_000..66_000_usize],
        keyframe: bool,
        pts_ms in 0..200_000_000_u64,
    ) {
        let data: Vec<u8> = [0, 0, 0, 1, 0x65].into_iter().chain((0..length).map(|at| at.to_le_bytes()[0])).collect();
        let unit = unit(0, pts_ms * 1_000_000, keyframe, data.clone());
        let found = demultiplex(unit.transport_stream());
        prop_assert_eq!(&found.pes[..4], &[0, 0, 1, STREAM_ID_VIDEO]);
        let told = usize::from(u16::from_be_bytes([found.pes[4], found.pes[5]]));
        prop_assert!(told == found.pes.len() - 6 || (told == 0 && found.pes.len() > 65_541));
        prop_assert_eq!(&found.pes[14..20], &DELIMITER);
        prop_assert_eq!(&found.pes[20..], &data[..]);
        let clock = pts_ms * 90;
        prop_assert_eq!(found.clock, Some(clock % (1 << 33)));
        prop_assert_eq!(pts(&found.pes), (clock + DECODING_TICKS) % (1 << 33));
        prop_assert_eq!(found.flags, Some(if keyframe { 0x50 } else { 0x10 }));
        let tables: &[u16] = if keyframe { &[PID_PAT, PID_PMT] } else { &[] };
        prop_assert!(found.pids.starts_with(tables));
        prop_assert!(found.pids[tables.len()..].iter().all(|pid| *pid == PID_VIDEO));
    }
}

#[test]
fn an_access_unit_with_a_delimiter_gets_no_other() {
    for start in [&[0, 0, 0, 1][..], &[0, 0, 1]] {
        let data = [start, &[9, 0x10, 0, 0, 1, 0x41, 7]].concat();
        let unit = unit(0, 0, false, data.clone());
        assert_eq!(demultiplex(unit.transport_stream()).pes[14..], data);
    }
}

#[test]
fn the_check_sums_are_right() {
    // Over a section and its check sum it is zero.
    assert_eq!(crc32(&PAT[5..5 + 16]), 0);
    assert_eq!(crc32(&PMT[5..5 + 21]), 0);
    // The value that is published for this algorithm ("CRC-32/MPEG-2").
    assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    for table in [PAT, PMT] {
        let length = usize::from(u16::from_be_bytes([table[6] & 0x0f, table[7]]));
        assert!(table[5 + 3 + length..].iter().all(|byte| *byte == 0xff));
    }
}

#[test]
fn each_receiver_has_counters_without_gaps() {
    let large = vec![7; 700];
    let mut numbering = Numbering::default();
    let mut next = [0_u8; 3];
    for (sequence_number, keyframe, jumps) in [
        (4, true, false),
        (5, false, false),
        (9, true, true),
        (10, false, false),
    ] {
        let unit = unit(
            sequence_number,
            sequence_number * 40_000_000,
            keyframe,
            large.clone(),
        );
        assert_eq!(numbering.begin(&unit), jumps);
        let mut packets = unit.transport_stream().to_vec();
        numbering.number(&mut packets, jumps);
        let found = demultiplex(&packets);
        assert_eq!(found.flags.map(|flags| flags & 0x80 != 0), Some(jumps));
        for (pid, counter) in found.pids.into_iter().zip(found.counters) {
            let next = match pid {
                PID_PAT => &mut next[0],
                PID_PMT => &mut next[1],
                _ => &mut next[2],
            };
            assert_eq!(counter, *next % 16, "{sequence_number} {pid}");
            *next += 1;
        }
    }
    assert_eq!(next[0], 2);
}

#[test]
fn a_new_time_base_is_a_discontinuity() {
    let mut numbering = Numbering::default();
    let mut begin = |number, pts_ns| numbering.begin(&unit(number, pts_ns, true, vec![1]));
    assert!(!begin(7, 3_600_000_000_000));
    assert!(!begin(8, 3_604_000_000_000));
    assert!(begin(9, 0));
    assert!(!begin(10, 40_000_000));
    assert!(begin(11, 9_000_000_000));
}
