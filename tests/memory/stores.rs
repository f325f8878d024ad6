//! Stores whose values are not in the heap.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        LazyLock, Mutex,
    },
};

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;
use tower_video_cache::{BoxError, Store};

use crate::movie::{FRAME, PICTURES, STEP};

/// A store that keeps of each chunk where its pictures begin, and its last bytes, which prove it; the pictures are made
/// again. A chunk that is not of a movie is refused.
#[derive(Default)]
pub(crate) struct Reel {
    records: Mutex<HashMap<String, Bytes>>,
    chunks: Mutex<HashMap<String, Chunk>>,
}

#[derive(Clone)]
struct Chunk {
    start: u64,
    length: usize,
    proof: Bytes,
}

impl Reel {
    /// Finds where noise begins by how it begins, before anybody counts the heap.
    pub(crate) fn new() -> Self {
        LazyLock::force(&STARTS);
        Self::default()
    }
}

impl Store for Reel {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        yield_now().await;
        let chunk = self.chunks.lock().unwrap().get(key).cloned();
        let Some(chunk) = chunk else {
            return Ok(self.records.lock().unwrap().get(key).cloned());
        };
        let mut value = BytesMut::with_capacity(chunk.length + PROOF);
        pictures_from(chunk.start, chunk.length).for_each(|pictures| value.extend_from_slice(&pictures));
        value.extend_from_slice(&chunk.proof);
        Ok(Some(value.freeze()))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        // Others come in between, as with a store that takes its time.
        yield_now().await;
        if !key.starts_with("c/") {
            self.records.lock().unwrap().insert(key.to_owned(), value);
            return Ok(());
        }
        let length = value.len() - PROOF;
        let start = STARTS[&value[..16]];
        let mut position = 0;
        for pictures in pictures_from(start, length) {
            assert!(value[position..][..pictures.len()] == pictures, "{key} is wrong at {position}");
            position += pictures.len();
        }
        // A slice would keep all of the value.
        let chunk = Chunk { start, length, proof: Bytes::copy_from_slice(&value[length..]) };
        self.chunks.lock().unwrap().insert(key.to_owned(), chunk);
        yield_now().await;
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.records.lock().unwrap().remove(key);
        self.chunks.lock().unwrap().remove(key);
        Ok(())
    }
}

/// The pictures of `length` bytes of a movie, from that place in the noise on.
fn pictures_from(start: u64, length: usize) -> impl Iterator<Item = Bytes> {
    let frame = usize::try_from(FRAME).unwrap();
    (0..length.div_ceil(frame)).map(move |index| {
        let from = usize::try_from((start + STEP * u64::try_from(index).unwrap()) % FRAME).unwrap();
        PICTURES.slice(from..from + frame.min(length - index * frame))
    })
}

/// Where in the noise a frame begins, by its first bytes.
static STARTS: LazyLock<HashMap<Bytes, u64>> = LazyLock::new(|| {
    let frames =
        (0..FRAME).map(|start| (PICTURES.slice(usize::try_from(start).unwrap()..).split_to(16), start));
    let starts: HashMap<_, _> = frames.collect();
    assert_eq!(u64::try_from(starts.len()).unwrap(), FRAME, "no two places begin alike");
    starts
});

/// Bytes of a chunk after its pictures.
const PROOF: usize = 40;

/// A store that takes all and keeps nothing, or nothing but manifests.
pub(crate) struct Forgetful {
    keeps_manifests: bool,
    manifest: Mutex<Option<Bytes>>,
}

impl Forgetful {
    pub(crate) fn of(keeps_manifests: bool) -> Self {
        Self { keeps_manifests, manifest: Mutex::default() }
    }
}

impl Store for Forgetful {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        Ok(if key.starts_with("c/") { None } else { self.manifest.lock().unwrap().clone() })
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if self.keeps_manifests && !key.starts_with("c/") {
            *self.manifest.lock().unwrap() = Some(value);
        }
        Ok(())
    }

    async fn remove(&self, _: &str) -> Result<(), BoxError> {
        *self.manifest.lock().unwrap() = None;
        Ok(())
    }
}

/// A store that makes a file of each value, in a folder that goes with it.
pub(crate) struct Disk {
    folder: PathBuf,
    writes: AtomicU64,
}

impl Disk {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{name}"));
        // What a run that was killed has left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { folder, writes: AtomicU64::new(0) }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(key.replace('/', "!"))
    }
}

impl Store for Disk {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        match tokio::fs::read(self.file(key)).await {
            Ok(value) => Ok(Some(value.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        // Written aside, then renamed: a put that is dropped has not happened by half.
        let aside = self.folder.join(format!("aside-{}", self.writes.fetch_add(1, Ordering::Relaxed)));
        tokio::fs::write(&aside, value).await?;
        Ok(tokio::fs::rename(aside, self.file(key)).await?)
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        match tokio::fs::remove_file(self.file(key)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
