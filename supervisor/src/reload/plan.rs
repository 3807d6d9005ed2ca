//! What is to be done to get from one text to another: a pure difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use contract::name::{ModelName, StreamName, WorkerId};
use contract::spec::{Protocol, Role, RuleSource};

use crate::config::{RulesConfig, RunConfig, port_key};
use crate::plan::Plan;

mod changes;

use changes::{gateway_changes, infer_changes, ingest_changes, render_changes};

/// A checked text, and what it comes to.
#[derive(Debug, Clone)]
pub struct Edition {
    /// The text.
    pub config: RunConfig,
    /// The workers.
    pub plan: Plan,
}

/// One thing to be done. The order is that of disturbance: the least first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The store keeps more or less.
    Retain,
    /// How much is kept of recordings.
    KeepRecordings,
    /// A worker goes on with another spec, between two frames.
    Reconfigure {
        /// Which.
        worker: WorkerId,
        /// What of it changes, by the keys of the config.
        changes: Vec<String>,
    },
    /// A model is loaded and warmed in a new process, then takes over.
    Succeed {
        /// Which.
        model: ModelName,
        /// Why.
        changes: Vec<String>,
    },
    /// A model that was not run before is loaded and warmed, then serves.
    AddModel {
        /// Which.
        model: ModelName,
    },
    /// Nobody uses a model any more.
    RemoveModel {
        /// Which.
        model: ModelName,
    },
    /// Nothing was served before.
    StartGateway,
    /// Nothing is served any more.
    EndGateway,
    /// A stream joins.
    AddStream {
        /// Which.
        stream: StreamName,
    },
    /// A stream leaves.
    RemoveStream {
        /// Which.
        stream: StreamName,
    },
    /// A stream's source is opened anew; its tracks, rules and files go on.
    ReplaceIngest {
        /// Which stream.
        stream: StreamName,
        /// Why.
        changes: Vec<String>,
    },
    /// A stream leaves and joins again, with new tracks and files.
    RebuildStream {
        /// Which.
        stream: StreamName,
        /// Why.
        changes: Vec<String>,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retain => formatter.write_str("the store: retention"),
            Self::KeepRecordings => formatter.write_str("recordings: how much of them is kept"),
            Self::Reconfigure { worker, changes } => {
                write!(
                    formatter,
                    "{worker} goes on with another spec: {}",
                    changes.join(", ")
                )
            }
            Self::Succeed { model, changes } => write!(
                formatter,
                "model {model} is warmed in a new process, which takes over: {}",
                changes.join(", ")
            ),
            Self::AddModel { model } => write!(formatter, "model {model} joins"),
            Self::RemoveModel { model } => write!(formatter, "model {model} leaves"),
            Self::StartGateway => formatter.write_str("the gateway is started"),
            Self::EndGateway => formatter.write_str("the gateway ends"),
            Self::AddStream { stream } => write!(formatter, "stream {stream} joins"),
            Self::RemoveStream { stream } => write!(formatter, "stream {stream} leaves"),
            Self::ReplaceIngest { stream, changes } => write!(
                formatter,
                "stream {stream} gets its source anew: {}",
                changes.join(", ")
            ),
            Self::RebuildStream { stream, changes } => {
                write!(
                    formatter,
                    "stream {stream} begins anew: {}",
                    changes.join(", ")
                )
            }
        }
    }
}

/// What is to be done, the least disturbing first. Empty when both texts come to the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadPlan {
    /// Each thing once.
    pub steps: Vec<Step>,
}

impl ReloadPlan {
    /// A line a step.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.steps.iter().map(ToString::to_string).collect()
    }
}

/// Gives the rule texts of `new` that are not in force yet the number `generation`; the
/// others keep theirs, and what a stream has already stays as it is.
pub fn number_rules(new: &mut RunConfig, old: &RunConfig, generation: u64) {
    let in_force = |name: &StreamName| Some(&old.streams.get(name)?.rules.as_ref()?.source);
    let known = |text: &str| {
        let mut names = old.streams.keys();
        names.find_map(|name| in_force(name).filter(|source| source.text == text))
    };
    for (name, stream) in &mut new.streams {
        let Some(rules) = &mut stream.rules else {
            continue;
        };
        let own = in_force(name).filter(|source| source.text == rules.source.text);
        let source = match (own, known(&rules.source.text)) {
            (Some(own), _) => own.clone(),
            (None, other) => RuleSource {
                generation: other.map_or(generation, |source| source.generation),
                ..rules.source.clone()
            },
        };
        if rules.source != source {
            Arc::make_mut(rules).source = source;
        }
    }
}

/// A rule file in which no gate and no zone has changed is no news to a model: its worker
/// keeps the text it has.
pub fn keep_gates(new: &mut Edition, old: &Edition) {
    let Edition { config, plan } = new;
    for planned in &mut plan.workers {
        let (Role::Infer(spec), Some(Role::Infer(known))) =
            (&mut planned.role, old.plan.role(&planned.worker))
        else {
            continue;
        };
        for stream in &mut spec.streams {
            let name = &stream.frames.stream;
            let file = |config: &RunConfig| config.streams.get(name)?.rules.clone();
            let (Some(new_file), Some(old_file)) = (file(config), file(&old.config)) else {
                continue;
            };
            let gate = |rules: &RulesConfig| {
                let gate = rules.file.gates.get(spec.model.as_str())?;
                Some(gate.text().to_owned())
            };
            let same =
                gate(&new_file) == gate(&old_file) && new_file.file.zones == old_file.file.zones;
            let mut known = known.streams.iter();
            if let Some(known) = known.find(|known| known.frames.topic() == stream.frames.topic())
                && same
            {
                stream.rules.clone_from(&known.rules);
            }
        }
    }
}

/// What is to be done to get from `old` to `new`. Workers of `behind` did not take what is
/// in force: they are told again.
///
/// # Errors
/// What cannot change while the run lives, a sentence each.
pub fn plan(
    old: &Edition,
    new: &Edition,
    behind: &BTreeSet<WorkerId>,
) -> Result<ReloadPlan, Vec<String>> {
    let refusals = refusals(&old.config, &new.config);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let difference = Difference {
        old: roles(&old.plan),
        new: roles(&new.plan),
        behind,
    };
    let mut steps = difference.steps();
    if old.config.retention != new.config.retention {
        steps.push(Step::Retain);
    }
    if old.config.kept_recordings() != new.config.kept_recordings() {
        steps.push(Step::KeepRecordings);
    }
    steps.sort();
    Ok(ReloadPlan { steps })
}

/// What only a new run can change.
fn refusals(old: &RunConfig, new: &RunConfig) -> Vec<String> {
    let (before, after) = (&old.gateway, &new.gateway);
    let fixed = [
        ("run", old.run != new.run),
        ("onnxruntime", old.onnxruntime != new.onnxruntime),
        ("gateway.address", before.address != after.address),
        (
            "gateway.webrtc_hosts",
            before.webrtc_hosts != after.webrtc_hosts,
        ),
        (
            "gateway.srt_passphrase",
            before.srt_passphrase != after.srt_passphrase,
        ),
        ("gateway.publish", before.publish != after.publish),
        (
            "gateway.publish_token",
            before.publish_token != after.publish_token,
        ),
    ];
    let changed = fixed.into_iter().filter(|(_, changed)| *changed);
    let changed = changed.map(|(key, _)| key.to_owned());
    let ports = Protocol::ALL.into_iter();
    let ports = ports.filter(|protocol| before.ports.get(protocol) != after.ports.get(protocol));
    let ports = ports.map(|protocol| format!("gateway.{}", port_key(protocol)));
    let sentence =
        |key: String| format!("`{key}` cannot change while the run lives: stop it and start again");
    changed.chain(ports).map(sentence).collect()
}

fn roles(plan: &Plan) -> BTreeMap<&WorkerId, &Role> {
    let workers = plan.workers.iter();
    workers
        .map(|planned| (&planned.worker, &planned.role))
        .collect()
}

struct Difference<'a> {
    old: BTreeMap<&'a WorkerId, &'a Role>,
    new: BTreeMap<&'a WorkerId, &'a Role>,
    behind: &'a BTreeSet<WorkerId>,
}

impl Difference<'_> {
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for worker in self
            .old
            .keys()
            .chain(self.new.keys())
            .collect::<BTreeSet<_>>()
        {
            let roles = (self.old.get(worker), self.new.get(worker));
            steps.extend(match *worker {
                WorkerId::Infer(model) => self.model(worker, model, roles),
                WorkerId::Gateway => self.gateway(worker, roles),
                // A stream is looked at once, from its ingest worker.
                WorkerId::Ingest(stream) => self.stream(stream),
                WorkerId::Render(_) => Vec::new(),
            });
        }
        steps
    }

    fn stream(&self, stream: &StreamName) -> Vec<Step> {
        let (ingest, render) = (
            WorkerId::Ingest(stream.clone()),
            WorkerId::Render(stream.clone()),
        );
        let of = |roles: &BTreeMap<&WorkerId, &Role>| match (roles.get(&ingest), roles.get(&render))
        {
            (Some(Role::Ingest(ingest)), Some(Role::Render(render))) => {
                Some((ingest.clone(), render.clone()))
            }
            _ => None,
        };
        let stream = stream.clone();
        let ((old_ingest, old_render), (new_ingest, new_render)) =
            match (of(&self.old), of(&self.new)) {
                (None, _) => return vec![Step::AddStream { stream }],
                (Some(_), None) => return vec![Step::RemoveStream { stream }],
                (Some(old), Some(new)) => (old, new),
            };
        let of_ingest = ingest_changes(&old_ingest, &new_ingest);
        let of_render = render_changes(&old_render, &new_render);
        if old_ingest.frames != new_ingest.frames || !of_render.fixed.is_empty() {
            let changes = of_render.all().into_iter().chain(of_ingest.all());
            let mut changes: Vec<String> = changes.collect();
            changes.sort();
            changes.dedup();
            return vec![Step::RebuildStream { stream, changes }];
        }
        let mut steps = self.reconfigure(&render, of_render.live);
        if of_ingest.fixed.is_empty() {
            steps.extend(self.reconfigure(&ingest, of_ingest.live));
        } else {
            let changes = of_ingest.all();
            steps.push(Step::ReplaceIngest { stream, changes });
        }
        steps
    }

    fn model(
        &self,
        worker: &WorkerId,
        model: &ModelName,
        roles: (Option<&&Role>, Option<&&Role>),
    ) -> Vec<Step> {
        let model = model.clone();
        match roles {
            (Some(Role::Infer(old)), Some(Role::Infer(new))) => {
                let changes = infer_changes(old, new);
                if changes.fixed.is_empty() {
                    return self.reconfigure(worker, changes.live);
                }
                let changes = changes.all();
                vec![Step::Succeed { model, changes }]
            }
            (None, Some(_)) => vec![Step::AddModel { model }],
            _ => vec![Step::RemoveModel { model }],
        }
    }

    fn gateway(&self, worker: &WorkerId, roles: (Option<&&Role>, Option<&&Role>)) -> Vec<Step> {
        match roles {
            (Some(Role::Gateway(old)), Some(Role::Gateway(new))) => {
                self.reconfigure(worker, gateway_changes(old, new))
            }
            (None, Some(_)) => vec![Step::StartGateway],
            _ => vec![Step::EndGateway],
        }
    }

    fn reconfigure(&self, worker: &WorkerId, mut changes: Vec<String>) -> Vec<Step> {
        if changes.is_empty() && self.behind.contains(worker) {
            changes.push("what it did not take before".to_owned());
        }
        if changes.is_empty() {
            return Vec::new();
        }
        let worker = worker.clone();
        vec![Step::Reconfigure { worker, changes }]
    }
}

#[cfg(test)]
mod tests;
