//! Access units as MPEG-TS (ISO/IEC 13818-1): one program of one H.264 stream. Pure.
//!
//! What is sent of an access unit is the same for all, so it is made once, by the
//! first who needs it, and kept with it ([`AccessUnit::transport_stream`]). Only two
//! things differ from one receiver to the next, as not all of them get the same access
//! units: the continuity counters and the mark of a discontinuity. [`Numbering`] puts
//! them in.
//!
//! Nothing is buffered: an access unit is one PES packet, which says how long it is,
//! so that players need not wait for the next to know. Before a key frame stand the
//! tables, so a receiver may begin there.

use bytes::Bytes;

use crate::channel::AccessUnit;

/// Bytes of a packet.
pub(crate) const PACKET_BYTES: usize = 188;

const SYNC: u8 = 0x47;

/// Where the program table, the program and its video are.
const PID_PAT: u16 = 0;
const PID_PMT: u16 = 0x1000;
const PID_VIDEO: u16 = 0x100;

const PROGRAM: u16 = 1;
const STREAM_TYPE_H264: u8 = 0x1b;
const STREAM_ID_VIDEO: u8 = 0xe0;

/// From the clock reference of an access unit to when it is to be shown: 20 ms, in which it is
/// decoded.
const DECODING_TICKS: u64 = 90 * 20;

/// An access unit delimiter (H.264, 7.3.2.4), with which each access unit in MPEG-TS begins.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];

/// Bytes of the header of a PES packet with PTS.
const PES_HEADER_BYTES: usize = 14;

/// Bytes of an adaptation field with a clock reference, its length included.
const CLOCK_BYTES: usize = 8;

const PAYLOAD_BYTES_MAX: usize = PACKET_BYTES - 4;

impl AccessUnit {
    /// Whole packets, all continuity counters zero. Made once, whoever asks first.
    pub(crate) fn transport_stream(&self) -> &Bytes {
        self.transport_stream.get_or_init(|| multiplex(self))
    }
}

/// What differs between those who get the same packets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbering {
    pat: u8,
    pmt: u8,
    video: u8,
    /// Sequence number and PTS of the last access unit.
    last: Option<(u64, u64)>,
}

/// PTS may go on so much later than the last; further on, or back, is a new time base.
const PTS_STEP_MAX_NS: u64 = 5_000_000_000;

impl Numbering {
    /// Begins an access unit; whether it does not continue the one before.
    pub(crate) fn begin(&mut self, unit: &AccessUnit) -> bool {
        let now = (unit.sequence_number, unit.pts_ns);
        let last = self.last.replace(now);
        last.is_some_and(|(sequence_number, pts_ns)| {
            let step = unit.pts_ns.wrapping_sub(pts_ns);
            unit.sequence_number != sequence_number + 1 || step > PTS_STEP_MAX_NS
        })
    }

    /// Numbers packets of the access unit that was begun; `discontinuous`: these are its first.
    pub(crate) fn number(&mut self, packets: &mut [u8], mut discontinuous: bool) {
        for packet in packets.chunks_exact_mut(PACKET_BYTES) {
            let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let counter = match pid {
                PID_PAT => &mut self.pat,
                PID_PMT => &mut self.pmt,
                _ => &mut self.video,
            };
            packet[3] = (packet[3] & 0xf0) | *counter;
            *counter = (*counter + 1) & 0x0f;
            // The first packet of each access unit has an adaptation field.
            if discontinuous && pid == PID_VIDEO {
                packet[5] |= 0x80;
                discontinuous = false;
            }
        }
    }
}

fn multiplex(unit: &AccessUnit) -> Bytes {
    let delimiter: &[u8] = if has_delimiter(&unit.data) {
        &[]
    } else {
        &DELIMITER
    };
    let elementary = delimiter.len() + unit.data.len();
    let header = pes_header(ticks(unit.pts_ns) + DECODING_TICKS, elementary);
    let whole = PES_HEADER_BYTES + elementary + CLOCK_BYTES;
    let mut packets = Vec::with_capacity((whole.div_ceil(PAYLOAD_BYTES_MAX) + 2) * PACKET_BYTES);
    if unit.keyframe {
        packets.extend_from_slice(&PAT);
        packets.extend_from_slice(&PMT);
    }
    let mut payload = Parts([&header, delimiter, &unit.data]);
    let mut first = true;
    while !payload.is_empty() {
        let mut field = [0xff; PAYLOAD_BYTES_MAX];
        let mut field_bytes = 0;
        if first {
            field_bytes = CLOCK_BYTES;
            // Random access, clock reference.
            field[1] = if unit.keyframe { 0x50 } else { 0x10 };
            field[2..CLOCK_BYTES].copy_from_slice(&clock_reference(ticks(unit.pts_ns)));
        }
        // The last packet is filled up in front.
        let room = PAYLOAD_BYTES_MAX - field_bytes;
        let stuffing = room.saturating_sub(payload.len());
        if stuffing > 0 {
            if field_bytes == 0 && stuffing > 1 {
                field[1] = 0;
            }
            field_bytes += stuffing;
        }
        if let Some(length) = field_bytes.checked_sub(1) {
            field[0] = length as u8;
        }
        let [high, low] = PID_VIDEO.to_be_bytes();
        packets.extend_from_slice(&[
            SYNC,
            // A PES packet begins.
            if first { 0x40 | high } else { high },
            low,
            if field_bytes > 0 { 0x30 } else { 0x10 },
        ]);
        packets.extend_from_slice(&field[..field_bytes]);
        payload.take(PAYLOAD_BYTES_MAX - field_bytes, &mut packets);
        first = false;
    }
    Bytes::from(packets)
}

/// Bytes that follow each other, in several places.
struct Parts<'a>([&'a [u8]; 3]);

impl Parts<'_> {
    fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves `count` bytes, which are there.
    fn take(&mut self, mut count: usize, target: &mut Vec<u8>) {
        for part in &mut self.0 {
            let (now, later) = part.split_at(count.min(part.len()));
            target.extend_from_slice(now);
            count -= now.len();
            *part = later;
        }
    }
}

/// Nanoseconds on the clock of 90 kHz.
fn ticks(ns: u64) -> u64 {
    u64::try_from(u128::from(ns) * 9 / 100_000).unwrap_or(0)
}

/// The header of a PES packet of `elementary` bytes.
fn pes_header(pts: u64, elementary: usize) -> [u8; PES_HEADER_BYTES] {
    // The bytes behind this field. Video that does not fit says 0: until the next begins.
    let length = u16::try_from(PES_HEADER_BYTES - 6 + elementary).unwrap_or(0);
    let [length_high, length_low] = length.to_be_bytes();
    // 33 bits in three groups, behind each of them a one.
    let high = (pts >> 30 & 0x7) as u8;
    let [.., m1, m2] = (pts >> 14 & 0xfffe | 1).to_be_bytes();
    let [.., l1, l2] = (pts << 1 & 0xfffe | 1).to_be_bytes();
    [
        0,
        0,
        1,
        STREAM_ID_VIDEO,
        length_high,
        length_low,
        // The payload begins with an access unit.
        0x84,
        // There is a PTS, of five bytes.
        0x80,
        5,
        0x21 | high << 1,
        m1,
        m2,
        l1,
        l2,
    ]
}

/// A clock reference: 33 bits at 90 kHz, six reserved ones, nine bits at 27 MHz.
fn clock_reference(ticks: u64) -> [u8; 6] {
    let base = ticks & ((1 << 33) - 1);
    let [_, _, bytes @ ..] = (base << 15 | 0x7e00).to_be_bytes();
    bytes
}

/// Whether a byte stream begins with an access unit delimiter.
fn has_delimiter(data: &[u8]) -> bool {
    matches!(data, [0, 0, 0, 1, header, ..] | [0, 0, 1, header, ..] if header & 0x1f == 9)
}

/// The table of programs: one.
const PAT: [u8; PACKET_BYTES] = {
    let ([p1, p2], [m1, m2]) = (PROGRAM.to_be_bytes(), PID_PMT.to_be_bytes());
    table(
        PID_PAT,
        // Table 0 of 13 bytes behind this, transport stream 1, version 0, section 0 of 0.
        [0, 0xb0, 13, 0, 1, 0xc1, 0, 0, p1, p2, 0xe0 | m1, m2],
    )
};

/// The program: one stream, which has the clock too.
const PMT: [u8; PACKET_BYTES] = {
    let ([p1, p2], [v1, v2]) = (PROGRAM.to_be_bytes(), PID_VIDEO.to_be_bytes());
    table(
        PID_PMT,
        [
            2,
            0xb0,
            18,
            p1,
            p2,
            0xc1,
            0,
            0,
            0xe0 | v1,
            v2,
            0xf0,
            0,
            STREAM_TYPE_H264,
            0xe0 | v1,
            v2,
            0xf0,
            0,
        ],
    )
};

/// A packet with one section, and its check sum.
const fn table<const N: usize>(pid: u16, section: [u8; N]) -> [u8; PACKET_BYTES] {
    let mut packet = [0xff; PACKET_BYTES];
    let [high, low] = pid.to_be_bytes();
    (packet[0], packet[1], packet[2]) = (SYNC, 0x40 | high, low);
    // Payload only, and no byte before the section.
    (packet[3], packet[4]) = (0x10, 0);
    let mut index = 0;
    while index < N {
        packet[5 + index] = section[index];
        index += 1;
    }
    let sum = crc32(&section).to_be_bytes();
    let mut index = 0;
    while index < sum.len() {
        packet[5 + N + index] = sum[index];
        index += 1;
    }
    packet
}

/// The check sum of ISO/IEC 13818-1, annex A.
const fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    let mut index = 0;
    while index < bytes.len() {
        sum ^= (bytes[index] as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 };
            bit += 1;
        }
        index += 1;
    }
    sum
}

#[cfg(test)]
mod tests;
