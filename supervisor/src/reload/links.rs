//! What a file hangs on: the directory entries that, when they change, may change its text.
//!
//! Editors write in place, or write another file and rename it over the old one;
//! Kubernetes swaps a symbolic link two directories up. Watching a file itself
//! misses most of that (the watch stays with the old inode), so what is watched
//! is the directory of each entry on the way to the text.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links on the way to a file, as the kernel has it.
const LINKS_MAX: usize = 40;

/// Entries by their directory.
pub(super) type Entries = BTreeMap<PathBuf, BTreeSet<OsString>>;

/// The entries that `paths`, which are absolute, hang on.
pub(super) fn entries<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Entries {
    let mut entries = Entries::new();
    for path in paths {
        follow(path, &mut entries);
    }
    entries
}

/// Walks to a file and notes each link on the way, the file itself, and its directory: that
/// may be replaced as a whole.
fn follow(path: &Path, entries: &mut Entries) {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match next_link(&path, entries) {
            Some(target) => path = target,
            None => return,
        }
    }
}

/// The path with its first link replaced; `None` when there is none left.
fn next_link(path: &Path, entries: &mut Entries) -> Option<PathBuf> {
    let mut walked = PathBuf::new();
    let parts: Vec<Component<'_>> = path.components().collect();
    for (index, part) in parts.iter().enumerate() {
        let name = match part {
            Component::Normal(name) => name,
            Component::ParentDir => {
                walked.pop();
                continue;
            }
            other => {
                walked.push(other);
                continue;
            }
        };
        let directory = walked.clone();
        let mut note = || {
            let names = entries.entry(directory.clone()).or_default();
            names.insert((*name).to_owned());
        };
        walked.push(name);
        // The last but one is the file's directory.
        if index + 2 >= parts.len() {
            note();
        }
        match walked.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                note();
                let target = walked.read_link().ok()?;
                let rest: PathBuf = parts[index + 1..].iter().collect();
                return Some(directory.join(target).join(rest));
            }
            Ok(_) => {}
            // Whatever comes here later is on the way.
            Err(_) => {
                note();
                return None;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn found(root: &Path, path: &Path) -> Vec<String> {
        let inside = |(directory, names): (PathBuf, BTreeSet<OsString>)| {
            let directory = directory.strip_prefix(root).ok()?.display().to_string();
            let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
            Some(format!("{directory}: {}", names.join(" ")))
        };
        entries([path]).into_iter().filter_map(inside).collect()
    }

    #[test]
    fn a_file_hangs_on_its_links_and_its_directory() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path().canonicalize().expect("there");
        fs::create_dir_all(root.join("etc/v1")).expect("made");
        fs::write(root.join("etc/v1/run.yaml"), "").expect("written");
        symlink("v1", root.join("etc/..data")).expect("linked");
        symlink("..data/run.yaml", root.join("etc/run.yaml")).expect("linked");
        assert_eq!(
            found(&root, &root.join("etc/run.yaml")),
            [": etc", "etc: ..data run.yaml v1", "etc/v1: run.yaml"]
        );
        assert_eq!(
            found(&root, &root.join("etc/v1/../v1/run.yaml")),
            ["etc: v1", "etc/v1: run.yaml"]
        );
        assert_eq!(
            found(&root, &root.join("none/here/run.yaml")),
            [": none"],
            "what is not there may come"
        );
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = tempfile::tempdir().expect("a directory");
        symlink("b", root.path().join("a")).expect("linked");
        symlink("a", root.path().join("b")).expect("linked");
        let entries = entries([root.path().join("a").as_path()]);
        assert!(entries.len() <= 3, "{entries:?}");
    }
}
