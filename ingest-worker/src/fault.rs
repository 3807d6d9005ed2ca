//! Why a session broke, in words for people.

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;

mod peer;

pub(crate) use peer::{certificate, no_connection};

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
    /// A camera does not send over this transport; another may do.
    #[error("{0}")]
    Transport(String),
}

/// Where a fault came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reading a file, or pictures of a directory.
    File,
    /// Making a test picture.
    Pattern,
    /// Talking to an RTSP camera.
    Rtsp,
    /// Either end of an SRT connection.
    Srt,
    /// Talking to an RTMP server.
    Rtmp,
    /// Talking to an HTTP server.
    Http,
    /// Listening to UDP packets.
    Udp,
    /// Taking what a sender publishes.
    Publish,
    /// Reading a video device.
    Device,
    /// Putting pictures of other streams together.
    Mosaic,
}

impl Kind {
    /// What is wrong with it may be right a minute later.
    #[must_use]
    pub fn is_live(self) -> bool {
        !matches!(self, Self::File | Self::Pattern | Self::Mosaic)
    }
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
        if kind.is_live() {
            return Self::of_live(error, debug, kind, undecodable);
        }
        if error.matches(gst::StreamError::TypeNotFound)
            || error.matches(gst::StreamError::WrongType)
            // Noise that looked like something at first.
            || debug.contains("all streams without buffers")
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

    fn of_live(error: &glib::Error, debug: &str, kind: Kind, undecodable: &[String]) -> Self {
        if let Some(fault) = peer::told(error, debug, kind) {
            return fault;
        }
        if error.matches(gst::StreamError::TypeNotFound)
            || error.matches(gst::StreamError::WrongType)
        {
            return Self::Lost("what it sends is no video of a known format".to_owned());
        }
        match undecodable.first() {
            Some(caps) => Self::Lost(no_decoder(caps)),
            None => Self::Lost(reason(error, debug)),
        }
    }

    /// No stream of the source is a picture. A live source may be set up better tomorrow.
    #[must_use]
    pub fn no_video(kind: Kind, undecodable: &[String]) -> Self {
        let text = match undecodable.first() {
            Some(caps) => no_decoder(caps),
            None => "it has no video stream".to_owned(),
        };
        if kind.is_live() {
            Self::Lost(text)
        } else {
            Self::Unusable(text)
        }
    }

    /// The same fault in other words.
    #[must_use]
    pub fn reworded(self, reword: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Unusable(text) => Self::Unusable(reword(&text)),
            Self::Refused(text) => Self::Refused(reword(&text)),
            Self::Lost(text) => Self::Lost(reword(&text)),
            Self::HardwareDecoder(text) => Self::HardwareDecoder(reword(&text)),
            Self::Transport(text) => Self::Transport(reword(&text)),
        }
    }
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

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let error = glib::Error::new(gst::StreamError::CodecNotFound, "missing a plug-in");
        let undecodable = ["video/x-h265, stream-format=(string)hvc1".to_owned()];
        let fault = Fault::of_error(&error, "", Kind::File, &undecodable);
        let text = "no decoder for H.265 is installed: install Debian package gstreamer1.0-libav";
        assert_eq!(fault, Fault::Unusable(text.to_owned()));
        assert_eq!(Fault::no_video(Kind::File, &undecodable), fault);
        let live = Fault::of_error(&error, "", Kind::Rtsp, &undecodable);
        assert_eq!(live, Fault::Lost(text.to_owned()));
        assert_eq!(
            codec_of("video/mpeg, mpegversion=(int)4").0,
            "MPEG-4 Part 2"
        );
        assert_eq!(codec_of("video/x-strange").0, "`video/x-strange`");
    }
}
