//! How a worker fails.

use contract::exit::WorkerExit;

/// Why a worker ends before its time; the supervisor decides by its kind what comes next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: WorkerExit,
    message: String,
}

impl Failure {
    /// The spec can never work; the worker is not started again.
    #[must_use]
    pub fn bad_config(message: impl Into<String>) -> Self {
        Self::new(WorkerExit::BadConfig, message)
    }

    /// The source is gone for good; the worker is not started again.
    #[must_use]
    pub fn source_gone(message: impl Into<String>) -> Self {
        Self::new(WorkerExit::SourceGone, message)
    }

    /// It may work next time; the worker is started again.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(WorkerExit::Failed, message)
    }

    fn new(exit: WorkerExit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The code to exit with.
    #[must_use]
    pub fn exit(&self) -> WorkerExit {
        self.exit
    }
}
