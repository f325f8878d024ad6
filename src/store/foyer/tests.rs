use std::{
    env, fs,
    future::Future,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Waker},
    time::Duration,
};

use super::{lock::DirectoryLock, queue::Waiting, *};

/// An empty folder that no other test of this process has.
pub(super) fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("tower-video-cache-unit-{}-{number}", process::id()));
    // A killed process with this number may have left it.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    folder
}

async fn store() -> FoyerStore {
    let folder = folder();
    let store = FoyerOptions::new(1 << 20, 8 << 20).max_value_size(100 << 10).open(&folder).await.unwrap();
    // Its files are open, which is enough.
    fs::remove_dir_all(&folder).unwrap();
    store
}

#[tokio::test]
async fn a_read_that_a_put_or_a_remove_overtakes_leaves_nothing_old_in_memory() {
    let store = store().await;
    for after in [Some(Bytes::from_static(b"after")), None] {
        store.put("m/key", Bytes::from_static(b"before")).await.unwrap();
        // A read that is done when it is polled for the first time proves nothing.
        let read = loop {
            store.inside.cache.memory().remove("m/key");
            let mut read = Box::pin(store.inside.load("m/key"));
            if read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                break read;
            }
        };
        match after.clone() {
            Some(after) => store.put("m/key", after).await.unwrap(),
            None => store.remove("m/key").await.unwrap(),
        }
        read.await.unwrap();
        assert_eq!(store.get("m/key").await.unwrap(), after);
        store.inside.cache.memory().remove("m/key");
        assert_eq!(store.get("m/key").await.unwrap(), after, "and what is on the disk comes back to memory");
        assert!(store.inside.cache.memory().contains("m/key"));
    }
}

/// The state after a failed write of foyer: the dropped value is not in its index, and foyer reports no error. No task
/// watches the queue yet.
async fn unwritten(store: &FoyerStore, key: &str, value: Value) -> Arc<Waiting> {
    let waiting = store.inside.enqueue(key, value).await.unwrap();
    store.inside.cache.storage().wait().await;
    store.inside.cache.storage().delete(key);
    waiting
}

#[tokio::test]
async fn a_record_that_is_not_written_is_an_error_and_the_one_before_is_gone() {
    let store = store().await;
    let before = store.inside.enqueue("m/key", Value::Put(Bytes::from_static(b"before"))).await.unwrap();
    store.inside.settled(&before).await.unwrap();
    let waiting = unwritten(&store, "m/key", Value::Put(Bytes::from_static(b"after"))).await;
    assert!(store.inside.settled(&waiting).await.is_err());
    assert_eq!(store.get("m/key").await.unwrap(), None);
    assert!(store.put("m/other", Bytes::new()).await.is_err());
}

#[tokio::test]
async fn what_is_not_written_is_noticed_while_others_of_its_stripe_are_read_and_put() {
    let store = store().await;
    let before = store.inside.enqueue("m/key", Value::Put(Bytes::from_static(b"before"))).await.unwrap();
    store.inside.settled(&before).await.unwrap();
    let waiting = unwritten(&store, "m/key", Value::Removed).await;
    // A read that is not polled, as for a slow client.
    let _read = store.inside.stripe("m/key").reading.lock().await;
    store.inside.stripe("m/key").change();
    assert!(store.inside.settled(&waiting).await.is_err());
    assert!(store.put("m/other", Bytes::new()).await.is_err());
}

#[tokio::test]
async fn what_is_not_written_is_noticed_when_its_key_is_put_again() {
    for key in ["c/key", "m/key"] {
        let store = store().await;
        unwritten(&store, key, Value::Put(Bytes::from_static(b"before"))).await;
        assert!(store.put(key, Bytes::from_static(b"after")).await.is_err());
        assert_eq!(store.get(key).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_key_that_a_read_finds_damaged_is_an_error_and_no_failure_of_the_disk() {
    let store = store().await;
    let lost = unwritten(&store, "m/key", Value::Put(Bytes::from_static(b"lost"))).await;
    store.inside.queue().lose("m/key");
    let other = store.inside.enqueue("m/other", Value::Removed).await.unwrap();
    assert!(store.inside.settled(&lost).await.is_err());
    store.inside.settled(&other).await.unwrap();
    store.put("m/key", Bytes::from_static(b"after")).await.unwrap();
    assert_eq!(store.get("m/key").await.unwrap().unwrap(), "after");
}

#[tokio::test]
async fn a_put_or_remove_that_waits_for_room_when_the_disk_fails_leaves_nothing_older() {
    for value in [Value::Removed, Value::Put(Bytes::from_static(b"after"))] {
        let store = store().await;
        store.put("m/key", Bytes::from_static(b"before")).await.unwrap();
        let round = store.inside.one_flush.lock().await;
        let full = store.inside.queue().written + store.inside.buffer;
        let chunk = Bytes::from(vec![7; 4000]);
        while store.inside.queue().put < full {
            let key = format!("c/{}", store.inside.queue().put);
            store.put(&key, chunk.clone()).await.unwrap();
        }
        let mut waiting = Box::pin(store.inside.enqueue("m/key", value));
        let polled = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        store.inside.fail();
        drop(round);
        assert!(waiting.await.is_err());
        assert_eq!(store.get("m/key").await.unwrap(), None);
    }
}

#[tokio::test]
async fn chunks_are_looked_after_when_nobody_waits() {
    let store = store().await;
    for index in 0..3 {
        store.put(&format!("c/{index}"), Bytes::from_static(b"chunk")).await.unwrap();
    }
    let put = store.inside.queue().put;
    let ended = async {
        while store.inside.queue().written < put {
            tokio::task::yield_now().await;
        }
        // The task ends, and the queue is empty.
        while Arc::strong_count(&store.inside) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
}

#[tokio::test]
async fn a_panic_of_foyer_is_an_error() {
    let store = store().await;
    let error = store.inside.guarded(async { panic!("poisoned") }).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[tokio::test]
async fn what_was_never_put_is_not_written_down_when_it_is_removed() {
    let store = store().await;
    store.put("m/key", Bytes::from_static(b"here")).await.unwrap();
    let put = store.inside.queue().put;
    store.remove("m/absent").await.unwrap();
    assert_eq!(store.inside.queue().put, put);
    store.remove("m/key").await.unwrap();
    assert!(store.inside.queue().put > put);
}

/// A child process has all files of its parent until it runs its own program, close-on-exec or not.
#[tokio::test]
async fn a_closed_store_frees_its_directory_though_a_child_process_still_has_its_files() {
    let folder = folder();
    let options = FoyerOptions::new(1 << 20, 8 << 20).max_value_size(100 << 10);
    let store = options.clone().open(&folder).await.unwrap();
    let of_the_child = store.inside.lock().as_ref().unwrap().duplicate();
    store.close().await.unwrap();
    let again = options.clone().open(&folder).await.unwrap();
    drop(of_the_child);
    assert!(options.open(&folder).await.unwrap_err().is_store(), "the second store has the directory");
    again.close().await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
}

/// A store that is not opened at last must not keep the directory either.
#[tokio::test]
async fn a_store_that_cannot_open_frees_its_directory_though_a_child_process_still_has_its_files() {
    let folder = folder();
    let lock = DirectoryLock::take(&folder).unwrap();
    let _of_the_child = lock.duplicate();
    drop(lock);
    DirectoryLock::take(&folder).unwrap();
    fs::remove_dir_all(&folder).unwrap();
}
