//! Writes a file's content; long runs of zeros become holes, which take neither time nor space.

use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Shorter runs are written: looking for them would cost more than they do.
const LEAST: usize = 64 * 1024;

/// A file that is written from its beginning.
pub(super) struct Writer<'a> {
    file: BorrowedFd<'a>,
    /// Bytes so far, holes as well.
    size: u64,
    /// Whether it ends with a hole, which only a length can give it.
    ends_with_hole: bool,
}

impl<'a> Writer<'a> {
    /// Into a new, empty file.
    pub(super) fn new(file: BorrowedFd<'a>) -> Self {
        Self {
            file,
            size: 0,
            ends_with_hole: false,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.size += bytes.len() as u64;
        self.ends_with_hole = bytes.len() >= LEAST && is_zero(bytes);
        if self.ends_with_hole {
            rustix::fs::seek(self.file, SeekFrom::Start(self.size)).map(|_| ())
        } else {
            write_all(self.file, bytes)
        }
    }

    pub(super) fn finish(self) -> Result<(), Errno> {
        if self.ends_with_hole {
            rustix::fs::ftruncate(self.file, self.size)?;
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Most content is not, and the first bytes tell. The rest is looked at in blocks that the compiler can add up at once.
    bytes.iter().take(64).all(|byte| *byte == 0)
        && bytes
            .chunks(4096)
            .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// What a file has after these pieces, and how many bytes it takes on the disk.
    fn written(pieces: &[Vec<u8>]) -> (Vec<u8>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = fs_err::File::create(&path).unwrap();
        let mut writer = Writer::new(file.as_fd());
        for piece in pieces {
            writer.write(piece).unwrap();
        }
        writer.finish().unwrap();
        let taken = fs_err::metadata(&path).unwrap().blocks() * 512;
        (fs_err::read(path).unwrap(), taken)
    }

    #[test]
    fn content_is_the_same_with_holes_in_it() {
        let zeros = || vec![0; LEAST];
        let mut almost = zeros();
        almost[LEAST - 1] = 1;
        let some = b"content".to_vec();
        for pieces in [
            vec![],
            vec![zeros()],
            vec![some.clone(), zeros(), some.clone()],
            vec![zeros(), some.clone(), zeros(), zeros()],
            vec![almost, zeros(), vec![0; 10], some, vec![0; 10]],
        ] {
            assert_eq!(written(&pieces).0, pieces.concat());
        }
    }

    #[test]
    fn zeros_take_no_space() {
        let pieces = vec![vec![0; LEAST]; 64];
        let (content, taken) = written(&pieces);
        assert_eq!(content.len(), 64 * LEAST);
        assert!(taken < LEAST as u64, "{taken} bytes");
    }
}
