//! `GStreamer`'s own log, into ours, without the camera's secrets.
//!
//! It is silent unless `GST_DEBUG` is set.

use contract::spec::SourceSpec;
use gstreamer as gst;

use crate::location::Location;

/// From now on `GStreamer` logs through `tracing`.
pub(crate) fn forward(source: &SourceSpec) {
    let location = Location::of(source).ok().flatten();
    gst::log::remove_default_log_function();
    gst::log::add_log_function(move |category, level, _, _, _, object, message| {
        let text = message.get();
        let text = text.as_deref().map_or("", |text| text.as_str());
        let text = match &location {
            Some(location) => location.scrub(text),
            None => text.to_owned(),
        };
        let object = object.map(ToString::to_string).unwrap_or_default();
        let category = category.name();
        match level {
            gst::DebugLevel::Error => {
                tracing::error!(target: "gstreamer", category, object, "{text}");
            }
            gst::DebugLevel::Warning => {
                tracing::warn!(target: "gstreamer", category, object, "{text}");
            }
            _ => {
                let level = level.name();
                let level = level.as_str();
                tracing::info!(target: "gstreamer", category, object, level, "{text}");
            }
        }
    });
}
