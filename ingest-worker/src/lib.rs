//! The ingest worker: connects to one source, decodes it, measures motion, and
//! publishes its frames.
//!
//! It is the only process that parses a stranger's bytes. It keeps nothing worth
//! saving: the frame counters live in its book, event time in the clock or the
//! file, and a new process goes on where a dead one was.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ingest`] | the worker's life and main loop |
//! | [`session`] | when a source is opened, tried again and given up: pure |
//! | [`pipeline`] | one session with a source: a `GStreamer` pipeline |
//! | `sources`, `conversion` | what such a pipeline is made of |
//! | [`fault`] | why a session broke, in words |
//! | `description` | what is known of a source, in words |
//! | `diagnosis` | why a server cannot be connected to |
//! | [`decoder`] | which decoder is used, in hardware or software |
//! | [`frame`] | the one copy from the decoder to the bus |
//! | [`motion`] | how much of a picture moved: pure |
//! | `nature` | what tells one source from another for the main loop |
//! | [`transport`] | TCP or UDP, for a camera that takes only one: pure |
//! | [`timeline`] | strictly increasing event time: pure |
//! | [`output`] | the bus and the book |
//! | [`passthrough`] | the source's own access units, undecoded |
//! | [`ports`] | what goes between this worker and others beside frames |
//! | [`reconfigure`] | what of a spec can change while frames flow: pure |
//! | `canvas` | the picture of a mosaic: pure |
//! | `reference` | when a picture was captured that was not captured here |
//! | [`location`] | addresses without their passwords |

mod canvas;
mod conversion;
pub mod decoder;
mod description;
mod diagnosis;
pub mod fault;
pub mod frame;
pub mod ingest;
pub mod location;
mod logging;
pub mod motion;
mod nature;
pub mod output;
pub mod passthrough;
pub mod pipeline;
pub mod ports;
pub mod reconfigure;
mod reference;
pub mod session;
mod sources;
pub mod timeline;
pub mod transport;

pub use ingest::run;
