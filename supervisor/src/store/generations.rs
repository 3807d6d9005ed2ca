//! The texts that a run was given: who asked, what was done, what is in force.

use rusqlite::{Connection, params};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Who gave a run its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedBy {
    /// The run began with it.
    Start,
    /// A file was saved.
    File,
    /// SIGHUP.
    Signal,
    /// `sluice reload`.
    Command,
    /// A sender that was accepted has come, or has been gone for long enough.
    Sender,
}

impl AskedBy {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Command => "command",
            Self::Sender => "sender",
        }
    }
}

/// What became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is in force.
    Applied,
    /// It says what was in force already.
    Unchanged,
    /// It is wrong, or cannot be applied while the run lives: nothing was changed.
    Refused,
    /// A worker did not take it.
    Failed,
}

impl Outcome {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// What a file of a run says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GenerationFileKind {
    /// The run config.
    Config,
    /// Rules.
    Rules,
    /// Class names of a model.
    Labels,
}

impl GenerationFileKind {
    /// In one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Rules => "rules",
            Self::Labels => "labels",
        }
    }
}

/// One file of a text. Files of secrets are none of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationFile {
    /// Its path, as shown in messages.
    pub path: String,
    /// What it says.
    pub kind: GenerationFileKind,
    /// Its text, passwords replaced by `***`.
    pub text: String,
}

/// One text of a run, as it was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerationRow {
    /// Its number.
    pub generation: u64,
    /// `start`, `file`, `signal`, `command`.
    pub asked_by: String,
    /// When it was read.
    pub wall_ms: i64,
    /// When it was in force; `None` when it never was.
    pub applied_wall_ms: Option<i64>,
    /// `pending`, `applied`, `unchanged`, `refused`, `failed`.
    pub outcome: String,
    /// What was to be done.
    pub plan: Vec<String>,
    /// What the workers said.
    pub notes: Vec<String>,
    /// What is wrong with it.
    pub diagnostics: Vec<String>,
}

/// One file of a text, as it was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerationFileRow {
    /// Its path.
    pub path: String,
    /// `config`, `rules` or `labels`.
    pub kind: String,
    /// Its text, without passwords.
    pub text: String,
    /// SHA-256 of that text, hex.
    pub hash: String,
}

/// A text that was read. Each has a number of its own, also one that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationBegun {
    /// Its number.
    pub generation: u64,
    /// Who asked.
    pub asked_by: AskedBy,
    /// When it was read.
    pub wall_ms: i64,
    /// Its files, as far as they could be read.
    pub files: Vec<GenerationFile>,
    /// What is to be done, a line each.
    pub plan: Vec<String>,
}

impl GenerationBegun {
    pub(super) fn write(&self, connection: &Connection, run: &str) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO generations (run, generation, asked_by, wall_ms, outcome, plan)
                 VALUES (?1, ?2, ?3, ?4, 'pending', ?5)",
            )?
            .execute(params![
                run,
                self.generation,
                self.asked_by.as_str(),
                self.wall_ms,
                self.plan.join("\n"),
            ])?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO generation_files (run, generation, path, kind, text, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (run, generation, path) DO NOTHING",
        )?;
        for file in &self.files {
            insert.execute(params![
                run,
                self.generation,
                file.path,
                file.kind.as_str(),
                file.text,
                sha256_hex(&file.text),
            ])?;
        }
        Ok(())
    }
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationDone {
    /// Its number.
    pub generation: u64,
    /// When.
    pub wall_ms: i64,
    /// What.
    pub outcome: Outcome,
    /// What the workers said, a line each.
    pub notes: Vec<String>,
    /// What is wrong with it, a line each; the first is shown beside the run.
    pub diagnostics: Vec<String>,
}

impl GenerationDone {
    /// Closes the text's row; tells the run what is in force and whether its last text was good.
    pub(super) fn write(&self, connection: &Connection, run: &str) -> rusqlite::Result<()> {
        let is_applied = self.outcome == Outcome::Applied;
        connection
            .prepare_cached(
                "UPDATE generations SET outcome = ?3, applied_wall_ms = ?4, notes = ?5, diagnostics = ?6
                 WHERE run = ?1 AND generation = ?2",
            )?
            .execute(params![
                run,
                self.generation,
                self.outcome.as_str(),
                is_applied.then_some(self.wall_ms),
                self.notes.join("\n"),
                self.diagnostics.join("\n"),
            ])?;
        let reload_error = match self.outcome {
            Outcome::Applied | Outcome::Unchanged => None,
            Outcome::Refused | Outcome::Failed => {
                let first = self.diagnostics.first();
                Some(first.map_or(self.outcome.as_str(), String::as_str))
            }
        };
        connection
            .prepare_cached(
                "UPDATE runs SET generation = coalesce(?2, generation), reload_error = ?3
                 WHERE id = ?1",
            )?
            .execute(params![
                run,
                is_applied.then_some(self.generation),
                reload_error
            ])
            .map(drop)
    }
}

pub(super) fn read_all(connection: &Connection, run: &str) -> rusqlite::Result<Vec<GenerationRow>> {
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    let mut statement = connection.prepare(
        "SELECT generation, asked_by, wall_ms, applied_wall_ms, outcome, plan, notes, diagnostics
         FROM generations WHERE run = ?1 ORDER BY generation",
    )?;
    let rows = statement.query_map([run], |row| {
        Ok(GenerationRow {
            generation: row.get(0)?,
            asked_by: row.get(1)?,
            wall_ms: row.get(2)?,
            applied_wall_ms: row.get(3)?,
            outcome: row.get(4)?,
            plan: lines(row.get(5)?),
            notes: lines(row.get(6)?),
            diagnostics: lines(row.get(7)?),
        })
    })?;
    rows.collect()
}

pub(super) fn read_files(
    connection: &Connection,
    run: &str,
    generation: u64,
) -> rusqlite::Result<Vec<GenerationFileRow>> {
    let mut statement = connection.prepare(
        "SELECT path, kind, text, hash FROM generation_files
         WHERE run = ?1 AND generation = ?2 ORDER BY kind, path",
    )?;
    let rows = statement.query_map(params![run, generation], |row| {
        Ok(GenerationFileRow {
            path: row.get(0)?,
            kind: row.get(1)?,
            text: row.get(2)?,
            hash: row.get(3)?,
        })
    })?;
    rows.collect()
}

fn sha256_hex(text: &str) -> String {
    use std::fmt::Write;

    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text) {
        write!(hex, "{byte:02x}").expect("a string takes everything");
    }
    hex
}
