//! [`ChunkMap`]: the state of each chunk of one video in one cache.

use std::{
    collections::VecDeque,
    mem::replace,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

/// Collects what the store and both sides of the cache report about the chunks of one video.
pub(crate) struct ChunkMap {
    length: u64,
    chunk_bytes: u64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The generation of the latest fill. The cache serves its chunks; the chunks of other generations are left to be
    /// evicted.
    generation: String,
    cells: Vec<Cell>,
    calls: u64,
    /// The chunks that the latest calls asked for, oldest first.
    asked: VecDeque<Range<u64>>,
    fetched: u64,
}

#[derive(Clone, Default)]
struct Cell {
    /// Calls of the inner service under way that may bring it.
    coming: u32,
    stored: bool,
    served: bool,
    /// The chunk was stored, and then it was missing.
    lost: bool,
}

impl Cell {
    fn lose(&mut self) {
        self.remove();
        self.lost = true;
    }

    fn remove(&mut self) {
        self.stored = false;
        self.served = false;
    }

    fn state(&self) -> &'static str {
        match self {
            Self { stored: true, lost: true, .. } => "healed",
            Self { stored: true, served: true, .. } => "served",
            Self { stored: true, .. } => "stored",
            Self { coming: 1.., .. } => "landing",
            Self { .. } => "absent",
        }
    }
}

impl ChunkMap {
    /// The map of a video of `length` bytes with no chunk stored.
    pub(crate) fn new(length: u64, chunk_bytes: u64) -> Self {
        let cells = (0..length.div_ceil(chunk_bytes)).map(|_| Cell::default()).collect();
        Self { length, chunk_bytes, seen: Mutex::new(Seen { cells, ..Seen::default() }) }
    }

    /// The store has put a chunk.
    pub(crate) fn put(&self, generation: &str, index: u64) {
        let mut seen = self.seen();
        if seen.generation != generation {
            generation.clone_into(&mut seen.generation);
            // A fill of the whole heals lost chunks, too.
            seen.cells.iter_mut().for_each(Cell::remove);
        }
        if let Some(cell) = seen.cell(index) {
            cell.stored = true;
        }
    }

    /// The store no longer has a chunk although nobody removed it.
    pub(crate) fn lost(&self, generation: &str, index: u64) {
        self.stored_of(generation, index, Cell::lose);
    }

    /// The cache has removed a chunk.
    pub(crate) fn removed(&self, generation: &str, index: u64) {
        self.stored_of(generation, index, Cell::remove);
    }

    /// The generation of a stored chunk.
    pub(crate) fn generation_of(&self, index: u64) -> Option<String> {
        let mut seen = self.seen();
        let is_stored = seen.cell(index).is_some_and(|cell| cell.stored);
        is_stored.then(|| seen.generation.clone())
    }

    /// Bytes have left for a viewer.
    pub(crate) fn served(&self, bytes: &Range<u64>) {
        let chunks = self.chunks(bytes);
        self.seen().each(&chunks, |cell| cell.served = true);
    }

    /// The inner service is called for `bytes`.
    pub(crate) fn call(self: &Arc<Self>, bytes: Range<u64>) -> Call {
        let chunks = self.chunks(&bytes);
        let mut seen = self.seen();
        seen.calls += 1;
        if seen.asked.len() == CALLS_KEPT {
            seen.asked.pop_front();
        }
        seen.asked.push_back(chunks.clone());
        seen.each(&chunks, |cell| cell.coming += 1);
        drop(seen);
        Call { map: Arc::clone(self), chunks }
    }

    /// All bytes of the video.
    pub(crate) fn whole(&self) -> Range<u64> {
        0..self.length
    }

    /// One word for each chunk.
    #[cfg(test)]
    pub(crate) fn states(&self) -> Vec<&'static str> {
        self.seen().states()
    }

    pub(crate) fn report(&self) -> Value {
        let seen = self.seen();
        let asked: Vec<_> = seen.asked.iter().map(|chunks| json!([chunks.start, chunks.end])).collect();
        json!({
            "length": self.length,
            "chunks": seen.states(),
            "asked": asked,
            "inner_calls": seen.calls,
            "fetched": seen.fetched,
        })
    }

    fn chunks(&self, bytes: &Range<u64>) -> Range<u64> {
        if bytes.is_empty() {
            return 0..0;
        }
        bytes.start / self.chunk_bytes..bytes.end.min(self.length).div_ceil(self.chunk_bytes)
    }

    fn stored_of(&self, generation: &str, index: u64, change: impl FnOnce(&mut Cell)) {
        let mut seen = self.seen();
        if seen.generation == generation {
            seen.cell(index).filter(|cell| cell.stored).map(change);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn states(&self) -> Vec<&'static str> {
        self.cells.iter().map(Cell::state).collect()
    }

    fn cell(&mut self, index: u64) -> Option<&mut Cell> {
        self.cells.get_mut(usize::try_from(index).ok()?)
    }

    fn each(&mut self, chunks: &Range<u64>, change: impl Fn(&mut Cell)) {
        for (index, cell) in (0..).zip(&mut self.cells) {
            if chunks.contains(&index) {
                change(cell);
            }
        }
    }
}

/// A call of the inner service, under way until it is dropped.
pub(crate) struct Call {
    map: Arc<ChunkMap>,
    chunks: Range<u64>,
}

impl Call {
    /// The answer has these bytes, which may differ from those that were asked for.
    pub(crate) fn brings(&mut self, bytes: &Range<u64>) {
        let chunks = self.map.chunks(bytes);
        let asked = replace(&mut self.chunks, chunks.clone());
        let mut seen = self.map.seen();
        seen.each(&asked, |cell| cell.coming -= 1);
        seen.each(&chunks, |cell| cell.coming += 1);
        if let Some(latest) = seen.asked.iter_mut().rev().find(|latest| **latest == asked) {
            *latest = chunks;
        }
    }

    pub(crate) fn brought(&self, bytes: u64) {
        self.map.seen().fetched += bytes;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.map.seen().each(&self.chunks, |cell| cell.coming -= 1);
    }
}

/// Calls of the inner service that are remembered one by one.
const CALLS_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Four chunks, the last of them short.
    fn map() -> Arc<ChunkMap> {
        Arc::new(ChunkMap::new(35, 10))
    }

    #[test]
    fn a_chunk_lands_from_the_call_that_asks_for_it_until_it_is_stored() {
        let map = map();
        let call = map.call(map.whole());
        assert_eq!(map.states(), ["landing"; 4]);
        map.put("a", 0);
        assert_eq!(map.states(), ["stored", "landing", "landing", "landing"]);
        drop(call);
        assert_eq!(map.states(), ["stored", "absent", "absent", "absent"]);
        assert_eq!(map.report()["asked"], json!([[0, 4]]));
    }

    #[test]
    fn the_chunks_that_land_are_those_of_the_answer() {
        let map = map();
        let mut call = map.call(15..35);
        assert_eq!(map.states(), ["absent", "landing", "landing", "landing"]);
        let other = map.call(30..40);
        call.brings(&(10..20));
        assert_eq!(map.states(), ["absent", "landing", "absent", "landing"]);
        call.brings(&(0..0));
        drop(other);
        assert_eq!(map.states(), ["absent"; 4]);
        call.brought(7);
        call.brought(3);
        let report = map.report();
        assert_eq!((&report["inner_calls"], &report["fetched"]), (&json!(2), &json!(10)));
    }

    #[test]
    fn a_chunk_is_served_once_a_byte_of_it_has_left() {
        let map = map();
        (0..4).for_each(|index| map.put("a", index));
        map.served(&(19..21));
        map.served(&(5..5));
        assert_eq!(map.states(), ["stored", "served", "served", "stored"]);
        map.served(&(34..35));
        assert_eq!(map.states(), ["stored", "served", "served", "served"]);
    }

    #[test]
    fn a_lost_chunk_is_healed_by_the_same_generation_or_the_next() {
        for generation in ["a", "b"] {
            let map = map();
            (0..4).for_each(|index| map.put("a", index));
            map.served(&map.whole());
            map.lost("a", 1);
            assert_eq!(map.states(), ["served", "absent", "served", "served"]);
            let call = map.call(10..20);
            assert_eq!(map.states(), ["served", "landing", "served", "served"]);
            map.put(generation, 1);
            drop(call);
            let others = if generation == "a" { "served" } else { "absent" };
            assert_eq!(map.states(), [others, "healed", others, others]);
        }
    }

    #[test]
    fn a_chunk_of_another_generation_is_not_shown_as_lost() {
        let map = map();
        map.put("a", 0);
        map.put("b", 0);
        map.put("b", 1);
        map.lost("a", 0);
        map.removed("a", 1);
        map.lost("b", 9);
        assert_eq!(map.states(), ["stored", "stored", "absent", "absent"]);
    }
}
