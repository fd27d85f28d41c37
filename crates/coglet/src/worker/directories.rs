//! The directories of one worker process, which go when it has gone, however it went.

use std::io;
use std::path::Path;

use cog_files::Scratch;

use crate::scratch::{MEMORY, scratch, scratch_in};

/// Where a worker and the server leave things for each other, and where the model leaves its own.
#[derive(Debug)]
pub(crate) struct Directories {
    /// For values too large for a frame.
    pub(super) spill: Scratch,
    /// For the model. There is none where nothing can be written to: most models need none.
    pub(super) scratch: Option<Scratch>,
}

impl Directories {
    pub(super) fn make() -> io::Result<Self> {
        let scratch = scratch().inspect_err(|error| {
            tracing::warn!("The model has no scratch directory: {error}");
        });
        Ok(Self {
            spill: spill_directory()?,
            scratch: scratch.ok(),
        })
    }
}

impl Directories {
    /// Where the model's programs find room for what is temporary, if that is not where they look by themselves.
    pub(super) fn temporary(&self) -> Option<&Path> {
        let parent = self.scratch.as_ref()?.path().parent()?;
        (parent != std::env::temp_dir()).then_some(parent)
    }
}

/// In memory if there is room, else on disk.
fn spill_directory() -> io::Result<Scratch> {
    /// A container's default of 64 MiB is less than one large request.
    const ROOM: u64 = 256 << 20;
    let memory = Path::new(MEMORY);
    let has_room = rustix::fs::statvfs(memory)
        .is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM);
    if has_room && let Ok(scratch) = scratch_in(memory) {
        return Ok(scratch);
    }
    scratch()
}
