//! Sluice as a whole: the real programs, on real clips, killed and fed junk for real.

mod best_shots;
mod cameras;
mod cascade;
mod cascades;
mod device;
mod faults;
mod junk;
mod kills;
mod maps;
mod matrix;
mod models;
mod mosaic;
mod overload;
mod passthrough;
mod privacy;
mod publish;
mod qualities;
mod recordings;
mod reload;
mod rules_on_clip;
mod site;
mod viewers;
mod whole_job;
