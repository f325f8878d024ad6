//! Stores whose values are not in the heap.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::task::yield_now;
use tower_video_cache::{BoxError, Store};

use crate::movie::{FRAME, PICTURES, STEP};

/// A store that keeps of each chunk only the start of its frames in the noise, and its last bytes, which prove it. It
/// makes the frames again on each get, and refuses a chunk that is not of a video.
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
    /// Builds the index of the noise by its first bytes, before a test counts the heap.
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
        // Other tasks run in between, as with a slow store.
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
        // A slice would keep the whole value in memory.
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

/// The frames of `length` bytes of a video, from that place in the noise on.
fn pictures_from(start: u64, length: usize) -> impl Iterator<Item = Bytes> {
    let frame = usize::try_from(FRAME).unwrap();
    (0..length.div_ceil(frame)).map(move |index| {
        let from = usize::try_from((start + STEP * u64::try_from(index).unwrap()) % FRAME).unwrap();
        PICTURES.slice(from..from + frame.min(length - index * frame))
    })
}

/// The start of each frame in the noise, by the frame's first bytes.
static STARTS: LazyLock<HashMap<Bytes, u64>> = LazyLock::new(|| {
    let frames =
        (0..FRAME).map(|start| (PICTURES.slice(usize::try_from(start).unwrap()..).split_to(16), start));
    let starts: HashMap<_, _> = frames.collect();
    assert_eq!(u64::try_from(starts.len()).unwrap(), FRAME, "no two places begin alike");
    starts
});

/// The bytes of a chunk after its frames.
const PROOF: usize = 40;

/// A store that accepts all values and keeps none of them, or only manifests.
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

/// A store that keeps each value in a file, in a folder that is removed with it.
pub(crate) struct Disk {
    folder: PathBuf,
    writes: AtomicU64,
}

impl Disk {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{name}"));
        // A run that was killed may have left the folder.
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
        // The file is written aside, then renamed, so a dropped put leaves no partial value.
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
