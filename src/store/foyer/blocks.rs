//! The blocks of the disk: their size, and the order in which they are evicted.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use foyer::{EvictionInfo, EvictionPicker};
use xxhash_rust::xxh64::xxh64;

use super::code::{LONGEST_KEY, OVERHEAD};
use crate::error::Error;

/// The division of a disk. foyer keeps each block in a file, and evicts whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    pub(super) block: u64,
    pub(super) blocks: u64,
    largest_record: u64,
}

impl Division {
    /// Divides `disk` bytes for values of at most `largest` bytes.
    pub(super) fn of(disk: u64, largest: u64) -> Result<Self, Error> {
        let largest_record = record(u64::from(LONGEST_KEY), largest);
        // A small block evicts few values at a time, and each block costs an open file.
        let smallest = PAGE + largest_record * RECORDS_PER_BLOCK;
        let block = pages(disk / BLOCKS).clamp(smallest, LARGEST_BLOCK);
        let blocks = disk / block;
        if blocks < FEWEST_BLOCKS {
            return Err(Error::config("the disk is too small for values of this size"));
        }
        Ok(Self { block, blocks, largest_record })
    }

    /// The bytes of the latest values that the disk always holds. The end of each block, the block that is being
    /// written and the clean block do not count.
    pub(super) fn capacity(&self) -> u64 {
        (self.blocks - 2) * (self.block - self.largest_record)
    }

    /// How many bytes of records may wait to be written. They fit into one block with the pages of its index, so that
    /// one batch of foyer spans at most two blocks.
    ///
    /// foyer writes all blocks of a batch at the same time, and orders blocks by their last write. With two blocks,
    /// only the first one is complete, so the order is right. With three, a later block could be complete and evicted
    /// before an earlier one. Values that the later block had replaced or removed would then be back after a restart.
    pub(super) fn buffer(&self) -> u64 {
        let records = self.block / PAGE * INDEXED / (INDEXED + 1) - 1;
        BUFFER.max(self.largest_record * 4).min(records * PAGE)
    }
}

/// The bytes of the disk that a key and a value take.
pub(super) fn record(key: u64, value: u64) -> u64 {
    pages(OVERHEAD.saturating_add(key).saturating_add(value))
}

/// Rounds bytes up to whole pages.
fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_mul(PAGE)
}

/// Prepares the files of an earlier store for a division, and returns the order in which their blocks were written.
///
/// If one file belongs to another division, all files are removed. A file that stayed would bring back values that the
/// removed files had replaced or removed. The oldest file is removed first, so that this holds even if the process is
/// killed here.
///
/// If all files stay, the oldest are marked clean until there is a clean block. foyer cleans a block once it has taken
/// the last clean one. After a kill between the two, foyer would wait for a clean block for ever.
pub(super) fn prepare(directory: &Path, division: Division) -> io::Result<OldestFirst> {
    let mut files = files(directory, First::of)?;
    let mut all_fit = true;
    for (_, block, path) in &files {
        all_fit &= u64::from(*block) < division.blocks && fs::metadata(path)?.len() == division.block;
    }
    if !all_fit {
        remove_all(directory)?;
        files.clear();
    }
    for (_, _, path) in files.iter().filter(|(first, ..)| *first == First::Damaged) {
        // foyer would write the file from its beginning, and might take its older remains for newer values.
        fs::remove_file(path)?;
    }
    files.retain(|(first, ..)| matches!(first, First::Record(_)));
    let room = usize::try_from(division.blocks).unwrap_or(usize::MAX);
    let over = (files.len() + CLEAN_BLOCKS).saturating_sub(room);
    for (_, _, path) in files.drain(..over) {
        OpenOptions::new().write(true).open(path)?.write_all(&[0; PAGE_BYTES])?;
    }
    Ok(OldestFirst::new(files.into_iter().map(|(_, block, _)| block).collect()))
}

/// Removes all blocks, the oldest first. After a failure midway, the rest is still a complete tail of the writes.
pub(super) fn remove_all(directory: &Path) -> io::Result<()> {
    // An unreadable file must not keep the others.
    let first = |path: &Path| Ok(First::of(path).unwrap_or(First::Damaged));
    files(directory, first)?.into_iter().try_for_each(|(_, _, path)| fs::remove_file(path))
}

/// Syncs all blocks to the disk.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    let sync = |path| OpenOptions::new().write(true).open(path)?.sync_all();
    files(directory, |_| Ok(First::Clear))?.into_iter().try_for_each(|(_, _, path)| sync(path))
}

/// The files of the blocks, the oldest first.
fn files(
    directory: &Path,
    first: impl Fn(&Path) -> io::Result<First>,
) -> io::Result<Vec<(First, u32, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(block) = entry.file_name().to_str().and_then(block_of) {
            files.push((first(&entry.path())?, block, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// The number of the block in a file of this name. foyer chooses the names.
fn block_of(name: &str) -> Option<u32> {
    name.strip_prefix("foyer-storage-direct-fs-")?.parse().ok()
}

/// The first page of a block: the index of its first records. The order of the variants is the order of age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum First {
    /// foyer clears the page when it cleans the block.
    Clear,
    /// The checksum is wrong. foyer takes the block for a clean one.
    ///
    /// A kill cannot tear a page, because one call writes it to the system's memory. A failure of the machine or the
    /// disk can tear a page. The puts and removes there are then lost.
    Damaged,
    /// The number of the first record, which foyer counts through.
    Record(u64),
}

impl First {
    /// The file's time does not tell its age, because foyer touches all files when it opens.
    fn of(path: &Path) -> io::Result<Self> {
        let mut page = Vec::with_capacity(PAGE_BYTES);
        fs::File::open(path)?.take(PAGE).read_to_end(&mut page)?;
        if page.len() < PAGE_BYTES || page.iter().all(|byte| *byte == 0) {
            return Ok(Self::Clear);
        }
        Ok(record_of(&page).map_or(Self::Damaged, Self::Record))
    }
}

/// Before the number come a checksum of 8 bytes, a count of 4, and the hash of the first key.
fn record_of(page: &[u8]) -> Option<u64> {
    let (checksum, indexed) = page.split_first_chunk()?;
    if u64::from_be_bytes(*checksum) != xxh64(indexed, 0) {
        return None;
    }
    Some(u64::from_be_bytes(*indexed.get(12..)?.first_chunk()?))
}

/// Evicts blocks in the order in which they were written, by this process and earlier ones.
///
/// So a value is always evicted before the value that replaced it, or its removal. foyer reads all blocks when it
/// opens, and takes the last record of a key that it finds for the last one that was put.
#[derive(Debug)]
pub(super) struct OldestFirst {
    /// The blocks of earlier processes, the oldest first.
    before: Vec<u32>,
    /// The evictable blocks, each with a number that grows with its write.
    evictable: Vec<(u64, u32)>,
    next: u64,
}

impl OldestFirst {
    /// With the blocks that earlier processes wrote, the oldest first.
    fn new(before: Vec<u32>) -> Self {
        let next = u64::try_from(before.len()).unwrap_or(u64::MAX);
        Self { before, evictable: Vec::new(), next }
    }
}

impl EvictionPicker for OldestFirst {
    fn pick(&mut self, _: EvictionInfo<'_>) -> Option<u32> {
        self.evictable.iter().min().map(|(_, block)| *block)
    }

    fn on_block_evictable(&mut self, _: EvictionInfo<'_>, block: u32) {
        let before = self.before.iter().position(|earlier| *earlier == block);
        let age = if let Some(place) = before.and_then(|place| u64::try_from(place).ok()) {
            // Told once of each block when it opens; the next time, it was written by this process.
            self.before
                .iter_mut()
                .filter(|earlier| **earlier == block)
                .for_each(|earlier| *earlier = u32::MAX);
            place
        } else {
            self.next += 1;
            self.next
        };
        self.evictable.push((age, block));
    }

    fn on_block_evict(&mut self, _: EvictionInfo<'_>, block: u32) {
        self.evictable.retain(|(_, other)| *other != block);
    }
}

const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

/// How many blocks are wished for.
const BLOCKS: u64 = 64;

/// One is written, one is clean, one is made clean; and then there must be something that is kept.
const FEWEST_BLOCKS: u64 = 8;

const CLEAN_BLOCKS: usize = 1;

/// At most a quarter of a block is lost at its end.
const RECORDS_PER_BLOCK: u64 = 4;

/// The number of records in one page of foyer's index.
const INDEXED: u64 = 170;

/// The offsets in a block have 32 bits in foyer.
const LARGEST_BLOCK: u64 = 2 << 30;

/// The bytes that may wait to be written. foyer has two buffers of this size, and touches only the used part of them.
const BUFFER: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_disk_is_divided_into_blocks_that_hold_the_values() {
        const MIB: u64 = 1 << 20;
        for largest in [1, 4096, MIB + 40, 4 * MIB + 40, (64 << 20) + 4096] {
            let needed = Division::of(u64::MAX / 2, largest).unwrap().largest_record * 40;
            assert!(Division::of(needed / 2, largest).is_err());
            for disk in [needed, needed + 1, needed * 10, 1 << 40, 100 << 40] {
                let division = Division::of(disk.max(needed), largest).unwrap();
                assert!(division.block * division.blocks <= disk.max(needed));
                assert!(division.block.is_multiple_of(PAGE) && division.block <= LARGEST_BLOCK);
                assert!(division.block >= division.largest_record * 4 + PAGE);
                assert!(division.buffer() >= division.largest_record * 2);
                let records = division.buffer() / PAGE;
                assert!(records + records.div_ceil(INDEXED) <= division.block / PAGE);
                assert!(
                    division.capacity() > disk / 2 && division.capacity() < disk.max(needed),
                    "{disk} {largest}"
                );
            }
        }
    }

    #[test]
    fn a_block_with_a_damaged_first_page_is_no_block_of_an_earlier_time() {
        let folder = super::super::tests::folder();
        let division = Division::of(4 << 20, 4096).unwrap();
        let path = |block: u32| folder.join(format!("foyer-storage-direct-fs-{block:08}"));
        for (block, number) in [(0, 70), (1, 50), (2, 60)] {
            // A block with one record.
            let mut page = vec![0; usize::try_from(division.block).unwrap()];
            page[11] = 1;
            page[20..28].copy_from_slice(&u64::to_be_bytes(number));
            let checksum = xxh64(&page[8..4096], 0);
            page[..8].copy_from_slice(&checksum.to_be_bytes());
            fs::write(path(block), page).unwrap();
        }
        assert_eq!(prepare(&folder, division).unwrap().before, [1, 2, 0]);
        let mut torn = fs::read(path(2)).unwrap();
        torn[2048] = 1;
        fs::write(path(2), torn).unwrap();
        assert_eq!(prepare(&folder, division).unwrap().before, [1, 0]);
        assert!(!path(2).exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn blocks_go_in_the_order_in_which_they_were_written() {
        let mut order = OldestFirst::new(vec![1, 2, 0, 5]);
        let evictable = HashSet::new();
        let info = || EvictionInfo { blocks: &[], evictable: &evictable, clean: 0 };
        // foyer reports the blocks that it finds in no order.
        for block in [5, 0, 2, 1] {
            order.on_block_evictable(info(), block);
        }
        let mut gone = Vec::new();
        for written in [7, 1, 6, 2, 0, 5] {
            let oldest = order.pick(info()).unwrap();
            order.on_block_evict(info(), oldest);
            gone.push(oldest);
            order.on_block_evictable(info(), written);
        }
        assert_eq!(gone, [1, 2, 0, 5, 7, 1]);
    }
}
