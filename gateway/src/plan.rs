//! From the spec a gateway has to the one it is to have: what changes, or why it cannot. Pure.

use std::collections::BTreeMap;

use contract::name::StreamName;
use contract::spec::{
    AcceptSpec, GatewaySpec, GatewayStreamSpec, IntakeSpec, Protocol, Role, quality_name,
};

/// What leads from one spec to another while viewers watch.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// The spec when it is done.
    pub(crate) wanted: GatewaySpec,
    /// Streams that are not served any more.
    pub(crate) removed: Vec<StreamName>,
    /// Streams that are new.
    pub(crate) added: Vec<GatewayStreamSpec>,
    /// Paths of streams that stay which are served no more.
    pub(crate) closed: Vec<Place>,
    /// Paths of streams that stay which are new. A path that changes is closed and opened.
    pub(crate) opened: Vec<Place>,
    /// Streams that stay and have other qualities than before.
    pub(crate) requalified: Vec<StreamName>,
    /// Streams that stay and are pushed to others than before.
    pub(crate) pushed: Vec<StreamName>,
    /// Paths at which nobody may publish any more.
    pub(crate) intakes_closed: Vec<IntakeSpec>,
    /// Paths at which senders may publish from now on.
    pub(crate) intakes_opened: Vec<IntakeSpec>,
    /// What is done, a line each.
    pub(crate) notes: Vec<String>,
}

/// Where one stream is served by one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: StreamName,
    pub(crate) protocol: Protocol,
    pub(crate) path: String,
}

impl Plan {
    /// Compares two specs; the error is what a running gateway cannot change.
    pub(crate) fn between(current: &GatewaySpec, wanted: Role) -> Result<Self, String> {
        let Role::Gateway(wanted) = wanted else {
            return Err("the spec is not one of a gateway".to_owned());
        };
        let GatewaySpec {
            address,
            ports,
            webrtc_hosts,
            srt_passphrase,
            publish,
            publish_token,
            streams: _,
            intakes: _,
            accept: _,
        } = &wanted;
        for (what, changed) in [
            ("the address", *address != current.address),
            ("the ports", *ports != current.ports),
            ("`webrtc_hosts`", *webrtc_hosts != current.webrtc_hosts),
            (
                "the passphrase of SRT",
                *srt_passphrase != current.srt_passphrase,
            ),
            ("how senders may publish", *publish != current.publish),
            ("`publish_token`", *publish_token != current.publish_token),
        ] {
            if changed {
                return Err(format!("{what} cannot change while the gateway listens"));
            }
        }
        let mut taken = BTreeMap::new();
        for stream in &wanted.streams {
            for (protocol, path) in &stream.paths {
                if let Some(other) = taken.insert((protocol, path), &stream.stream) {
                    let stream = &stream.stream;
                    return Err(format!(
                        "streams {other} and {stream} both want the {protocol} path `{path}`"
                    ));
                }
            }
        }
        let mut plan = Self {
            removed: Vec::new(),
            added: Vec::new(),
            closed: Vec::new(),
            opened: Vec::new(),
            requalified: Vec::new(),
            pushed: Vec::new(),
            intakes_closed: Vec::new(),
            intakes_opened: Vec::new(),
            notes: Vec::new(),
            wanted,
        };
        plan.compare_streams(&current.streams)?;
        plan.compare_intakes(&current.intakes, &current.accept);
        Ok(plan)
    }

    /// One whose path or stream changes is closed and opened.
    fn compare_intakes(&mut self, current: &[IntakeSpec], accept: &[AcceptSpec]) {
        let wanted = &self.wanted.intakes;
        let closed = current.iter().filter(|old| !wanted.contains(old));
        let opened = wanted.iter().filter(|new| !current.contains(new));
        for IntakeSpec { stream, path, .. } in closed.clone() {
            let note = format!("stream {stream}: no more published as `{path}`");
            self.notes.push(note);
        }
        for IntakeSpec { stream, path, .. } in opened.clone() {
            let note = format!("stream {stream}: may be published as `{path}`");
            self.notes.push(note);
        }
        if self.wanted.accept != *accept {
            self.notes.push("who is accepted".to_owned());
        }
        self.intakes_closed = closed.cloned().collect();
        self.intakes_opened = opened.cloned().collect();
    }

    fn compare_streams(&mut self, current: &[GatewayStreamSpec]) -> Result<(), String> {
        for old in current {
            let name = &old.stream;
            if !self.wanted.streams.iter().any(|new| new.stream == *name) {
                self.removed.push(name.clone());
                self.notes.push(format!("stream {name}: removed"));
            }
        }
        for new in &self.wanted.streams {
            let name = &new.stream;
            match current.iter().find(|old| old.stream == *name) {
                None => {
                    self.added.push(new.clone());
                    let places: Vec<_> = new
                        .paths
                        .iter()
                        .map(|(protocol, path)| format!("{protocol} `{path}`"))
                        .collect();
                    let places = places.join(", ");
                    self.notes.push(format!("stream {name}: added at {places}"));
                }
                Some(old) if old.book != new.book => {
                    return Err(format!("the book of stream {name} cannot change"));
                }
                // A stream of another size is the same to a gateway.
                Some(old) => {
                    for protocol in Protocol::ALL {
                        let paths = (old.paths.get(&protocol), new.paths.get(&protocol));
                        let note = match paths {
                            (Some(old), Some(new)) if old != new => {
                                format!("moved from {protocol} `{old}` to `{new}`")
                            }
                            (Some(old), None) => format!("no more at {protocol} `{old}`"),
                            (None, Some(new)) => format!("now at {protocol} `{new}`"),
                            _ => continue,
                        };
                        let place = |path: &String| Place {
                            stream: name.clone(),
                            protocol,
                            path: path.clone(),
                        };
                        self.closed.extend(paths.0.map(place));
                        self.opened.extend(paths.1.map(place));
                        self.notes.push(format!("stream {name}: {note}"));
                    }
                    if old.qualities != new.qualities {
                        let names = new.qualities.iter().map(|height| quality_name(*height));
                        let names: Vec<_> = names.collect();
                        let names = names.join(", ");
                        self.requalified.push(name.clone());
                        self.notes
                            .push(format!("stream {name}: its qualities are [{names}]"));
                    }
                    if old.pushes != new.pushes {
                        let (before, now) = (old.pushes.len(), new.pushes.len());
                        self.pushed.push(name.clone());
                        self.notes.push(format!(
                            "stream {name}: pushes changed, {before} before and {now} now"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;
    use contract::spec::{Backoff, PushSpec, RetrySpec, Secret};

    use super::*;

    fn stream(name: &str, path: &str) -> GatewayStreamSpec {
        GatewayStreamSpec {
            stream: name.parse().expect("a name"),
            size: PixelSize {
                width: 64,
                height: 48,
            },
            paths: [(Protocol::Rtsp, path.to_owned())].into(),
            qualities: Vec::new(),
            pushes: Vec::new(),
            book: format!("/run/{name}.gateway").into(),
        }
    }

    fn spec<const N: usize>(streams: [(&str, &str); N]) -> GatewaySpec {
        GatewaySpec {
            address: "127.0.0.1".to_owned(),
            ports: [(Protocol::Rtsp, 8554)].into(),
            webrtc_hosts: Vec::new(),
            srt_passphrase: None,
            publish: [Protocol::Srt].into(),
            publish_token: None,
            streams: streams.map(|(name, path)| stream(name, path)).to_vec(),
            intakes: Vec::new(),
            accept: Vec::new(),
        }
    }

    fn place(stream: &str, protocol: Protocol, path: &str) -> Place {
        Place {
            stream: stream.parse().expect("a name"),
            protocol,
            path: path.to_owned(),
        }
    }

    #[test]
    fn streams_come_go_and_move() {
        let current = spec([("gone", "gone"), ("same", "same"), ("moves", "here")]);
        let mut wanted = spec([("same", "same"), ("moves", "gone"), ("new", "here")]);
        wanted.streams[0].size.width = 128;
        let plan = Plan::between(&current, Role::Gateway(wanted.clone())).expect("it can be done");
        assert_eq!(plan.removed, ["gone".parse().expect("a name")]);
        assert_eq!(plan.added, [stream("new", "here")]);
        assert_eq!(plan.closed, [place("moves", Protocol::Rtsp, "here")]);
        assert_eq!(plan.opened, [place("moves", Protocol::Rtsp, "gone")]);
        assert_eq!(
            plan.notes,
            [
                "stream gone: removed",
                "stream moves: moved from rtsp `here` to `gone`",
                "stream new: added at rtsp `here`",
            ]
        );
        assert_eq!(plan.wanted, wanted);
    }

    #[test]
    fn a_protocol_comes_and_goes_and_the_others_stay() {
        let current = spec([("yard", "yard")]);
        let mut wanted = current.clone();
        let paths = &mut wanted.streams[0].paths;
        paths.insert(Protocol::Hls, "yard".to_owned());
        let there = Plan::between(&current, Role::Gateway(wanted.clone())).expect("it can be done");
        assert_eq!(there.closed, []);
        assert_eq!(there.opened, [place("yard", Protocol::Hls, "yard")]);
        let back = Plan::between(&wanted, Role::Gateway(current)).expect("it can be done");
        assert_eq!(back.closed, [place("yard", Protocol::Hls, "yard")]);
        assert_eq!(back.notes, ["stream yard: no more at hls `yard`"]);
    }

    #[test]
    fn qualities_change_and_no_place_is_left() {
        let current = spec([("yard", "yard"), ("gate", "gate")]);
        let mut wanted = current.clone();
        wanted.streams[0].qualities = vec![480, 240];
        let plan = Plan::between(&current, Role::Gateway(wanted)).expect("it can be done");
        assert_eq!(plan.requalified, ["yard".parse().expect("a name")]);
        assert_eq!((plan.closed, plan.opened), (Vec::new(), Vec::new()));
        assert_eq!(plan.notes, ["stream yard: its qualities are [480p, 240p]"]);
    }

    #[test]
    fn pushes_come_and_go_and_nothing_else_does() {
        let current = spec([("yard", "yard"), ("gate", "gate")]);
        let mut wanted = current.clone();
        wanted.streams[0].pushes.push(PushSpec {
            location: Secret::new("rtmp://h/live/hunter2".to_owned()),
            retry: RetrySpec {
                attempts: None,
                interval_ms: 1000,
                backoff: Backoff::Fixed,
                max_interval_ms: 60_000,
            },
        });
        let plan = Plan::between(&current, Role::Gateway(wanted)).expect("it can be done");
        assert_eq!(plan.pushed, ["yard".parse().expect("a name")]);
        assert_eq!((plan.closed, plan.opened), (Vec::new(), Vec::new()));
        assert_eq!(
            plan.notes,
            ["stream yard: pushes changed, 0 before and 1 now"]
        );
    }

    #[test]
    fn intakes_come_go_and_move() {
        let intake = |name: &str, path: &str| IntakeSpec {
            stream: name.parse().expect("a name"),
            path: path.to_owned(),
            accepted_by: None,
            book: format!("/run/{name}.intake").into(),
        };
        let mut current = spec([]);
        current.intakes = vec![intake("a", "a"), intake("b", "b"), intake("c", "c")];
        let mut wanted = spec([]);
        wanted.intakes = vec![intake("a", "a"), intake("b", "c"), intake("d", "d")];
        let plan = Plan::between(&current, Role::Gateway(wanted)).expect("it can be done");
        assert_eq!(plan.intakes_closed, [intake("b", "b"), intake("c", "c")]);
        assert_eq!(plan.intakes_opened, [intake("b", "c"), intake("d", "d")]);
        assert_eq!(
            plan.notes,
            [
                "stream b: no more published as `b`",
                "stream c: no more published as `c`",
                "stream b: may be published as `c`",
                "stream d: may be published as `d`",
            ]
        );
    }

    #[test]
    fn what_cannot_change_is_named() {
        let current = spec([("yard", "yard")]);
        type Change = (&'static str, fn(&mut GatewaySpec));
        let changes: [Change; 7] = [
            ("the address", |spec| spec.address = "0.0.0.0".to_owned()),
            ("the ports", |spec| {
                spec.ports.insert(Protocol::Rtsp, 554);
            }),
            ("the passphrase of SRT", |spec| {
                spec.srt_passphrase = Some(Secret::new("hunter2hunter2".to_owned()));
            }),
            ("how senders may publish", |spec| {
                spec.publish.insert(Protocol::Webrtc);
            }),
            ("`publish_token`", |spec| {
                spec.publish_token = Some(Secret::new("hunter2hunter2".to_owned()));
            }),
            ("both want the rtsp path `yard`", |spec| {
                spec.streams.push(stream("gate", "yard"));
            }),
            ("the book of stream yard", |spec| {
                spec.streams[0].book = "/elsewhere".into();
            }),
        ];
        for (what, change) in changes {
            let mut wanted = current.clone();
            change(&mut wanted);
            let error = Plan::between(&current, Role::Gateway(wanted)).expect_err(what);
            assert!(
                error.contains(what) && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
