//! Where the parts of a file go when others are taken out.

use std::ops::Range;

/// The table of sections stands at a multiple of this.
const TABLE_ALIGNMENT: u64 = 8;

/// A part of the file that stays as it is, at another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) source: Range<u64>,
    /// By which multiples it may be moved; a power of two.
    alignment: u64,
    pub(super) target: u64,
}

/// The blocks, moved together, and the table of sections behind them.
#[derive(Debug)]
pub(super) struct Layout {
    blocks: Vec<Block>,
    sections_at: u64,
    length: u64,
}

impl Block {
    pub(super) fn new(source: Range<u64>, alignment: u64) -> Self {
        let target = source.start;
        Self {
            source,
            alignment,
            target,
        }
    }
}

impl Layout {
    /// Nothing if there is too much of it.
    pub(super) fn new(mut blocks: Vec<Block>, sections_size: usize) -> Option<Self> {
        blocks.sort_by_key(|block| (block.source.start, block.source.end));
        let mut merged: Vec<Block> = Vec::new();
        for block in blocks {
            match merged.last_mut() {
                Some(last) if block.source.start < last.source.end => {
                    last.source.end = last.source.end.max(block.source.end);
                    last.alignment = last.alignment.max(block.alignment);
                }
                _ => merged.push(block),
            }
        }
        let mut end: u64 = 0;
        for block in &mut merged {
            let rest = block.source.start % block.alignment;
            let earliest = end.saturating_sub(rest);
            block.target = earliest
                .checked_next_multiple_of(block.alignment)?
                .checked_add(rest)?;
            end = block
                .target
                .checked_add(block.source.end - block.source.start)?;
        }
        let sections_at = end.checked_next_multiple_of(TABLE_ALIGNMENT)?;
        Some(Self {
            blocks: merged,
            sections_at,
            length: sections_at.checked_add(sections_size as u64)?,
        })
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Where the table of sections is.
    pub(super) fn sections_at(&self) -> u64 {
        self.sections_at
    }

    /// Bytes of the whole file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Where `offset` is now. What is in no block goes with the one before.
    pub(super) fn moved(&self, offset: u64) -> u64 {
        let at = self
            .blocks
            .partition_point(|block| block.source.start <= offset);
        let before = at.checked_sub(1).and_then(|at| self.blocks.get(at));
        before.map_or(offset, |block| offset - (block.source.start - block.target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(blocks: &[(Range<u64>, u64)]) -> Vec<(Range<u64>, u64)> {
        let blocks = blocks.iter().cloned();
        let blocks = blocks.map(|(source, alignment)| Block::new(source, alignment));
        let layout = Layout::new(blocks.collect(), 64).expect("small numbers");
        let blocks = layout.blocks().iter();
        blocks
            .map(|block| (block.source.clone(), block.target))
            .collect()
    }

    #[test]
    fn blocks_keep_their_place_on_a_page() {
        let table = [
            // Nothing between them.
            (
                vec![(0..64, 4096), (64..100, 8)],
                vec![(0..64, 0), (64..100, 64)],
            ),
            // A hole of several pages, and one that is smaller than a page.
            (
                vec![(0..100, 4096), (20_500..20_600, 4096)],
                vec![(0..100, 0), (20_500..20_600, 4116)],
            ),
            (
                vec![(0..100, 4096), (4000..5000, 4096)],
                vec![(0..100, 0), (4000..5000, 4000)],
            ),
            // Sections that are not loaded come close.
            (
                vec![(0..101, 4096), (9000..9010, 16)],
                vec![(0..101, 0), (9000..9010, 104)],
            ),
            // What overlaps stays together, in whatever order it comes.
            (
                vec![(8200..8300, 1), (0..64, 8), (8192..8250, 4096)],
                vec![(0..64, 0), (8192..8300, 4096)],
            ),
        ];
        for (blocks, expected) in table {
            assert_eq!(moved(&blocks), expected, "{blocks:?}");
        }
    }

    #[test]
    fn what_is_in_no_block_goes_with_the_one_before() {
        let blocks = vec![Block::new(0..64, 8), Block::new(8192..8200, 4096)];
        let layout = Layout::new(blocks, 64).expect("small numbers");
        assert_eq!(layout.moved(10), 10);
        assert_eq!(layout.moved(8193), 4097);
        assert_eq!(layout.moved(9000), 4904);
        assert_eq!((layout.sections_at(), layout.length()), (4104, 4168));
    }
}
