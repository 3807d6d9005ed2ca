//! What the other end of a connection said, read from what its element reports.

use gstreamer as gst;
use gstreamer::glib;

use super::{Fault, Kind};

/// What the other end has said; `None` when it has said nothing that is understood here.
pub(super) fn told(error: &glib::Error, debug: &str, kind: Kind) -> Option<Fault> {
    match kind {
        Kind::Rtsp => rtsp(error, debug),
        Kind::Srt => srt(error, debug),
        Kind::Rtmp => rtmp(error),
        Kind::Http => http(debug),
        Kind::Udp => udp(error),
        Kind::Device => device(error, debug),
        Kind::File | Kind::Pattern | Kind::Publish | Kind::Mosaic => None,
    }
}

fn rtsp(error: &glib::Error, debug: &str) -> Option<Fault> {
    let refused = |text: &str| Some(Fault::Refused(text.to_owned()));
    match rtsp_status(debug) {
        Some(401) => refused("user or password refused (401): check both in `source`"),
        Some(403) => refused("access forbidden (403): this user may not see this stream"),
        Some(404) => refused("no such stream (404): check the path in `source`"),
        Some(453) => refused("not enough bandwidth (453): the camera serves no further viewer"),
        Some(461) => Some(Fault::Transport(
            "unsupported transport (461): set the other `transport`, tcp or udp".to_owned(),
        )),
        Some(status @ 400..=499) => refused(&format!("the camera refuses ({status})")),
        _ if error.matches(gst::ResourceError::NotAuthorized) => {
            refused("user or password refused: check both in `source`")
        }
        // What `rtspsrc` makes of 461, and of a camera of whose streams it takes none.
        _ if error.message().contains("more transport protocols") => Some(Fault::Transport(
            "unsupported transport (461): set the other `transport`, tcp or udp".to_owned(),
        )),
        _ if debug.contains("Could not receive any UDP packets") => Some(Fault::Transport(
            "no UDP packets come through: set `transport: tcp`".to_owned(),
        )),
        _ if debug.contains("Failed to connect") => Some(no_connection()),
        _ => None,
    }
}

/// `rtspsrc` ends its debug text with the status it was answered: `Unauthorized (401)`.
fn rtsp_status(debug: &str) -> Option<u16> {
    let line = debug.lines().last()?.trim_end();
    let (_, status) = line.strip_suffix(')')?.rsplit_once('(')?;
    status_of(status)
}

/// `srtsrc` says a refusal in the text of a reading error.
fn srt(error: &glib::Error, debug: &str) -> Option<Fault> {
    let said = |words: &str| debug.contains(words) || error.message().contains(words);
    if said("Failed to authenticate") || said("passphrase") {
        let text = "the passphrase is not the sender's: check `passphrase`";
        return Some(Fault::Refused(text.to_owned()));
    }
    if said("rejected") || said("Connection setup failure: connection rejected") {
        let text = "the sender refuses: check the stream id in `source`, and `passphrase`";
        return Some(Fault::Refused(text.to_owned()));
    }
    if said("Connection timeout") {
        let text = "no answer: check host and port, that the sender is on, and that it listens";
        return Some(Fault::Lost(text.to_owned()));
    }
    if said("Error on SRT socket") || said("SRT connection was broken") {
        return Some(Fault::Lost("the connection broke".to_owned()));
    }
    if said("bind") || said("Failed to open SRT") {
        let text = "it cannot listen there: check the address, and that nothing else listens";
        return Some(Fault::Lost(text.to_owned()));
    }
    None
}

fn rtmp(error: &glib::Error) -> Option<Fault> {
    let message = error.message();
    if message.contains("TLS certificate") {
        return Some(certificate());
    }
    if error.matches(gst::ResourceError::NotAuthorized) {
        let text = "user or password refused: check both in `source`";
        return Some(Fault::Refused(text.to_owned()));
    }
    if message.contains("not found") {
        let text = "no such stream: check the path in `source`";
        return Some(Fault::Refused(text.to_owned()));
    }
    if message.contains("denied") || message.contains("authentication failed") {
        let text = "the server refuses: check user, password and path in `source`";
        return Some(Fault::Refused(text.to_owned()));
    }
    let unconnected = message.contains("Connection refused") || message.contains("resolve");
    unconnected.then(no_connection)
}

fn http(debug: &str) -> Option<Fault> {
    let status = http_status(debug)?;
    Some(Fault::Refused(match status {
        401 => "user or password refused (401): check both in `source`".to_owned(),
        403 => "access forbidden (403): this user may not see this stream".to_owned(),
        404 | 410 => format!("no such stream ({status}): check the path in `source`"),
        400..=499 => format!("the server refuses ({status})"),
        _ => return Some(Fault::Lost(format!("the server is in trouble ({status})"))),
    }))
}

/// `souphttpsrc` ends with `Unauthorized (401), URL: ..., Redirect to: ...`.
fn http_status(debug: &str) -> Option<u16> {
    let (before, _) = debug.split_once("), URL: ")?;
    let (_, status) = before.rsplit_once('(')?;
    status_of(status)
}

fn status_of(text: &str) -> Option<u16> {
    let status = text.parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

fn udp(error: &glib::Error) -> Option<Fault> {
    let settings = error.matches(gst::ResourceError::Settings);
    settings.then(|| {
        let text = "it cannot listen there: check address and interface, and that nothing else \
                    listens on this port";
        Fault::Lost(text.to_owned())
    })
}

fn device(error: &glib::Error, debug: &str) -> Option<Fault> {
    let lost = |text: &str| Some(Fault::Lost(text.to_owned()));
    if debug.contains("Inappropriate ioctl") || debug.contains("not a capture device") {
        let text = "it is no device that gives pictures";
        return Some(Fault::Unusable(text.to_owned()));
    }
    if debug.contains("Permission denied") {
        let text = "it may not be opened: add this user to the group `video`";
        return Some(Fault::Refused(text.to_owned()));
    }
    if error.matches(gst::ResourceError::Busy) || debug.contains("resource busy") {
        return lost("another program uses it");
    }
    if error.matches(gst::ResourceError::NotFound) || debug.contains("No such") {
        return lost("there is no such device");
    }
    None
}

/// Nothing answers at this address.
pub(crate) fn no_connection() -> Fault {
    Fault::Lost("no connection: check host and port, and that the camera is on".to_owned())
}

/// The server is not shown to be whom it says it is.
pub(crate) fn certificate() -> Fault {
    Fault::Refused(
        "its certificate is not trusted: have it signed by an authority that this machine \
         trusts, or set `tls: any` to take any"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(error: &glib::Error, debug: &str) -> Fault {
        Fault::of_error(error, debug, Kind::Rtsp, &[])
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
    fn what_servers_say_is_understood() {
        let error = |message: &str| glib::Error::new(gst::ResourceError::Read, message);
        let srt = "gstsrtsrc.c(206): gst_srt_src_fill ():\nFailed to authenticate: Password required or unexpected";
        let told = |kind, debug: &str| told(&error("Could not read from resource."), debug, kind);
        assert!(
            matches!(told(Kind::Srt, srt), Some(Fault::Refused(text)) if text.contains("passphrase"))
        );
        let http =
            "souphttpsrc.c(1688): x ():\nForbidden (403), URL: http://h/(1), Redirect to: (NULL)";
        assert!(
            matches!(told(Kind::Http, http), Some(Fault::Refused(text)) if text.contains("403"))
        );
        let http = "souphttpsrc.c(1688): x ():\nService Unavailable (503), URL: http://h/, Redirect to: (NULL)";
        assert!(matches!(told(Kind::Http, http), Some(Fault::Lost(text)) if text.contains("503")));
        let device = "v4l2_calls.c(91): x ():\nsystem error: Inappropriate ioctl for device";
        assert!(matches!(
            told(Kind::Device, device),
            Some(Fault::Unusable(_))
        ));
        let device = "v4l2_calls.c(91): x ():\nsystem error: Permission denied";
        assert!(
            matches!(told(Kind::Device, device), Some(Fault::Refused(text)) if text.contains("group"))
        );
        assert_eq!(told(Kind::Pattern, "anything"), None);
    }
}
