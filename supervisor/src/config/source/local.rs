//! Sources on this machine: directories of pictures and video devices.

use std::path::{Path, PathBuf};

use contract::geometry::PixelSize;
use contract::spec::Pace;

use super::super::code;
use super::super::reader::{Reader, Text};
use super::{SourceConfig, TEST_FPS, TEST_FPS_MAX, number_in, set};

const IMAGES: &str =
    "write `images:DIRECTORY?fps=25` or `images:DIRECTORY/*.jpg`, with fps from 1 to 240";
const DEVICE: &str = "write `v4l2:/dev/video0?size=1280x720&fps=30`, with fps from 1 to 240";

/// Reads `shots/*.jpg?fps=10`.
pub(super) fn read_images(
    reader: &Reader<'_>,
    source: &Text<'_>,
    text: &str,
    (pace, repeat): (Pace, bool),
) -> Option<SourceConfig> {
    let (path, options) = text.split_once('?').unwrap_or((text, ""));
    let mut fps = TEST_FPS;
    read_options(reader, source, options, IMAGES, |key, value| match key {
        "fps" => set(&mut fps, number_in(value, 1..=TEST_FPS_MAX)),
        _ => true,
    })?;
    let (directory, pattern) = match path.rsplit_once('/') {
        Some((directory, pattern)) if pattern.contains('*') => (directory, Some(pattern)),
        None if path.contains('*') => (".", Some(path)),
        _ => (path, None),
    };
    let found = reader.directory.join(directory);
    let directory = found.canonicalize().ok().filter(|found| found.is_dir());
    let Some(directory) = directory else {
        let message = format!(
            "there is no directory `{}`",
            reader.as_written(&source.node.span)
        );
        let problem = reader.problem(code::NO_FILE, &source.node.span, message);
        reader.report(problem.helped("relative paths begin at the directory of this file"));
        return None;
    };
    Some(SourceConfig::Images {
        directory,
        pattern: pattern.map(str::to_owned),
        fps,
        pace,
        repeat,
    })
}

/// Reads `/dev/video0?size=1280x720&fps=30`. The device may come later.
pub(super) fn read_device(
    reader: &Reader<'_>,
    source: &Text<'_>,
    text: &str,
) -> Option<SourceConfig> {
    let (path, options) = text.split_once('?').unwrap_or((text, ""));
    let (mut size, mut fps): (Option<PixelSize>, Option<u32>) = (None, None);
    read_options(reader, source, options, DEVICE, |key, value| match key {
        "size" => set(&mut size, value.parse().ok().map(Some)),
        "fps" => set(&mut fps, number_in(value, 1..=TEST_FPS_MAX).map(Some)),
        _ => true,
    })?;
    if !Path::new(path).is_absolute() {
        let message = "a video device is an absolute path";
        let problem = reader.problem(code::WRONG_VALUE, &source.node.span, message);
        reader.report(problem.helped(DEVICE));
        return None;
    }
    Some(SourceConfig::Device {
        path: PathBuf::from(path),
        size,
        fps,
    })
}

/// Reads `key=value&key=value`; `wrong` takes one and says whether it is none.
fn read_options(
    reader: &Reader<'_>,
    source: &Text<'_>,
    options: &str,
    help: &str,
    mut wrong: impl FnMut(&str, &str) -> bool,
) -> Option<()> {
    let mut right = Some(());
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if wrong(key, value) {
            right = None;
            let part = reader.part(&source.node.span, option);
            let message = format!(
                "`{}` is not an option of this source",
                reader.as_written(&part)
            );
            reader.report(
                reader
                    .problem(code::WRONG_VALUE, &part, message)
                    .helped(help),
            );
        }
    }
    right
}
