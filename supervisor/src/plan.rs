//! From a checked run config to the workers of the run: who they are, what each
//! is told, how much shared memory they can need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use contract::findings::Finds;
use contract::geometry::PixelSize;
use contract::name::{ModelName, RunId, StreamName, WorkerId};
use contract::spec::{
    AcceptSpec, BusSpec, CaptionSpec, DepthView, FrameMemory, FrameServiceSpec, GatewaySpec,
    GatewayStreamSpec, InferSpec, InferStreamSpec, IngestSpec, IntakeSpec, OnDemandSpec,
    OverlaySpec, PassthroughSpec, Protocol, QueuePolicy, RenderCropsSpec, RenderModelSpec,
    RenderSpec, Role, RuleSource, TileSpec, WorkerSpec,
};
use frame_bus::budget;

use crate::books::{BookId, Part};
use crate::config::{
    BestShotsConfig, CascadeConfig, PrivacyConfig, RecordConfig, RunConfig, SourceConfig,
    StreamConfig,
};
use crate::supervision::fleet::{Topology, Uses};

mod ports;

pub use ports::PortError;

/// Frames a second that a live source is reckoned with, to bound what a consumer holds.
const FPS_RECKONED: u128 = 30;

/// A render worker may hold so many frames while it waits for results.
const HELD_MIN: u128 = 4;
/// More would cost more shared memory than the few frames in flight are worth.
const HELD_MAX: u128 = 16;

/// Crops that a stream may have unanswered at one model. Each has its place in the queue on
/// the bus, so none is lost there while the model's worker lives.
const CROPS_UNANSWERED_MAX: u32 = 8;
/// Crops of a stream that a model's worker may hold: some in sessions, some to come.
const CROPS_HELD_MAX: u32 = 4;
/// Longest side of a crop, in pixels: more than models that look at crops take.
const CROP_SIDE_MAX: u32 = 512;

/// Access units that are handed on may be as large as those of such a picture, 1 MB, whatever the
/// size at which it is looked at.
const PASSED_SIZE_MIN: PixelSize = PixelSize {
    width: 1920,
    height: 1080,
};

/// The workers of a run, not yet started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Each worker, and what it is told.
    pub workers: Vec<PlannedWorker>,
    /// Who takes from whom.
    pub topology: Topology,
    /// All books.
    pub books: Vec<BookId>,
    /// Shared memory in the worst case.
    pub shared_memory_bytes: u64,
    /// Where the gateway listens, by protocol.
    pub served: BTreeMap<Protocol, SocketAddr>,
}

/// One worker of a plan.
#[derive(Debug, Clone)]
pub struct PlannedWorker {
    /// Who it is.
    pub worker: WorkerId,
    /// What it does.
    pub role: Role,
}

impl PlannedWorker {
    /// What the process is told.
    #[must_use]
    pub fn spec(
        &self,
        run: &RunId,
        incarnation: u32,
        bus: &BusSpec,
        directory: &Path,
    ) -> WorkerSpec {
        WorkerSpec {
            worker: self.worker.clone(),
            run: run.clone(),
            incarnation,
            bus: bus.clone(),
            directory: directory.to_owned(),
            role: self.role.clone(),
        }
    }
}

impl Plan {
    /// Plans the workers of `config`, with their books in `books`. `cpus` bounds the sessions
    /// of a model that leaves their number open.
    #[must_use]
    pub fn new(config: &RunConfig, books: &Path, cpus: usize) -> Self {
        let planner = Planner {
            config,
            books,
            cpus,
        };
        let mut workers = Vec::new();
        let mut shared_memory_bytes = 0;
        for name in config.models.keys() {
            workers.extend(planner.infer(name));
        }
        for (name, stream) in &config.streams {
            workers.push(planner.render(name, stream));
            shared_memory_bytes += planner.bytes(name, stream);
        }
        let gateway = planner.gateway();
        workers.extend(gateway);
        for (name, stream) in &config.streams {
            workers.push(planner.ingest(name, stream));
        }
        Self {
            workers,
            topology: planner.topology(),
            books: planner.book_ids(),
            shared_memory_bytes,
            served: planner.served(),
        }
    }

    /// Who the workers are, in the order in which they are started.
    #[must_use]
    pub fn worker_ids(&self) -> Vec<WorkerId> {
        let workers = self.workers.iter();
        workers.map(|planned| planned.worker.clone()).collect()
    }

    /// What a worker is told, if there is one of this name.
    #[must_use]
    pub fn role(&self, worker: &WorkerId) -> Option<&Role> {
        let mut workers = self.workers.iter();
        let planned = workers.find(|planned| planned.worker == *worker)?;
        Some(&planned.role)
    }

    /// Checks that the ports of the gateway are free, but for those that it holds by the plan
    /// `before`.
    ///
    /// # Errors
    /// [`PortError`] naming the port and, where the kernel tells, who holds it.
    pub fn check_ports(&self, before: Option<&Self>) -> Result<(), PortError> {
        let held = |protocol| before.is_some_and(|before| before.served.contains_key(protocol));
        for (protocol, address) in &self.served {
            if held(protocol) {
                continue;
            }
            let (protocol, address) = (*protocol, *address);
            ports::check(protocol, address)?;
        }
        Ok(())
    }
}

struct Planner<'a> {
    config: &'a RunConfig,
    books: &'a Path,
    cpus: usize,
}

impl Planner<'_> {
    fn ingest(&self, name: &StreamName, stream: &StreamConfig) -> PlannedWorker {
        let infer = stream.infer.iter().cloned().map(WorkerId::Infer);
        let consumers = infer.chain([WorkerId::Render(name.clone())]).collect();
        let spec = IngestSpec {
            stream: name.clone(),
            source: stream.source.spec(stream.size, |member| {
                self.book(member, Part::Mosaic(name.clone()))
            }),
            retry: stream.retry.spec(),
            no_frame_timeout_ms: millis(stream.no_frame_timeout),
            on_demand: stream.on_demand.map(|linger| OnDemandSpec {
                linger_ms: millis(linger),
            }),
            motion: stream.motion.spec(),
            hardware_decoder: stream.hardware_decoder,
            passthrough: self.passthrough(name, stream),
            frames: self.frames(name, stream),
            consumers,
            book: self.book(name, Part::Ingest),
        };
        PlannedWorker {
            worker: WorkerId::Ingest(name.clone()),
            role: Role::Ingest(spec),
        }
    }

    /// The worker of a model; `None` when no stream, no cascade and no rule uses it.
    fn infer(&self, name: &ModelName) -> Option<PlannedWorker> {
        let model = self.config.models.get(name)?;
        let streams = || self.config.streams.iter();
        let looks_at = |stream: &StreamConfig| stream.infer.contains(name);
        let is_asked_by = |stream: &StreamConfig| crop_models(stream).contains(name);
        let frames = streams()
            .filter(|(_, stream)| looks_at(stream))
            .map(|(stream_name, stream)| self.frames_lane(stream_name, stream, name));
        let crops = streams()
            .filter(|(_, stream)| is_asked_by(stream))
            .map(|(stream_name, stream)| self.crops_lane(stream_name, stream, name));
        let streams: Vec<_> = frames.chain(crops).collect();
        if streams.is_empty() {
            return None;
        }
        let spec = InferSpec {
            model: name.clone(),
            file: model.file.clone(),
            family: model.family,
            input: model.input,
            labels: model.labels.clone(),
            score_min: model.score.get(),
            nms_iou: model.nms.get(),
            sessions: model.sessions,
            batch: model.batch,
            backend: model.backend_spec(self.config.engine_cache.clone()),
            library: self.config.onnxruntime.clone(),
            streams,
            standby: false,
        };
        Some(PlannedWorker {
            worker: WorkerId::Infer(name.clone()),
            role: Role::Infer(spec),
        })
    }

    /// How a model looks at the frames of a stream.
    fn frames_lane(
        &self,
        name: &StreamName,
        stream: &StreamConfig,
        model: &ModelName,
    ) -> InferStreamSpec {
        InferStreamSpec {
            frames: self.frames(name, stream),
            rules: gates_of(stream, model),
            labels: stream.labels.clone(),
            feedback: self.book(name, Part::Render),
            max_staleness_ms: millis(stream.queue.max_staleness),
            priority: stream.priority,
            consumer: WorkerId::Render(name.clone()),
            book: self.book(name, Part::Infer(model.clone())),
        }
    }

    /// How a model looks at what is cut out of a stream for it. Rules and cascades are the gate of
    /// its crops, and an answer that its stream does not wait for is not worth a run.
    fn crops_lane(
        &self,
        name: &StreamName,
        stream: &StreamConfig,
        model: &ModelName,
    ) -> InferStreamSpec {
        InferStreamSpec {
            frames: crops(name, stream, model),
            rules: None,
            max_staleness_ms: millis(stream.queue.max_latency),
            book: self.book(name, Part::InferCrops(model.clone())),
            ..self.frames_lane(name, stream, model)
        }
    }

    /// Without a depth model there is no map to make room for.
    fn overlay(&self, stream: &StreamConfig) -> OverlaySpec {
        let mut overlay = stream.overlay.clone();
        let families = stream
            .infer
            .iter()
            .filter_map(|name| self.config.models.get(name));
        if !families
            .map(|model| model.family.finds())
            .any(|finds| finds == Finds::Depth)
        {
            overlay.depth = DepthView::Off;
        }
        overlay
    }

    fn model_labels(&self, name: &ModelName) -> Vec<String> {
        let model = self.config.models.get(name);
        model.map(|model| model.labels.clone()).unwrap_or_default()
    }

    fn render(&self, name: &StreamName, stream: &StreamConfig) -> PlannedWorker {
        let model = |model: &ModelName| RenderModelSpec {
            model: model.clone(),
            labels: self.model_labels(model),
        };
        let embeds = |model: &ModelName| {
            let known = self.config.models.get(model);
            known.is_some_and(|model| model.family.finds() == Finds::Embedding)
        };
        let asked = |model: ModelName| RenderCropsSpec {
            upright_faces: embeds(&model),
            labels: self.model_labels(&model),
            frames: crops(name, stream, &model),
            unanswered_max: CROPS_UNANSWERED_MAX,
            book: self.book(name, Part::Crops(model.clone())),
            model,
        };
        let rules = stream.rules.as_ref();
        let spec = RenderSpec {
            frames: self.frames(name, stream),
            models: stream.infer.iter().map(model).collect(),
            crops: crop_models(stream).into_iter().map(asked).collect(),
            cascades: stream.cascades.iter().map(CascadeConfig::spec).collect(),
            max_latency_ms: millis(stream.queue.max_latency),
            tracker: stream.tracker.spec(),
            best_shots: stream.best_shots.as_ref().map(BestShotsConfig::spec),
            privacy: stream.privacy.as_ref().map(PrivacyConfig::spec),
            rules: rules.map(|rules| rules.source.clone()),
            labels: stream.labels.clone(),
            overlay: self.overlay(stream),
            captions: captions(stream),
            tiles: self.tiles(name),
            encode: stream.encode.as_ref().map(|encode| encode.spec()),
            passthrough: self.passthrough(name, stream),
            record: stream.outputs.record.as_ref().map(RecordConfig::spec),
            restream: stream.outputs.is_streamed(),
            store_detections: stream.store_detections,
            book: self.book(name, Part::Render),
        };
        PlannedWorker {
            worker: WorkerId::Render(name.clone()),
            role: Role::Render(spec),
        }
    }

    /// The mosaics that a stream is in, and what they want of it.
    fn tiles(&self, name: &StreamName) -> Vec<TileSpec> {
        let tile = |(mosaic, stream): (&StreamName, &StreamConfig)| {
            let config = stream.source.mosaic()?;
            config.members.contains(name).then_some(())?;
            Some(TileSpec {
                mosaic: mosaic.clone(),
                size: config.grid(stream.size)?.tile(),
                fps: config.fps,
                book: self.book(name, Part::Tiles(mosaic.clone())),
            })
        };
        self.config.streams.iter().filter_map(tile).collect()
    }

    /// Whether access units of the source are handed on as they are, and of what size they may be:
    /// cameras are not asked how large their pictures are.
    fn passthrough(&self, name: &StreamName, stream: &StreamConfig) -> Option<PassthroughSpec> {
        let is_looked_at = !stream.infer.is_empty() || stream.rules.is_some();
        stream.passthrough.then(|| PassthroughSpec {
            size: PixelSize {
                width: stream.size.width.max(PASSED_SIZE_MIN.width),
                height: stream.size.height.max(PASSED_SIZE_MIN.height),
            },
            decoded: is_looked_at || !self.tiles(name).is_empty(),
        })
    }

    fn gateway(&self) -> Option<PlannedWorker> {
        let streams = self.config.streams.iter();
        let served = streams.filter(|(_, stream)| stream.outputs.is_streamed());
        let streams: Vec<_> = served
            .map(|(name, stream)| GatewayStreamSpec {
                stream: name.clone(),
                size: stream.size,
                paths: paths(stream),
                qualities: heights(stream),
                pushes: stream.outputs.pushes.clone(),
                book: self.book(name, Part::Gateway),
            })
            .collect();
        let published = self.config.streams.iter();
        let published = published.filter_map(|(name, stream)| match &stream.source {
            SourceConfig::Publish(path) => Some((name, path, &stream.accepted_by)),
            _ => None,
        });
        let intakes: Vec<_> = published
            .map(|(name, path, accepted_by)| IntakeSpec {
                stream: name.clone(),
                path: path.to_string(),
                accepted_by: accepted_by.clone(),
                book: self.book(name, Part::Intake),
            })
            .collect();
        let accept = self.config.accept.iter().map(|rule| AcceptSpec {
            prefix: rule.prefix.clone(),
            max: rule.max,
        });
        let accept: Vec<_> = accept.collect();
        if streams.is_empty() && intakes.is_empty() && accept.is_empty() {
            return None;
        }
        let spec = GatewaySpec {
            address: self.config.gateway.address.to_string(),
            ports: self.config.gateway.ports.clone(),
            webrtc_hosts: self.config.gateway.webrtc_hosts.clone(),
            srt_passphrase: self.config.gateway.srt_passphrase.clone(),
            publish: self.config.gateway.publish.clone(),
            publish_token: self.config.gateway.publish_token.clone(),
            streams,
            intakes,
            accept,
        };
        Some(PlannedWorker {
            worker: WorkerId::Gateway,
            role: Role::Gateway(spec),
        })
    }

    /// Where the gateway listens.
    fn served(&self) -> BTreeMap<Protocol, SocketAddr> {
        let gateway = &self.config.gateway;
        let mut streams = self.config.streams.values();
        let used = streams
            .clone()
            .flat_map(|stream| stream.outputs.served.keys());
        let takes =
            !self.config.accept.is_empty() || streams.any(|stream| stream.source.is_published());
        let published = gateway.publish.iter().filter(|_| takes);
        let address = |protocol: &Protocol| {
            let port = gateway.ports.get(protocol).copied();
            let port = port.unwrap_or_else(|| protocol.usual_port());
            (*protocol, SocketAddr::new(gateway.address, port))
        };
        used.chain(published).map(address).collect()
    }

    fn topology(&self) -> Topology {
        let uses = |(name, stream): (&StreamName, &StreamConfig)| {
            let uses = Uses {
                frames: stream.infer.clone(),
                crops: crop_models(stream),
                tiles: members(stream).to_vec(),
            };
            (name.clone(), uses)
        };
        Topology {
            streams: self.config.streams.iter().map(uses).collect(),
        }
    }

    fn frames(&self, name: &StreamName, stream: &StreamConfig) -> FrameServiceSpec {
        let consumers = u32::try_from(stream.infer.len()).unwrap_or(u32::MAX);
        FrameServiceSpec {
            stream: name.clone(),
            crops: None,
            size: stream.size,
            policy: stream.queue.policy,
            depth: stream.queue.depth,
            consumers_max: consumers.saturating_add(1),
            held_max: self.held_max(stream),
            memory: stream.memory,
        }
    }

    /// Frames a consumer may hold: a render worker those that come while it waits for
    /// results, an infer worker one for each session and one to come. Batches change nothing here,
    /// so that they can change live: they are of many streams, and where one may drop nothing, of
    /// as many of its frames as these.
    fn held_max(&self, stream: &StreamConfig) -> u32 {
        let awaited = (stream.queue.max_latency.as_millis() * FPS_RECKONED).div_ceil(1000) + 2;
        let sessions_of = |name: &ModelName| {
            let model = self.config.models.get(name);
            model.and_then(|model| model.sessions)
        };
        let cpus = u32::try_from(self.cpus).unwrap_or(u32::MAX);
        let sessions = stream
            .infer
            .iter()
            .map(|name| sessions_of(name).unwrap_or(cpus));
        let in_sessions = u128::from(sessions.max().unwrap_or(0)) + 1;
        let held = awaited.max(in_sessions).clamp(HELD_MIN, HELD_MAX);
        u32::try_from(held).unwrap_or(u32::MAX)
    }

    fn bytes(&self, name: &StreamName, stream: &StreamConfig) -> u64 {
        let passed = self.passthrough(name, stream);
        let is_decoded = passed.is_none_or(|passed| passed.decoded);
        // Slots that no frame is written to take no memory.
        let frames = is_decoded.then(|| budget::frame_bytes(&self.frames(name, stream)));
        let frames = frames.unwrap_or(0);
        let result = |model: &ModelName| {
            let known = self.config.models.get(model);
            budget::result_bytes(known.map_or(Finds::Objects, |model| model.family.finds()))
        };
        let results: u64 = stream.infer.iter().map(result).sum();
        let asked = crop_models(stream);
        let asked = asked
            .iter()
            .map(|model| budget::frame_bytes(&crops(name, stream, model)) + result(model));
        let asked: u64 = asked.sum();
        let packet_size = passed.map_or(stream.size, |passed| passed.size);
        let packets = if stream.outputs.is_streamed() {
            budget::packet_bytes(packet_size, 1 + heights(stream).len())
        } else {
            0
        };
        let source = passed.map_or(0, |passed| budget::packet_bytes(passed.size, 1));
        let chunks = if stream.source.is_published() {
            budget::chunk_bytes()
        } else {
            0
        };
        let tiles = self.tiles(name);
        let tiles: u64 = tiles.iter().map(|tile| budget::tile_bytes(tile.size)).sum();
        frames + results + asked + packets + source + chunks + tiles
    }

    fn book_ids(&self) -> Vec<BookId> {
        let of_stream = |(name, stream): (&StreamName, &StreamConfig)| {
            let mut parts = vec![Part::Ingest];
            parts.extend(stream.infer.iter().cloned().map(Part::Infer));
            for model in crop_models(stream) {
                parts.extend([Part::Crops(model.clone()), Part::InferCrops(model)]);
            }
            parts.push(Part::Render);
            parts.extend((stream.outputs.is_streamed()).then_some(Part::Gateway));
            parts.extend(stream.source.is_published().then_some(Part::Intake));
            for tile in self.tiles(name) {
                parts.extend([Part::Tiles(tile.mosaic.clone()), Part::Mosaic(tile.mosaic)]);
            }
            let stream = name.clone();
            parts.into_iter().map(move |part| BookId {
                stream: stream.clone(),
                part,
            })
        };
        self.config.streams.iter().flat_map(of_stream).collect()
    }

    fn book(&self, stream: &StreamName, part: Part) -> PathBuf {
        let id = BookId {
            stream: stream.clone(),
            part,
        };
        self.books.join(id.file_name())
    }
}

/// The paths of a stream, as the gateway is told.
fn paths(stream: &StreamConfig) -> BTreeMap<Protocol, String> {
    let served = stream.outputs.served.iter();
    served
        .map(|(protocol, mount)| (*protocol, mount.to_string()))
        .collect()
}

/// The streams that are in it, where it is a mosaic.
fn members(stream: &StreamConfig) -> &[StreamName] {
    let mosaic = stream.source.mosaic();
    mosaic.map_or(&[], |mosaic| &mosaic.members)
}

/// Their names in the picture.
fn captions(stream: &StreamConfig) -> Vec<CaptionSpec> {
    let mosaic = stream.source.mosaic();
    mosaic.map_or_else(Vec::new, |mosaic| mosaic.captions(stream.size))
}

/// The heights of its smaller encodes.
fn heights(stream: &StreamConfig) -> Vec<u32> {
    let qualities = stream.encode.iter().flat_map(|encode| &encode.qualities);
    qualities.map(|quality| quality.height).collect()
}

/// The rule file of a stream, if there is a gate for this model in it.
fn gates_of(stream: &StreamConfig, model: &ModelName) -> Option<RuleSource> {
    let rules = stream.rules.as_ref()?;
    let has_gate = rules.file.gates.contains_key(model.as_str());
    has_gate.then(|| rules.source.clone())
}

/// What is cut out of a stream for a model. Nothing displaces a crop or waits for its
/// place: there is one for each that may be unanswered.
fn crops(name: &StreamName, stream: &StreamConfig, model: &ModelName) -> FrameServiceSpec {
    FrameServiceSpec {
        stream: name.clone(),
        crops: Some(model.clone()),
        size: PixelSize {
            width: stream.size.width.min(CROP_SIDE_MAX),
            height: stream.size.height.min(CROP_SIDE_MAX),
        },
        policy: QueuePolicy::DropLatest,
        depth: CROPS_UNANSWERED_MAX,
        consumers_max: 1,
        held_max: CROPS_HELD_MAX,
        memory: FrameMemory::Host,
    }
}

/// The models that the rules and cascades of a stream run on what is found in it, none twice.
fn crop_models(stream: &StreamConfig) -> Vec<ModelName> {
    let rules = stream.rules.iter();
    // The rule file was checked against the names of the run's models.
    let named = rules.flat_map(|rules| rules.models().filter_map(|name| name.parse().ok()));
    let cascades = stream.cascades.iter().map(|cascade| cascade.model.clone());
    let mut models: Vec<ModelName> = named.chain(cascades).collect();
    models.sort();
    models.dedup();
    models
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
