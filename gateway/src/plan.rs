//! From the spec a gateway has to the one it is to have: what changes, or why it cannot. Pure.

use std::collections::BTreeMap;

use contract::name::StreamName;
use contract::spec::{GatewaySpec, GatewayStreamSpec, Role};

/// What leads from one spec to another while viewers watch.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// The spec when it is done.
    pub(crate) wanted: GatewaySpec,
    /// Streams that are not served any more.
    pub(crate) removed: Vec<StreamName>,
    /// Streams that are new.
    pub(crate) added: Vec<GatewayStreamSpec>,
    /// Streams that are served at another mount.
    pub(crate) moved: Vec<GatewayStreamSpec>,
    /// What is done, a line each.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Compares two specs; the error is what a running gateway cannot change.
    pub(crate) fn between(current: &GatewaySpec, wanted: Role) -> Result<Self, String> {
        let Role::Gateway(wanted) = wanted else {
            return Err("the spec is not one of a gateway".to_owned());
        };
        let GatewaySpec {
            address,
            rtsp_port,
            streams: _,
        } = &wanted;
        for (what, changed) in [
            ("the address", *address != current.address),
            ("the RTSP port", *rtsp_port != current.rtsp_port),
        ] {
            if changed {
                return Err(format!("{what} cannot change while the gateway listens"));
            }
        }
        let mut mounts = BTreeMap::new();
        for stream in &wanted.streams {
            if let Some(other) = mounts.insert(&stream.mount, &stream.stream) {
                let (mount, stream) = (&stream.mount, &stream.stream);
                return Err(format!(
                    "streams {other} and {stream} both want mount `{mount}`"
                ));
            }
        }
        let mut plan = Self {
            removed: Vec::new(),
            added: Vec::new(),
            moved: Vec::new(),
            notes: Vec::new(),
            wanted,
        };
        plan.compare_streams(&current.streams)?;
        Ok(plan)
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
            let (name, mount) = (&new.stream, &new.mount);
            match current.iter().find(|old| old.stream == *name) {
                None => {
                    self.added.push(new.clone());
                    self.notes
                        .push(format!("stream {name}: added at `{mount}`"));
                }
                Some(old) if old.book != new.book => {
                    return Err(format!("the book of stream {name} cannot change"));
                }
                Some(old) if old.mount != *mount => {
                    self.moved.push(new.clone());
                    self.notes.push(format!(
                        "stream {name}: moved from `{}` to `{mount}`",
                        old.mount
                    ));
                }
                // A stream of another size is the same to a gateway.
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use contract::geometry::PixelSize;

    use super::*;

    fn stream(name: &str, mount: &str) -> GatewayStreamSpec {
        GatewayStreamSpec {
            stream: name.parse().expect("a name"),
            size: PixelSize {
                width: 64,
                height: 48,
            },
            mount: mount.to_owned(),
            book: format!("/run/{name}.gateway").into(),
        }
    }

    fn spec<const N: usize>(streams: [(&str, &str); N]) -> GatewaySpec {
        GatewaySpec {
            address: "127.0.0.1".to_owned(),
            rtsp_port: 8554,
            streams: streams.map(|(name, mount)| stream(name, mount)).to_vec(),
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
        assert_eq!(plan.moved, [stream("moves", "gone")]);
        assert_eq!(
            plan.notes,
            [
                "stream gone: removed",
                "stream moves: moved from `here` to `gone`",
                "stream new: added at `here`",
            ]
        );
        assert_eq!(plan.wanted, wanted);
    }

    #[test]
    fn what_cannot_change_is_named() {
        let current = spec([("yard", "yard")]);
        type Change = (&'static str, fn(&mut GatewaySpec));
        let changes: [Change; 4] = [
            ("the address", |spec| spec.address = "0.0.0.0".to_owned()),
            ("the RTSP port", |spec| spec.rtsp_port = 554),
            ("both want mount `yard`", |spec| {
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
            assert!(error.contains(what), "{error}");
        }
    }
}
