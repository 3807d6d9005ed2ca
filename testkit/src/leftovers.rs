//! What a run must not leave behind: shared memory, sockets, processes.

use std::fs;
use std::path::Path;

use crate::process;

/// Files in `/dev/shm` whose names begin with `prefix`.
///
/// # Panics
/// When `/dev/shm` cannot be read, because then nothing could be said.
#[must_use]
pub fn shared_memory(prefix: &str) -> Vec<String> {
    let mut names = names_in(Path::new("/dev/shm")).expect("/dev/shm can be read");
    names.retain(|name| name.starts_with(prefix));
    names
}

/// Everything below a directory that is not itself a directory; nothing when there is none.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in names_in(directory).unwrap_or_default() {
        let path = directory.join(&name);
        if path.is_dir() && !path.is_symlink() {
            let below = files_below(&path);
            found.extend(below.into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found
}

/// Processes whose command line holds `text` (a directory of the run, say), zombies included.
#[must_use]
pub fn processes(text: &str) -> Vec<process::ProcessInfo> {
    let mut found = process::all();
    found.retain(|process| {
        process.pid != std::process::id()
            && (process.program.contains(text)
                || process.arguments.iter().any(|word| word.contains(text)))
    });
    found
}

/// Processes of these ids that still run. A zombie does not: whose parent has died is left to
/// the machine's first process, which may take its time.
#[must_use]
pub fn alive(pids: &[u32]) -> Vec<process::ProcessInfo> {
    pids.iter()
        .filter_map(|pid| process::inspect(*pid))
        .filter(|process| process.state != 'Z')
        .collect()
}

fn names_in(directory: &Path) -> Option<Vec<String>> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_about_is_found() {
        let prefix = format!("testkit_{}_", std::process::id());
        assert_eq!(shared_memory(&prefix), Vec::<String>::new());
        let file = Path::new("/dev/shm").join(format!("{prefix}x"));
        fs::write(&file, b"x").unwrap();
        let found = shared_memory(&prefix);
        fs::remove_file(&file).unwrap();
        assert_eq!(found, [format!("{prefix}x")]);

        let directory = std::env::temp_dir().join(format!("{prefix}d"));
        fs::create_dir_all(directory.join("a/b")).unwrap();
        assert_eq!(files_below(&directory), Vec::<String>::new());
        fs::write(directory.join("a/b/c"), b"x").unwrap();
        let found = files_below(&directory);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(found, ["a/b/c"]);
        assert_eq!(files_below(&directory), Vec::<String>::new());
    }
}
