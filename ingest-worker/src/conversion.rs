//! What stands in front of the sink: pictures brought to the stream's size and to I420, or access
//! units that are not decoded.

use std::sync::Arc;

use contract::geometry::{PixelSize, SIDE_MAX};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use crate::fault::Fault;
use crate::pipeline::{Picture, Plan, Resized, Shared, element, internal, lock};

/// What stands in front of the sink.
#[derive(Debug)]
pub(crate) struct Conversion {
    /// The first element.
    pub(crate) first: gst::Element,
}

impl Conversion {
    /// Adds what the sink of `plan` wants.
    pub(crate) fn add(
        pipeline: &gst::Pipeline,
        sink: &gst_app::AppSink,
        plan: &Plan,
        findings: &Shared,
    ) -> Result<Self, Fault> {
        match &plan.ports.passthrough {
            Some(passthrough) if !passthrough.is_decoded() => {
                Self::add_coded(pipeline, sink, findings)
            }
            _ => Self::add_raw(pipeline, sink, plan, findings),
        }
    }

    fn add_raw(
        pipeline: &gst::Pipeline,
        sink: &gst_app::AppSink,
        plan: &Plan,
        findings: &Shared,
    ) -> Result<Self, Fault> {
        let package = "gstreamer1.0-plugins-base";
        let scale = element("videoscale", package)?;
        // A picture of another shape in mid-stream gets borders, not a distorted scene. Its
        // two-tap filter stays: from 1080p to 640x360 it costs 2.4 ms, the multi-tap 5 ms.
        scale.set_property("add-borders", true);
        let convert = element("videoconvert", package)?;
        let filter = element("capsfilter", "libgstreamer1.0-0")?;
        let chain = [&scale, &convert, &filter, sink.upcast_ref()];
        pipeline
            .add_many(chain)
            .and_then(|()| gst::Element::link_many(chain))
            .map_err(|_| internal("the pipeline cannot be linked"))?;
        let (bound, fixed) = (plan.bound, plan.size);
        watch_caps(
            scale.static_pad("sink"),
            findings,
            move |pad, caps, shared| {
                let mut findings = lock(shared);
                match read_caps(caps, bound, fixed) {
                    Some(Ok(picture)) if findings.picture.is_none() => {
                        filter.set_property("caps", caps_of(picture.size));
                        findings.picture = Some(picture);
                    }
                    Some(Ok(picture)) => {
                        if let Some(known) = &mut findings.picture
                            && known.source_size != picture.source_size
                        {
                            // The stream's size stays.
                            let size = known.size;
                            *known = Picture { size, ..picture };
                            note_first_buffer(pad, Arc::clone(shared));
                        }
                    }
                    Some(Err(fault)) => findings.fault = Some(fault),
                    None => {}
                }
            },
        );
        Ok(Self { first: scale })
    }

    /// Access units go to the sink as the bus wants them.
    fn add_coded(
        pipeline: &gst::Pipeline,
        sink: &gst_app::AppSink,
        findings: &Shared,
    ) -> Result<Self, Fault> {
        let [parser, filter] = add_annex_b(pipeline)?;
        pipeline
            .add(sink)
            .and_then(|()| filter.link(sink))
            .map_err(|_| internal("the pipeline cannot be linked"))?;
        watch_caps(sink.static_pad("sink"), findings, |_, caps, shared| {
            if let Some(picture) = read_coded_caps(caps) {
                lock(shared).picture = Some(picture);
            }
        });
        Ok(Self { first: parser })
    }

    /// Takes the pictures of a decoder, or of a source.
    pub(crate) fn link(&self, pad: &gst::Pad) -> Result<(), Fault> {
        link(pad, &self.first)
    }
}

/// Takes what comes out of `pad` into `element`.
pub(crate) fn link(pad: &gst::Pad, element: &gst::Element) -> Result<(), Fault> {
    let sink = element.static_pad("sink");
    let sink = sink.ok_or_else(|| internal("an element has no sink pad"))?;
    pad.link(&sink)
        .map(|_| ())
        .map_err(|error| internal(&format!("its pictures cannot be taken: {error}")))
}

/// Adds what makes whole access units of a byte stream of any H.264, with parameter sets before
/// each key frame (ITU-T H.264, annex B).
pub(crate) fn add_annex_b(pipeline: &gst::Pipeline) -> Result<[gst::Element; 2], Fault> {
    let parser = element("h264parse", "gstreamer1.0-plugins-bad")?;
    parser.set_property("config-interval", -1);
    let filter = element("capsfilter", "libgstreamer1.0-0")?;
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .build();
    filter.set_property("caps", caps);
    pipeline
        .add_many([&parser, &filter])
        .and_then(|()| parser.link(&filter))
        .map_err(|_| internal("the pipeline cannot be linked"))?;
    Ok([parser, filter])
}

/// Calls `look` with each caps that come to `pad`, before they go on.
fn watch_caps(
    pad: Option<gst::Pad>,
    findings: &Shared,
    look: impl Fn(&gst::Pad, &gst::CapsRef, &Shared) + Send + Sync + 'static,
) {
    let Some(pad) = pad else {
        return;
    };
    let shared = Arc::clone(findings);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view()) {
            look(pad, caps.caps(), &shared);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Finds the first picture after a change of size; conversion keeps its time.
fn note_first_buffer(pad: &gst::Pad, findings: Shared) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let pts = info.buffer().and_then(|buffer| buffer.pts());
        lock(&findings).resized = Some(Resized { pts });
        gst::PadProbeReturn::Remove
    });
}

/// I420 of a size, with square pixels.
pub(crate) fn caps_of(size: PixelSize) -> gst::Caps {
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(side(size.width))
        .height(side(size.height))
        .pixel_aspect_ratio(gst::Fraction::new(1, 1))
        .build()
}

fn read_caps(
    caps: &gst::CapsRef,
    bound: PixelSize,
    fixed: Option<PixelSize>,
) -> Option<Result<Picture, Fault>> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let source_size = PixelSize {
        width: info.width(),
        height: info.height(),
    };
    if source_size.width > SIDE_MAX || source_size.height > SIDE_MAX {
        return Some(Err(Fault::Unusable(format!(
            "pictures of {source_size} are larger than {SIDE_MAX}x{SIDE_MAX}"
        ))));
    }
    let (numerator, denominator) = (info.fps().numer(), info.fps().denom());
    let fps = f64::from(numerator) / f64::from(denominator.max(1));
    let shown = square_pixels(source_size, info.par());
    Some(Ok(Picture {
        source_size,
        size: fixed.unwrap_or_else(|| shown.fit_inside(bound)),
        fps,
    }))
}

/// Of access units: nothing is scaled.
fn read_coded_caps(caps: &gst::CapsRef) -> Option<Picture> {
    let structure = caps.structure(0)?;
    let side = |name| structure.get::<i32>(name).ok()?.try_into().ok();
    let size = PixelSize {
        width: side("width")?,
        height: side("height")?,
    };
    let rate = structure.get::<gst::Fraction>("framerate");
    let fps = rate.map_or(0.0, |rate| {
        f64::from(rate.numer()) / f64::from(rate.denom().max(1))
    });
    Some(Picture {
        source_size: size,
        size,
        fps,
    })
}

/// The size with square pixels that shows as much, made by shrinking one side only.
fn square_pixels(size: PixelSize, aspect: gst::Fraction) -> PixelSize {
    let wide = u32::try_from(aspect.numer()).unwrap_or(1).max(1);
    let high = u32::try_from(aspect.denom()).unwrap_or(1).max(1);
    let scaled = |side: u32, by: u32, to: u32| {
        let scaled = (u64::from(side) * u64::from(by) + u64::from(to) / 2) / u64::from(to);
        u32::try_from(scaled).unwrap_or(side).max(1)
    };
    if wide > high {
        PixelSize {
            width: size.width,
            height: scaled(size.height, high, wide),
        }
    } else {
        PixelSize {
            width: scaled(size.width, wide, high),
            height: size.height,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_square_by_shrinking() {
        let pal = PixelSize {
            width: 720,
            height: 576,
        };
        let shown = |numerator, denominator| {
            let size = square_pixels(pal, gst::Fraction::new(numerator, denominator));
            (size.width, size.height)
        };
        assert_eq!(shown(1, 1), (720, 576));
        assert_eq!(shown(16, 15), (720, 540));
        assert_eq!(shown(8, 9), (640, 576));
    }
}
