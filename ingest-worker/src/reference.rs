//! When a picture was captured, where that was long before it came: it travels with the buffer.

use std::sync::LazyLock;

use gstreamer as gst;

/// Names the clock: the machine's monotonic one.
static MONOTONIC: LazyLock<gst::Caps> =
    LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-sluice-captured"));

/// Says when the picture of a buffer was captured.
pub(crate) fn set_captured(buffer: &mut gst::BufferRef, captured_ns: u64) {
    let captured = gst::ClockTime::from_nseconds(captured_ns);
    gst::ReferenceTimestampMeta::add(buffer, &MONOTONIC, captured, gst::ClockTime::NONE);
}

/// When the picture of a buffer was captured; `None` where it is of now.
pub(crate) fn captured_ns(buffer: &gst::BufferRef) -> Option<u64> {
    let mut metas = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let own = metas.find(|meta| meta.reference() == MONOTONIC.as_ref())?;
    Some(own.timestamp().nseconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_says_when_it_was_captured() {
        gst::init().expect("GStreamer");
        let mut buffer = gst::Buffer::new();
        assert_eq!(captured_ns(&buffer), None);
        set_captured(buffer.make_mut(), 7_000_000_001);
        assert_eq!(captured_ns(&buffer), Some(7_000_000_001));
    }
}
