//! Starting a worker.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::child::Child;

/// What is started, and within what limits.
#[derive(Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// All of the worker's environment: nothing is inherited, since the supervisor's own may
    /// hold passwords that a config names.
    pub environment: Vec<(String, String)>,
    /// Becomes the worker's standard input: its control channel.
    pub control: OwnedFd,
    /// Where standard error goes; standard output goes nowhere.
    pub log: File,
    /// Resource limits.
    pub limits: Limits,
}

/// Resource limits of a worker.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most open descriptors.
    pub open_files: u64,
    /// Most bytes of a core dump; 0 for none, since pictures of people would be in it.
    pub core_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_files: 4096,
            core_bytes: 0,
        }
    }
}

/// Starts a worker in a process group of its own, so that a Ctrl-C at the terminal reaches
/// only the supervisor. It gets SIGTERM when this thread ends, and no new privileges.
///
/// # Errors
/// When the program cannot be started.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the spawner's one way to start a child"
)]
#[expect(unsafe_code, reason = "code between fork and exec")]
pub fn spawn(launch: Launch) -> io::Result<Child> {
    let supervisor = Pid::this();
    let limits = launch.limits;
    let mut command = Command::new(&launch.program);
    command
        .env_clear()
        .envs(launch.environment)
        .stdin(Stdio::from(launch.control))
        .stdout(Stdio::null())
        .stderr(Stdio::from(launch.log))
        .process_group(0);
    // SAFETY: between fork and exec only system calls are made: prctl, getppid and setrlimit.
    // They allocate nothing and take no lock; the closure owns copies of plain numbers.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGTERM)?;
            if getppid() != supervisor {
                // The supervisor died before the death signal was set.
                return Err(io::Error::from(nix::errno::Errno::ESRCH));
            }
            prctl::set_no_new_privs()?;
            limit(Resource::RLIMIT_CORE, limits.core_bytes)?;
            limit(Resource::RLIMIT_NOFILE, limits.open_files)
        });
    }
    Child::new(command.spawn()?)
}

/// Lowers a limit; one that is lower already stays.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    let value = most.min(hard);
    setrlimit(resource, value, value)?;
    Ok(())
}
