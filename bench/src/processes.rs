//! What the processes of a run take, as the kernel says in `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Clock ticks a second of the times in `/proc`: fixed for user space on Linux.
const TICKS_PER_SECOND: u64 = 100;

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The file name of its program.
    pub(crate) program: String,
    /// Processor time since its start.
    pub(crate) cpu: Duration,
    /// Its proportional set size: what it shares with others counts in parts. Bytes.
    pub(crate) memory: u64,
}

/// A process and its children. One that ends meanwhile is left out.
///
/// # Errors
/// When the process itself is gone.
pub(crate) fn family(pid: u32) -> anyhow::Result<Vec<Taken>> {
    let mut members = vec![taken(pid).context("the run has ended")?];
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        let pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        members.extend(pids.filter_map(taken));
    }
    Ok(members)
}

/// Of all that run one of these programs.
pub(crate) fn memory_of(members: &[Taken], programs: &[&str]) -> u64 {
    let of_them = |member: &&Taken| programs.contains(&member.program.as_str());
    members
        .iter()
        .filter(of_them)
        .map(|member| member.memory)
        .sum()
}

/// Of all that run this program.
pub(crate) fn cpu_of(members: &[Taken], program: &str) -> Duration {
    let of_it = |member: &&Taken| member.program == program;
    members.iter().filter(of_it).map(|member| member.cpu).sum()
}

fn taken(pid: u32) -> Option<Taken> {
    let process = Path::new("/proc").join(pid.to_string());
    let program = fs::read_link(process.join("exe")).ok()?;
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in brackets, may hold anything. Fields 14 and 15 of proc(5), the state is 3.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let rollup = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let memory = rollup.lines().find_map(|line| {
        let kibibytes = line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?;
        kibibytes.trim().parse::<u64>().ok()
    })?;
    Some(Taken {
        program: program.file_name()?.to_string_lossy().into_owned(),
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        memory: memory * 1024,
    })
}
