//! Exit codes, the same for people, scripts and the supervisor's restart logic.

/// How `sluice` ends. Documented in the README and by `sluice --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Success = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line is wrong (the code `clap` uses).
    Usage = 2,
    /// A run config or rule file is wrong; nothing was started.
    Config = 3,
    /// A source cannot be had: no such file, not a video, refused, given up.
    Source = 4,
    /// A model cannot be had: missing, corrupt, or of another shape than its family.
    Model = 5,
    /// The machine lacks something: shared memory, a port, a library, a writable directory.
    Environment = 6,
    /// The run ended, but its frame books do not balance: a defect of Sluice.
    Unbalanced = 7,
    /// The run ended with a worker in quarantine.
    Quarantined = 8,
    /// There is no such run, event or stream in the database.
    NotFound = 9,
}

impl Exit {
    /// The number given to the shell.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// How a worker ends; the supervisor decides by it whether to start it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum WorkerExit {
    /// Drained: all that was received has been accounted for.
    Drained = 0,
    /// It failed in a way that may pass; it is started again.
    Failed = 1,
    /// Its spec can never work (no such model file, wrong shape, unknown codec); not retried.
    BadConfig = 64,
    /// The source refused or ended for good after all retries; not retried.
    SourceGone = 65,
    /// The supervisor is gone.
    Orphaned = 66,
}

impl WorkerExit {
    /// The number given to the supervisor.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The meaning of an exit code; any other number reads as [`WorkerExit::Failed`].
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            0 => Self::Drained,
            64 => Self::BadConfig,
            65 => Self::SourceGone,
            66 => Self::Orphaned,
            _ => Self::Failed,
        }
    }
}
