//! A folder on this machine's disk.

use std::{
    env, fs,
    future::Future,
    path::{Path, PathBuf},
    pin::pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use opendal::{Operator, services};
use tokio::task::yield_now;
use tower_video_cache::{ChunkSize, Fill, OpendalStore, PutNew, Store, VideoCacheLayer, conformance};

use crate::{folder::Folder, servers::Process, stores::film::Film, trials::tests};

tests! {
    &[] => on_one_thread:
        a_folder_keeps_the_contract,
        a_new_value_that_is_given_up_is_there_whole_or_not_at_all,
        a_value_that_was_put_is_there_after_a_restart,
        keys_that_a_path_cannot_tell_apart_are_refused,
        a_value_does_not_keep_the_buffer_it_was_read_into,
        a_dropped_put_leaves_nothing_but_an_unfinished_file,
        a_process_that_is_killed_in_a_put_leaves_nothing_but_an_unfinished_file,
        a_response_stored_before_a_restart_is_a_hit_after_it,
        files_that_were_damaged_behind_our_back_give_the_true_bytes_all_the_same;
    &[] => on_threads:
        a_reader_never_sees_a_part_of_a_value_that_is_being_put,
        a_value_that_several_stores_put_at_the_same_time_is_new_for_one_of_them_and_whole_for_the_others;
    &[] => process:
        put_until_killed;
}

fn store(folder: &impl AsRef<Path>) -> OpendalStore {
    let path = |name| folder.as_ref().join(name).to_str().unwrap().to_owned();
    let service = services::Fs::default().root(&path("films")).atomic_write_dir(&path("unfinished"));
    OpendalStore::new(Operator::new(service).unwrap())
}

/// The same files, without the setting `atomic_write_dir`.
fn in_place(folder: &impl AsRef<Path>) -> OpendalStore {
    let root = folder.as_ref().join("films");
    OpendalStore::new(Operator::new(services::Fs::default().root(root.to_str().unwrap())).unwrap())
}

fn node(folder: &Folder) -> VideoCacheLayer {
    VideoCacheLayer::new(store(folder)).chunk_size(ChunkSize::new(64 << 10).unwrap()).fill(Fill::whole())
}

fn value(seed: u8) -> Bytes {
    vec![seed; 8 << 20].into()
}

// The store.

async fn a_folder_keeps_the_contract() {
    let folder = Folder::new();
    conformance::check(&store(&folder)).await;
}

async fn a_value_that_was_put_is_there_after_a_restart() {
    let folder = Folder::new();
    store(&folder).put("c/1/0", value(1)).await.unwrap();
    assert!(store(&folder).get("c/1/0").await.unwrap().unwrap() == value(1));
}

async fn keys_that_a_path_cannot_tell_apart_are_refused() {
    let folder = Folder::new();
    let store = store(&folder);
    for key in ["../a", "a//b", "a/./b", "/a", "a/", "", "."] {
        assert!(store.put(key, Bytes::from_static(b"x")).await.is_err(), "{key}");
        assert!(store.get(key).await.is_err(), "{key}");
        assert!(store.remove(key).await.is_err(), "{key}");
    }
    assert!(folder.files("").is_empty());
}

async fn a_value_does_not_keep_the_buffer_it_was_read_into() {
    let folder = Folder::new();
    let store = store(&folder);
    for length in [300, 1 << 20, (1 << 20) + 40, 3 << 20] {
        store.put("c/1/0", vec![1; length].into()).await.unwrap();
        let value = store.get("c/1/0").await.unwrap().unwrap();
        assert_eq!(value.len(), length);
        let kept = value.try_into_mut().unwrap().capacity();
        assert!(kept <= length + length / 4, "{kept} for {length}");
    }
}

async fn a_reader_never_sees_a_part_of_a_value_that_is_being_put() {
    let folder = Folder::new();
    let store = store(&folder);
    let writing = async {
        for seed in 1..=10 {
            store.put("m/1", value(seed)).await.unwrap();
        }
    };
    let mut writing = pin!(writing);
    let mut seen = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = &mut writing => break,
            got = store.get("m/1") => {
                if let Some(got) = got.unwrap() {
                    assert!(got == value(got[0]), "{} bytes of {}", got.len(), got[0]);
                    seen.push(got[0]);
                }
            }
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(store.get("m/1").await.unwrap().unwrap() == value(10));
}

/// opendal's own condition serves neither kind of folder: with `atomic_write_dir`, two writers may create one value; without
/// it, a reader sees a new file before it is whole.
async fn a_value_that_several_stores_put_at_the_same_time_is_new_for_one_of_them_and_whole_for_the_others() {
    for make in [store, in_place] {
        let folder = Folder::new();
        for round in 0..20 {
            let key = format!("p/{round}");
            let mut writers = tokio::task::JoinSet::new();
            for seed in 0..8 {
                let (store, key) = (make(&folder), key.clone());
                writers.spawn(async move {
                    let value = Bytes::from(vec![seed; 300_000]);
                    let put = store.put_new(&key, value).await.unwrap();
                    let got = store.get(&key).await.unwrap().unwrap();
                    assert!(got == vec![got[0]; 300_000], "{} bytes of {}", got.len(), got[0]);
                    (put, seed, got[0])
                });
            }
            let ended = writers.join_all().await;
            let creators: Vec<_> = ended.iter().filter(|(put, ..)| *put == PutNew::Created).collect();
            assert_eq!(creators.len(), 1, "{ended:?}");
            assert!(ended.iter().all(|(put, _, got)| *put != PutNew::NotOffered && *got == creators[0].1));
        }
        assert_eq!(folder.files("").len(), 20, "no store leaves other files behind");
    }
}

async fn a_new_value_that_is_given_up_is_there_whole_or_not_at_all() {
    for make in [store, in_place] {
        let folder = Folder::new();
        let store = make(&folder);
        assert_eq!(store.put_new("p/first", value(0)).await.unwrap(), PutNew::Created);
        for polls in 0..30 {
            let key = format!("p/{polls}");
            {
                let mut put = pin!(store.put_new(&key, value(1)));
                for _ in 0..polls {
                    if put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                        break;
                    }
                    yield_now().await;
                }
            }
            let got = store.get(&key).await.unwrap();
            assert!(got.is_none_or(|got| got == value(1)), "{polls}");
        }
    }
}

async fn a_dropped_put_leaves_nothing_but_an_unfinished_file() {
    let folder = Folder::new();
    let store = store(&folder);
    store.put("m/1", value(0)).await.unwrap();
    for polls in 0..30 {
        {
            let mut put = pin!(store.put("m/1", value(1)));
            for _ in 0..polls {
                if put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                yield_now().await;
            }
        }
        let got = store.get("m/1").await.unwrap().unwrap();
        assert!(got == value(0) || got == value(1), "{polls}: {} bytes", got.len());
        assert_eq!(folder.files("/films/").len(), 1);
    }
}

/// The child process of the test below: puts until it is killed. Without a parent, it does nothing.
async fn put_until_killed() {
    let Some(root) = env::var_os(UNTIL_KILLED) else { return };
    let store = store(&PathBuf::from(root));
    for seed in (1..200).cycle() {
        store.put(&format!("c/1/{}", seed % 3), value(seed)).await.unwrap();
    }
}

async fn a_process_that_is_killed_in_a_put_leaves_nothing_but_an_unfinished_file() {
    let folder = Folder::new();
    let store = store(&folder);
    for _ in 0..3 {
        let mut child = Process::of_test("stores::disk::put_until_killed", UNTIL_KILLED, folder.as_ref());
        let begun = Instant::now();
        // The kill comes in the middle of a put, after an earlier put has ended.
        while folder.files("/unfinished/").is_empty() || folder.files("/films/").is_empty() {
            assert!(begun.elapsed() < LONG, "the child puts");
            yield_now().await;
        }
        child.kill();
        for key in ["c/1/0", "c/1/1", "c/1/2"] {
            if let Some(got) = store.get(key).await.unwrap() {
                assert!(got == value(got[0]), "{key}: {} bytes", got.len());
            }
        }
        for path in folder.files("/films/") {
            fs::remove_file(path).unwrap();
        }
        for path in folder.files("/unfinished/") {
            fs::remove_file(path).unwrap();
        }
    }
}

// The whole layer.

async fn a_response_stored_before_a_restart_is_a_hit_after_it() {
    let folder = Folder::new();
    let film = Film::of(300_000);
    assert!(film.watch(&node(&folder)).await.contains("stored"));
    assert!(film.watch(&node(&folder)).await.contains("; hit"));
    assert_eq!(film.asked().len(), 1);
}

async fn files_that_were_damaged_behind_our_back_give_the_true_bytes_all_the_same() {
    let damages: [Damage; 6] = [
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("cut by a byte", |bytes| bytes.truncate(bytes.len() - 1)),
        ("emptied", Vec::clear),
        ("a bit flipped", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("lengthened", |bytes| bytes.push(0)),
        ("zeroes", |bytes| bytes.fill(0)),
    ];
    for (what, damage) in damages {
        for part in ["/films/c/", "/films/m/", "/films/"] {
            let folder = Folder::new();
            let film = Film::of(300_000);
            let layer = node(&folder);
            film.watch(&layer).await;
            let victims = folder.files(part);
            assert!(!victims.is_empty(), "{part}");
            for path in victims {
                let mut bytes = fs::read(&path).unwrap();
                damage(&mut bytes);
                fs::write(&path, bytes).unwrap();
            }
            film.watch_part(&layer, 70_000..140_000).await;
            film.watch(&layer).await;
            film.watch(&node(&folder)).await;
            assert!(film.watch(&node(&folder)).await.contains("; hit"), "{what}, {part}");
        }
    }
}

/// The name of a kind of damage, and the function that does it.
type Damage = (&'static str, fn(&mut Vec<u8>));

const UNTIL_KILLED: &str = "TOWER_VIDEO_CACHE_PUT_UNTIL_KILLED";
const LONG: Duration = Duration::from_secs(30);
