//! Check of the disk space for checkpoints before a run begins.

use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::notice;
use crate::config::Experiment;
use crate::config::memory::Bytes;

/// Bytes per parameter in a checkpoint: the weight and two moments in f32.
const BYTES_PER_PARAM: u64 = 12;

/// Refuses a disk without room for one checkpoint, and warns if it will fill up.
pub(super) fn look(folder: &Path, experiment: &Experiment) -> Result<(), Failure> {
    let Some(free) = free_bytes(folder) else {
        return Ok(());
    };
    let room = Room {
        checkpoint: experiment
            .model
            .num_params()
            .saturating_mul(BYTES_PER_PARAM),
        kept: experiment.training.keep_checkpoints as u64,
        free,
    };
    room.judged(folder)?.into_iter().for_each(notice::tell);
    Ok(())
}

/// Space needed and available, in bytes.
#[derive(Debug, Clone, Copy)]
struct Room {
    checkpoint: u64,
    /// Number of checkpoints that are kept besides the best one; 0: all.
    kept: u64,
    free: u64,
}

impl Room {
    /// A warning, if the space may not suffice for all checkpoints.
    fn judged(self, folder: &Path) -> Result<Option<String>, Failure> {
        let Self {
            checkpoint,
            kept,
            free,
        } = self;
        let (each, free_bytes) = (Bytes(checkpoint), Bytes(free));
        let folder = folder.display();
        if free < checkpoint {
            return Err(Failure::input(format!(
                "a checkpoint takes {each}, but there are {free_bytes} of room for `{folder}`: make room, or choose another folder by `--out`"
            )));
        }
        // the best checkpoint stays, and the next one is written before the oldest is deleted
        let most = match kept {
            0 => return Ok(None),
            kept => kept.saturating_add(2),
        };
        let needed = checkpoint.saturating_mul(most);
        Ok((free < needed).then(|| {
            format!(
                "warning: the checkpoints take up to {}, {each} each, but there are {free_bytes} of room for `{folder}`",
                Bytes(needed)
            )
        }))
    }
}

/// Free bytes on the disk where a folder is or will be; `None` if they cannot be determined.
#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let around = folder.ancestors().find(|around| around.exists());
    let around = around.filter(|around| !around.as_os_str().is_empty());
    let found = rustix::fs::statvfs(around.unwrap_or(Path::new("."))).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(kept: u64, free: u64) -> Result<Option<String>, String> {
        let room = Room {
            checkpoint: 1000,
            kept,
            free,
        };
        let judged = room.judged(Path::new("runs/a"));
        judged.map_err(|failure| failure.line())
    }

    #[test]
    fn a_disk_without_room_for_one_checkpoint_is_refused_and_a_small_one_told() {
        let line = judged(2, 999).unwrap_err();
        assert_eq!(
            line,
            "a checkpoint takes 1000 B, but there are 999 B of room for `runs/a`: make room, or choose another folder by `--out`"
        );
        let warning = judged(2, 3999).unwrap().unwrap();
        assert!(
            warning.starts_with("warning: the checkpoints take up to 3.91 KiB, 1000 B each"),
            "{warning}"
        );
        assert_eq!(judged(2, 4000).unwrap(), None);
        assert_eq!(judged(0, 1000).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn room_is_found_where_the_folder_will_be() {
        let folder = tempfile::tempdir().unwrap();
        let there = free_bytes(folder.path());
        assert!(there.is_some_and(|free| free > 0));
        assert!(free_bytes(&folder.path().join("not/yet")).is_some());
        assert!(free_bytes(Path::new("not-yet")).is_some());
    }
}
