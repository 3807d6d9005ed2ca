//! Why a session broke, in words for people.

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

/// Why a session broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It can never work: not a video, no such file, a codec nobody decodes.
    #[error("{0}")]
    Unusable(String),
    /// The source said no.
    #[error("{0}")]
    Refused(String),
    /// The connection, or the decoder, broke.
    #[error("{0}")]
    Lost(String),
    /// A hardware decoder failed; a software decoder may do.
    #[error("{0}")]
    HardwareDecoder(String),
}

/// Where a fault came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reading a file.
    File,
    /// Talking to a camera.
    Camera,
    /// Making a test picture.
    Pattern,
}

impl Fault {
    /// Reads an error message of a pipeline. `undecodable` are the caps of streams that no
    /// element was found for.
    #[must_use]
    pub fn of_message(message: &gst::message::Error, kind: Kind, undecodable: &[String]) -> Self {
        let source = message
            .src()
            .and_then(|source| source.downcast_ref::<gst::Element>());
        if let Some(element) = source
            && crate::decoder::is_hardware(element)
        {
            return Self::HardwareDecoder(format!(
                "hardware decoder `{}` failed: {}",
                crate::decoder::name_of(element),
                message.error().message()
            ));
        }
        let error = message.error();
        let debug = message.debug().unwrap_or_default();
        Self::of_error(&error, &debug, kind, undecodable)
    }

    fn of_error(error: &glib::Error, debug: &str, kind: Kind, undecodable: &[String]) -> Self {
        if kind == Kind::Camera {
            if let Some(refusal) = refusal(error, debug) {
                return Self::Refused(refusal);
            }
            if let Some(caps) = undecodable.first() {
                return Self::Unusable(no_decoder(caps));
            }
            return Self::Lost(camera_text(error, debug));
        }
        if error.matches(gst::StreamError::TypeNotFound)
            || error.matches(gst::StreamError::WrongType)
        {
            return Self::Unusable(
                "it is not a video: its content is of no known format".to_owned(),
            );
        }
        if let Some(caps) = undecodable.first() {
            return Self::Unusable(no_decoder(caps));
        }
        if error.matches(gst::ResourceError::NotFound) {
            return Self::Unusable("there is no such file".to_owned());
        }
        if error.matches(gst::ResourceError::OpenRead) {
            return Self::Unusable("it cannot be opened: check who may read it".to_owned());
        }
        if error.matches(gst::StreamError::Demux) {
            return Self::Lost(format!(
                "its content is damaged or cut off: {}",
                reason(error, debug)
            ));
        }
        Self::Lost(reason(error, debug))
    }

    /// No stream of the source is a picture.
    #[must_use]
    pub fn no_video(undecodable: &[String]) -> Self {
        Self::Unusable(match undecodable.first() {
            Some(caps) => no_decoder(caps),
            None => "it has no video stream".to_owned(),
        })
    }
}

/// The RTSP status, where the camera answered and the answer was no.
fn refusal(error: &glib::Error, debug: &str) -> Option<String> {
    let status = rtsp_status(debug);
    let text = match status {
        Some(401) => "user or password refused (401): check both in `source`",
        Some(403) => "access forbidden (403): this user may not see this stream",
        Some(404) => "no such stream (404): check the path in `source`",
        Some(453) => "not enough bandwidth (453): the camera serves no further viewer",
        Some(461) => "unsupported transport (461): set the other `transport`, tcp or udp",
        Some(status @ 400..=499) => return Some(format!("the camera refuses ({status})")),
        _ if error.matches(gst::ResourceError::NotAuthorized) => {
            "user or password refused: check both in `source`"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// `rtspsrc` ends its debug text with the status it was answered: `Unauthorized (401)`.
fn rtsp_status(debug: &str) -> Option<u16> {
    let line = debug.lines().last()?.trim_end();
    let (_, status) = line.strip_suffix(')')?.rsplit_once('(')?;
    let status = status.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

fn camera_text(error: &glib::Error, debug: &str) -> String {
    if debug.contains("Failed to connect") {
        return "no connection: check host and port, and that the camera is on".to_owned();
    }
    if debug.contains("Could not receive any UDP packets") {
        return "no UDP packets come through: set `transport: tcp`".to_owned();
    }
    reason(error, debug)
}

/// The most exact line there is: what an element adds to its message, else the message.
fn reason(error: &glib::Error, debug: &str) -> String {
    let message = error.message().trim_end_matches('.');
    // The first line is the place in GStreamer's source; elements add their reason below.
    let detail = debug
        .lines()
        .skip(1)
        .map(str::trim)
        .find(|line| !line.is_empty());
    match detail {
        Some(detail) if !detail.contains(message) => {
            format!("{message} ({})", detail.trim_end_matches('.'))
        }
        _ => message.to_owned(),
    }
}

/// What to install for a stream that nothing here decodes.
fn no_decoder(caps: &str) -> String {
    let (codec, package) = codec_of(caps);
    format!("no decoder for {codec} is installed: install Debian package {package}")
}

/// Name of the codec or container, and the package that reads it, by caps of `GStreamer`.
fn codec_of(caps: &str) -> (String, &'static str) {
    const LIBAV: &str = "gstreamer1.0-libav";
    const GOOD: &str = "gstreamer1.0-plugins-good";
    const BAD: &str = "gstreamer1.0-plugins-bad";
    let (name, rest) = caps.split_once(',').unwrap_or((caps, ""));
    let (codec, package) = match name {
        "video/x-h264" => ("H.264", LIBAV),
        "video/x-h265" => ("H.265", LIBAV),
        "video/x-h266" => ("H.266", LIBAV),
        "video/x-vp8" => ("VP8", GOOD),
        "video/x-vp9" => ("VP9", GOOD),
        "video/x-av1" => ("AV1", BAD),
        "image/jpeg" => ("Motion JPEG", GOOD),
        "video/x-divx" | "video/x-xvid" => ("MPEG-4 Part 2", LIBAV),
        "video/mpeg" if rest.contains("mpegversion=(int)4") => ("MPEG-4 Part 2", LIBAV),
        "video/mpeg" => ("MPEG-1/2 video", LIBAV),
        "video/x-theora" => ("Theora", "gstreamer1.0-plugins-base"),
        "video/quicktime" => ("MP4 files", GOOD),
        "video/x-matroska" | "video/webm" => ("Matroska files", GOOD),
        "video/x-flv" => ("Flash video files", GOOD),
        "video/x-msvideo" => ("AVI files", GOOD),
        "video/mpegts" => ("MPEG transport streams", BAD),
        "application/x-rtp" => ("this RTP payload", GOOD),
        other => return (format!("`{other}`"), LIBAV),
    };
    (codec.to_owned(), package)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(error: &glib::Error, debug: &str) -> Fault {
        Fault::of_error(error, debug, Kind::Camera, &[])
    }

    #[test]
    fn refusals_are_told_from_losses() {
        let error = glib::Error::new(gst::ResourceError::NotAuthorized, "Unauthorized");
        let debug = "gstrtspsrc.c(6899): gst_rtspsrc_send ():\nUnauthorized (401)";
        assert!(matches!(camera(&error, debug), Fault::Refused(text) if text.contains("401")));

        let error = glib::Error::new(gst::ResourceError::NotFound, "Not found");
        let debug = "gstrtspsrc.c(6895): gst_rtspsrc_send ():\nNot Found (404)";
        assert!(matches!(camera(&error, debug), Fault::Refused(text) if text.contains("path")));

        let error = glib::Error::new(gst::ResourceError::OpenReadWrite, "Could not open resource");
        let debug =
            "gstrtspsrc.c(8336): gst_rtspsrc_retrieve_sdp ():\nFailed to connect. (Generic error)";
        assert!(
            matches!(camera(&error, debug), Fault::Lost(text) if text.contains("host and port"))
        );

        let error = glib::Error::new(gst::ResourceError::Read, "Could not read from resource.");
        let debug = "gstrtspsrc.c(1): x ():\nServer error (503)";
        let expected = "Could not read from resource (Server error (503))".to_owned();
        assert_eq!(camera(&error, debug), Fault::Lost(expected));
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = glib::Error::new(gst::StreamError::CodecNotFound, "missing a plug-in");
        let undecodable = ["video/x-h265, stream-format=(string)hvc1".to_owned()];
        let fault = Fault::of_error(&error, "", Kind::File, &undecodable);
        let text = "no decoder for H.265 is installed: install Debian package gstreamer1.0-libav";
        assert_eq!(fault, Fault::Unusable(text.to_owned()));
        assert_eq!(Fault::no_video(&undecodable), fault);
        assert_eq!(
            codec_of("video/mpeg, mpegversion=(int)4").0,
            "MPEG-4 Part 2"
        );
        assert_eq!(codec_of("video/x-strange").0, "`video/x-strange`");
    }
}
