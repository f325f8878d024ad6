//! `FoyerStore` over a real disk: bursts, restarts, kills, damage, and the whole layer.

use std::{
    env,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tower_video_cache::{Error, FoyerOptions, FoyerStore, PutNew, Store, VideoCacheLayer, conformance};

use crate::{folder::Folder, servers::Process, stores::film::Film, trials::tests};

tests! {
    &[] => on_threads:
        the_store_keeps_the_contract,
        a_burst_of_puts_loses_nothing_now_or_after_a_restart,
        a_full_disk_drops_the_oldest_values_and_holds_its_capacity,
        a_new_value_is_there_after_a_restart_and_not_new_again,
        the_last_put_or_remove_of_a_key_holds_after_a_restart,
        an_old_value_never_comes_back_however_often_the_disk_is_filled_and_opened,
        racing_calls_leave_the_value_that_a_restart_finds,
        after_a_close_every_call_is_an_error_and_the_directory_is_free,
        a_store_that_was_dropped_open_keeps_its_directory,
        a_disk_of_another_size_keeps_its_blocks_or_none_of_them,
        a_smaller_disk_brings_nothing_back,
        a_disk_without_a_clean_block_is_written_again,
        a_damaged_disk_gives_the_truth_or_nothing,
        a_value_that_could_not_be_read_once_is_removed_for_good,
        a_killed_process_leaves_the_truth_or_nothing,
        a_video_is_served_from_the_disk_after_a_restart,
        a_video_that_does_not_fit_the_disk_is_true;
    &[] => on_one_thread:
        the_store_keeps_the_contract_on_one_thread_and_a_small_disk,
        a_value_or_key_over_the_limit_is_an_error,
        options_that_cannot_work_are_refused_when_the_store_is_opened,
        the_values_that_a_full_disk_keeps_have_no_gap;
    &[] => process:
        writes_until_it_is_killed,
        fails_to_write,
        fails_to_write_once;
    &["prlimit"] => on_threads:
        a_write_that_fails_once_is_noticed_by_every_reader_and_brings_nothing_back;
    &["prlimit"] => plain:
        a_disk_that_cannot_be_written_is_an_error_and_brings_nothing_back;
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

async fn the_store_keeps_the_contract() {
    for memory in [0, 64 * KIB, 64 * MIB] {
        let folder = Folder::new();
        let store = FoyerStore::open(&folder, memory, 512 * MIB).await.unwrap();
        conformance::check(&store).await;
        store.close().await.unwrap();
        let store = FoyerStore::open(&folder, memory, 512 * MIB).await.unwrap();
        conformance::check(&store).await;
    }
}

async fn the_store_keeps_the_contract_on_one_thread_and_a_small_disk() {
    let folder = Folder::new();
    let store = FoyerOptions::new(0, 48 * MIB).max_value_size(MIB + 40).open(&folder).await.unwrap();
    conformance::check(&store).await;
}

async fn a_burst_of_puts_loses_nothing_now_or_after_a_restart() {
    for (length, count) in [(MIB, 200), (4 * MIB, 50)] {
        let folder = Folder::new();
        let store = Arc::new(open(&folder, 16 * MIB, 1536 * MIB).await);
        let mut puts = tokio::task::JoinSet::new();
        for index in 0..count {
            let store = Arc::clone(&store);
            puts.spawn(async move {
                let key = format!("c/burst/{index}");
                store.put(&key, patterned(&key, 1, length)).await.unwrap();
            });
        }
        puts.join_all().await;
        all_are_there(&*store, 0..count, length).await;
        store.close().await.unwrap();
        all_are_there(&open(&folder, 16 * MIB, 1536 * MIB).await, 0..count, length).await;
    }
}

async fn all_are_there(store: &impl Store, chunks: std::ops::Range<u64>, length: u64) {
    for index in chunks {
        let key = format!("c/burst/{index}");
        let got = store.get(&key).await.unwrap();
        assert!(got.is_some_and(|got| got == patterned(&key, 1, length)), "{key} of {length}");
    }
}

async fn a_full_disk_drops_the_oldest_values_and_holds_its_capacity() {
    for length in [MIB, MIB / 2 + 5000] {
        let folder = Folder::new();
        let options = FoyerOptions::new(2 * MIB, 64 * MIB).max_value_size(MIB);
        let store = options.clone().open(&folder).await.unwrap();
        let held = store.capacity().unwrap() / length;
        assert!(held >= 24, "{held}");
        for index in 0_u64..400 {
            let key = format!("c/burst/{index}");
            store.put(&key, patterned(&key, 1, length)).await.unwrap();
            let first = index.saturating_sub(held - 1);
            if index % 40 == 0 {
                all_are_there(&store, first..index + 1, length).await;
            }
        }
        all_are_there(&store, 400 - held..400, length).await;
        assert_eq!(store.get("c/burst/0").await.unwrap(), None);
        store.close().await.unwrap();
        // Half of it, because a restart leaves a block that is not full.
        all_are_there(&options.open(&folder).await.unwrap(), 400 - held / 2..400, length).await;
    }
}

async fn a_new_value_is_there_after_a_restart_and_not_new_again() {
    let folder = Folder::new();
    let store = small(&folder).await;
    assert_eq!(store.put_new("p/1", patterned("p/1", 1, 3000)).await.unwrap(), PutNew::Created);
    store.close().await.unwrap();
    let store = small(&folder).await;
    assert_eq!(store.put_new("p/1", patterned("p/1", 2, 3000)).await.unwrap(), PutNew::Exists);
    assert_eq!(store.get("p/1").await.unwrap().unwrap(), patterned("p/1", 1, 3000));
    store.remove("p/1").await.unwrap();
    assert_eq!(store.put_new("p/1", patterned("p/1", 2, 3000)).await.unwrap(), PutNew::Created);
}

async fn the_last_put_or_remove_of_a_key_holds_after_a_restart() {
    let folder = Folder::new();
    let store = small(&folder).await;
    for version in 1..=5 {
        for key in ["m/overwritten", "m/removed", "m/back"] {
            store.put(key, patterned(key, version, 3000)).await.unwrap();
        }
    }
    store.remove("m/removed").await.unwrap();
    store.remove("m/back").await.unwrap();
    store.put("m/back", patterned("m/back", 6, 100)).await.unwrap();
    assert_eq!(store.get("m/removed").await.unwrap(), None);
    store.close().await.unwrap();

    for _ in 0..3 {
        let store = small(&folder).await;
        assert_eq!(store.get("m/removed").await.unwrap(), None);
        assert_eq!(store.get("m/overwritten").await.unwrap().unwrap(), patterned("m/overwritten", 5, 3000));
        assert_eq!(store.get("m/back").await.unwrap().unwrap(), patterned("m/back", 6, 100));
        store.close().await.unwrap();
    }
}

async fn an_old_value_never_comes_back_however_often_the_disk_is_filled_and_opened() {
    let folder = Folder::new();
    for round in 0..24_u64 {
        let store = small(&folder).await;
        for before in 0..round {
            // Each key is put in its own round, and put again or removed in the next one.
            let again = format!("m/again-{before}");
            let version = u64::from(before + 1 < round);
            let got = store.get(&again).await.unwrap();
            assert!(got.is_none_or(|got| got == patterned(&again, version, 900)), "{again} in {round}");
            let gone = store.get(&format!("m/gone-{before}")).await.unwrap();
            assert!(gone.is_none() || before + 1 == round, "{before} in {round}");
        }
        for (key, version) in [(round, 0), (round.wrapping_sub(1), 1)] {
            let key = format!("m/again-{key}");
            store.put(&key, patterned(&key, version, 900)).await.unwrap();
        }
        store.put(&format!("m/gone-{round}"), patterned("", 0, 900)).await.unwrap();
        store.remove(&format!("m/gone-{}", round.wrapping_sub(1))).await.unwrap();
        // These values are more than a block, and less than the disk.
        for index in 0..10 {
            store.put(&format!("c/{round}/{index}"), patterned("", 0, 100 * KIB)).await.unwrap();
        }
        store.close().await.unwrap();
    }
}

async fn racing_calls_leave_the_value_that_a_restart_finds() {
    let folder = Folder::new();
    let store = Arc::new(small(&folder).await);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for round in 0..40 {
                let key = format!("m/{}", (task + round) % 3);
                match (task + round * 3) % 5 {
                    0 => store.remove(&key).await.unwrap(),
                    1 | 2 => {
                        let got = store.get(&key).await.unwrap();
                        assert!(got.is_none_or(|got| is_true(&key, &got)));
                    }
                    _ => store.put(&key, patterned(&key, task * 100 + round, 2000)).await.unwrap(),
                }
            }
        });
    }
    tasks.join_all().await;
    let mut last = Vec::new();
    for key in ["m/0", "m/1", "m/2"] {
        last.push(store.get(key).await.unwrap());
    }
    store.close().await.unwrap();
    let store = small(&folder).await;
    for (key, last) in ["m/0", "m/1", "m/2"].into_iter().zip(last) {
        assert_eq!(store.get(key).await.unwrap(), last, "{key}");
    }
}

async fn after_a_close_every_call_is_an_error_and_the_directory_is_free() {
    let folder = Folder::new();
    let store = small(&folder).await;
    store.put("m/a", Bytes::from_static(b"a")).await.unwrap();
    let error = FoyerOptions::new(0, 8 * MIB).max_value_size(100 * KIB).open(&folder).await.unwrap_err();
    assert!(error.is_store() && source(&error).contains("in use"), "{error:?}");

    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(store.get("m/a").await.is_err());
    assert!(store.put("m/a", Bytes::new()).await.is_err());
    assert!(store.put("c/a", Bytes::new()).await.is_err());
    assert!(store.remove("m/a").await.is_err());
    assert_eq!(small(&folder).await.get("m/a").await.unwrap().unwrap(), "a");
}

async fn a_store_that_was_dropped_open_keeps_its_directory() {
    let folder = Folder::new();
    drop(small(&folder).await);
    let again = FoyerOptions::new(0, 8 * MIB).max_value_size(100 * KIB).open(&folder).await;
    assert!(again.unwrap_err().is_store());
}

async fn a_value_or_key_over_the_limit_is_an_error() {
    let folder = Folder::new();
    let store = small(&folder).await;
    let limit = store.max_value_size().unwrap();
    assert_eq!(limit, 100 * KIB);
    for key in ["m/large".to_owned(), "k".repeat(1024)] {
        store.put(&key, patterned(&key, 0, limit)).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().unwrap(), patterned(&key, 0, limit));
        assert!(store.put(&key, patterned(&key, 0, limit + 1)).await.is_err());
        assert_eq!(store.get(&key).await.unwrap().unwrap(), patterned(&key, 0, limit));
    }
    let key = "k".repeat(1025);
    assert!(store.put(&key, Bytes::new()).await.is_err());
    assert_eq!(store.get(&key).await.unwrap(), None);
    store.remove(&key).await.unwrap();
}

async fn options_that_cannot_work_are_refused_when_the_store_is_opened() {
    let folder = Folder::new();
    let setting = |error: Error| error.is_config();
    assert!(setting(FoyerStore::open(&folder, MIB, 0).await.unwrap_err()));
    assert!(setting(FoyerStore::open(&folder, MIB, 100 * MIB).await.unwrap_err()));
    for largest in [0, 65 * MIB, u64::MAX] {
        let options = FoyerOptions::new(MIB, u64::MAX / 2).max_value_size(largest);
        assert!(setting(options.open(&folder).await.unwrap_err()));
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "and nothing was made");

    let file = folder.as_ref().join("file");
    File::create(&file).unwrap();
    for path in [folder.as_ref().join("absent"), file.clone(), file.join("below"), "/proc/self/fd".into()] {
        let error = FoyerStore::open(&path, MIB, 256 * MIB).await.unwrap_err();
        assert!(error.is_store(), "{} {error:?}", path.display());
    }
    assert!(!folder.as_ref().join("absent").exists());
}

async fn a_disk_of_another_size_keeps_its_blocks_or_none_of_them() {
    let folder = Folder::new();
    let open = |disk, largest| {
        let folder = folder.as_ref().to_owned();
        async move { FoyerOptions::new(0, disk).max_value_size(largest).open(folder).await.unwrap() }
    };
    let store = open(8 * MIB, 100 * KIB).await;
    store.put("m/a", patterned("m/a", 1, 1000)).await.unwrap();
    store.close().await.unwrap();

    let store = open(12 * MIB, 100 * KIB).await;
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), patterned("m/a", 1, 1000));
    for index in 0..200 {
        store.put(&format!("m/{index}"), patterned("", 0, 100 * KIB)).await.unwrap();
    }
    store.close().await.unwrap();

    let store = open(6 * MIB, 100 * KIB).await;
    store.put("m/other", patterned("m/other", 1, 1000)).await.unwrap();
    store.close().await.unwrap();
    let on_disk: u64 =
        fs::read_dir(&folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk <= 6 * MIB, "{on_disk}");

    let store = open(8 * MIB, 200 * KIB).await;
    assert_eq!(store.get("m/199").await.unwrap(), None);
    assert_eq!(store.get("m/other").await.unwrap(), None);
    store.put("m/199", patterned("m/199", 2, 1000)).await.unwrap();
    store.close().await.unwrap();
    assert!(open(8 * MIB, 200 * KIB).await.get("m/199").await.unwrap().is_some());
}

async fn a_smaller_disk_brings_nothing_back() {
    let folder = Folder::new();
    let open = |disk| FoyerOptions::new(0, disk).max_value_size(100 * KIB).open(folder.as_ref());
    let store = open(8 * MIB).await.unwrap();
    for key in ["m/overwritten", "m/removed"] {
        store.put(key, patterned(key, 1, 1000)).await.unwrap();
    }
    // These puts fill the blocks that the smaller disk does not have.
    for index in 0..50 {
        store.put(&format!("c/a/{index}"), patterned("", 0, 100 * KIB)).await.unwrap();
    }
    store.put("m/overwritten", patterned("m/overwritten", 2, 1000)).await.unwrap();
    store.remove("m/removed").await.unwrap();
    store.close().await.unwrap();

    let store = open(6 * MIB).await.unwrap();
    for key in ["m/overwritten", "m/removed", "c/a/0"] {
        assert_eq!(store.get(key).await.unwrap(), None, "{key}");
    }
}

async fn a_disk_without_a_clean_block_is_written_again() {
    let folder = Folder::new();
    let store = small(&folder).await;
    for index in 0..200 {
        store.put(&format!("c/a/{index}"), patterned("", 0, 100 * KIB)).await.unwrap();
    }
    store.close().await.unwrap();
    // A kill leaves a block in this state, between the last clean block and the next.
    let blocks = block_files(&folder);
    for block in &blocks {
        if first_page_is_clear(block) {
            fs::copy(&blocks[usize::from(block == &blocks[0])], block).unwrap();
        }
    }
    assert!(!blocks.iter().any(|block| first_page_is_clear(block)));

    let store = small(&folder).await;
    for index in 0..200 {
        let key = format!("m/{index}");
        within(store.put(&key, patterned(&key, 1, 100 * KIB))).await.unwrap();
        assert!(store.get(&key).await.unwrap().is_some_and(|got| is_true(&key, &got)));
    }
}

async fn a_damaged_disk_gives_the_truth_or_nothing() {
    for damage in 0..24_u64 {
        let folder = Folder::new();
        let store = small(&folder).await;
        for index in 0..40 {
            let key = format!("m/{index}");
            store.put(&key, patterned(&key, 1, 50 * KIB)).await.unwrap();
            store.put(&key, patterned(&key, 2, 50 * KIB)).await.unwrap();
        }
        store.close().await.unwrap();
        for (number, block) in block_files(&folder).iter().enumerate() {
            spoil(block, damage, number);
        }
        let store = small(&folder).await;
        let mut there = 0;
        for index in 0..40 {
            let key = format!("m/{index}");
            if let Ok(Some(got)) = store.get(&key).await {
                assert!(is_true(&key, &got), "{key} with damage {damage}");
                there += 1;
            }
            store.put(&key, patterned(&key, 3, 50 * KIB)).await.unwrap();
            assert_eq!(store.get(&key).await.unwrap().unwrap(), patterned(&key, 3, 50 * KIB));
        }
        assert!(there < 40, "damage {damage} was damage");
    }
}

async fn a_value_that_could_not_be_read_once_is_removed_for_good() {
    let folder = Folder::new();
    let options = FoyerOptions::new(0, 8 * MIB).max_value_size(100 * KIB);
    let store = options.clone().open(&folder).await.unwrap();
    store.put("m/a", patterned("m/a", 1, 1000)).await.unwrap();
    flip_records(&folder);
    assert_eq!(store.get("m/a").await.unwrap(), None);
    flip_records(&folder);
    store.remove("m/a").await.unwrap();
    store.close().await.unwrap();
    assert_eq!(options.open(&folder).await.unwrap().get("m/a").await.unwrap(), None);
}

/// Flips a bit of each page of a block except the first.
fn flip_records(folder: &Folder) {
    for block in block_files(folder) {
        let mut bytes = fs::read(&block).unwrap();
        bytes.chunks_mut(4096).skip(1).for_each(|page| page[100] ^= 1);
        // The bytes go into the same file, which the store has open.
        OpenOptions::new().write(true).open(&block).unwrap().write_all(&bytes).unwrap();
    }
}

/// Flips bits: a few anywhere, some in the first page, every 40th byte, or all of a page.
fn spoil(block: &Path, damage: u64, number: usize) {
    let mut file = OpenOptions::new().read(true).write(true).open(block).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let length = bytes.len();
    let mut random = damage * 7919 + u64::try_from(number).unwrap();
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    match damage % 4 {
        0 => (0..20).for_each(|_| bytes[next(length)] ^= 1),
        1 => bytes[next(64)] ^= 0x80,
        2 => bytes.iter_mut().step_by(40).for_each(|byte| *byte ^= 4),
        // This damages the header and first bytes of each record.
        _ => bytes.chunks_mut(4096).for_each(|page| page[next(80)] ^= 16),
    }
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(&bytes).unwrap();
}

async fn a_killed_process_leaves_the_truth_or_nothing() {
    for records in [3, 40, 150] {
        let folder = Folder::new();
        let mut writer =
            Process::of_test("stores::foyer::writes_until_it_is_killed", WRITER_FOLDER, folder.as_ref());
        let (told, removed) = told_until(&mut writer, records);
        writer.kill();

        let store = small(&folder).await;
        let mut there = 0;
        for index in 0..u64::try_from(told + 20).unwrap() {
            for key in [format!("c/{index}/0"), format!("c/{index}/1"), format!("m/{}", index % 16)] {
                if let Some(got) = store.get(&key).await.unwrap() {
                    assert!(is_true(&key, &got), "{key}");
                    there += 1;
                }
            }
        }
        assert!(there > 0);
        // A key holds the last version that was reported as put, or the next one, which was under way.
        for slot in 0..16_usize {
            let Some(last) = (0..told).rev().find(|index| index % 16 == slot) else { continue };
            let key = format!("m/{slot}");
            let versions = [last, last + 16].map(|version| u64::try_from(version).unwrap());
            let got = store.get(&key).await.unwrap();
            let may_be = versions.map(|version| patterned(&key, version, 3000));
            assert!(got.is_some_and(|got| may_be.contains(&got)), "{key} of {told}");
        }
        for index in 0..removed {
            assert_eq!(store.get(&format!("m/removed-{index}")).await.unwrap(), None, "{index}");
        }
        // The store can be written.
        within(store.put("m/after", Bytes::from_static(b"after"))).await.unwrap();
    }
}

/// The child process of the test above: puts for ever, and reports each finished record and removal.
async fn writes_until_it_is_killed() {
    let Some(folder) = env::var_os(WRITER_FOLDER) else { return };
    let store = small(&PathBuf::from(folder)).await;
    for index in 0_u64.. {
        for half in 0..2 {
            let key = format!("c/{index}/{half}");
            store.put(&key, patterned(&key, index, 60 * KIB)).await.unwrap();
        }
        let key = format!("m/{}", index % 16);
        store.put(&key, patterned(&key, index, 3000)).await.unwrap();
        println!("put {index}");
        let key = format!("m/removed-{index}");
        store.put(&key, patterned(&key, 0, 500)).await.unwrap();
        store.remove(&key).await.unwrap();
        println!("removed {index}");
    }
}

/// Reads until a writer has reported this many records. Returns the reported records and removals.
fn told_until(writer: &mut Process, records: usize) -> (usize, usize) {
    let (mut put, mut removed) = (0, 0);
    for line in writer.lines() {
        put += usize::from(line.contains("put "));
        removed += usize::from(line.contains("removed "));
        if put == records {
            break;
        }
    }
    assert_eq!(put, records, "the writer lives");
    (put, removed)
}

async fn the_values_that_a_full_disk_keeps_have_no_gap() {
    let folder = Folder::new();
    let store = FoyerOptions::new(0, 8 * MIB).max_value_size(100 * KIB).open(&folder).await.unwrap();
    let value = patterned("", 0, 90 * KIB);
    let mut put = 0_u64;
    for round in 0..120 {
        // On one thread, foyer gets all puts at once that may wait.
        for _ in 0..8 + round % 13 {
            store.put(&format!("c/a/{put}"), value.clone()).await.unwrap();
            put += 1;
        }
        store.put("m/written", Bytes::from_static(b"until here")).await.unwrap();
        let mut there = Vec::new();
        for index in put.saturating_sub(120)..put {
            there.push(store.get(&format!("c/a/{index}")).await.unwrap().is_some());
        }
        let first = there.iter().position(|is_there| *is_there).unwrap();
        assert!(there[first..].iter().all(|is_there| *is_there), "{there:?} of {put}");
    }
}

fn a_disk_that_cannot_be_written_is_an_error_and_brings_nothing_back() {
    let folder = Folder::new();
    run_with_limits("stores::foyer::fails_to_write", FAILING_FOLDER, folder.as_ref());
}

/// Runs one of the tests below in a process of its own, which may limit its files.
fn run_with_limits(test: &str, variable: &str, folder: &Path) {
    // A write over the file-size limit also raises a signal, which must be ignored.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(variable, folder)
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The child process of the test above.
async fn fails_to_write() {
    let Some(folder) = env::var_os(FAILING_FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let store = small(&folder).await;
    let mut chunk = 0..;
    for key in ["m/replaced", "m/removed"] {
        store.put(key, patterned(key, 1, 3000)).await.unwrap();
    }
    for _ in 0..6 {
        let key = format!("c/a/{}", chunk.next().unwrap());
        store.put(&key, patterned(&key, 1, 90 * KIB)).await.unwrap();
    }
    store.put("m/replaced", patterned("m/replaced", 2, 3000)).await.unwrap();
    store.remove("m/removed").await.unwrap();

    limit_files("0");
    // These puts fill more than the block that is being written.
    for _ in 0..16 {
        let key = format!("c/a/{}", chunk.next().unwrap());
        let _ = within(store.put(&key, patterned(&key, 1, 90 * KIB))).await;
        assert!(within(store.put("m/unwritten", patterned("m/unwritten", 1, 3000))).await.is_err());
    }
    assert!(within(store.remove("m/replaced")).await.is_err());
    // This removes the key once more, because it may be unknown by now.
    assert!(within(store.remove("m/replaced")).await.is_err());
    limit_files("unlimited");
    for _ in 0..4 {
        let key = format!("c/a/{}", chunk.next().unwrap());
        let _ = within(store.put(&key, patterned(&key, 1, 90 * KIB))).await;
        let _ = within(store.put("m/late", patterned("m/late", 1, 3000))).await;
    }
    for index in 0..chunk.start {
        let key = format!("c/a/{index}");
        if let Ok(Some(got)) = within(store.get(&key)).await {
            assert!(is_true(&key, &got), "{key}");
        }
    }
    for key in ["m/removed", "m/unwritten"] {
        assert!(within(store.get(key)).await.is_ok_and(|got| got.is_none()), "{key}");
    }
    for _ in 0..2 {
        assert!(within(store.close()).await.unwrap_err().is_store());
        assert!(store.get("m/replaced").await.is_err());
    }

    // A chunk is put before it is written, and is missed at the close.
    let store = small(&folder).await;
    for key in ["m/removed", "m/replaced", "c/a/0"] {
        assert_eq!(store.get(key).await.unwrap(), None, "{key}");
    }
    store.put("m/removed", patterned("m/removed", 3, 3000)).await.unwrap();
    limit_files("0");
    store.put("c/b/0", patterned("c/b/0", 1, 90 * KIB)).await.unwrap();
    assert!(within(store.close()).await.unwrap_err().is_store());
    limit_files("unlimited");

    let store = small(&folder).await;
    assert_eq!(store.get("m/removed").await.unwrap(), None);
    store.put("m/removed", patterned("m/removed", 4, 3000)).await.unwrap();
    store.close().await.unwrap();
    assert!(small(&folder).await.get("m/removed").await.unwrap().is_some());
}

async fn a_write_that_fails_once_is_noticed_by_every_reader_and_brings_nothing_back() {
    for variable in [READ_FOLDER, UNREAD_FOLDER] {
        let folder = Folder::new();
        run_with_limits("stores::foyer::fails_to_write_once", variable, folder.as_ref());
        let store = small(&folder).await;
        for key in ["m/removed", "m/replaced"] {
            assert_eq!(store.get(key).await.unwrap(), None, "{key} of {variable}");
        }
    }
}

/// The child processes of the test above.
async fn fails_to_write_once() {
    let is_read = env::var_os(READ_FOLDER);
    let Some(folder) = is_read.clone().or_else(|| env::var_os(UNREAD_FOLDER)) else { return };
    let folder = PathBuf::from(folder);
    let options = FoyerOptions::new(0, 8 * MIB).max_value_size(100 * KIB);
    let store = Arc::new(options.open(&folder).await.unwrap());
    let large = |index: u64| {
        let store = Arc::clone(&store);
        async move {
            let key = format!("c/a/{index}");
            within(store.put(&key, patterned(&key, 1, 90 * KIB))).await
        }
    };
    // A block has 105 pages: 1 of its index, 23 for each large value, 1 for each small one.
    for key in ["m/removed", "m/replaced"] {
        store.put(key, patterned(key, 1, 3000)).await.unwrap();
    }
    let small = |index| format!("c/s/{index}");
    for index in 0..96 {
        store.put(&small(index), patterned("", 0, 500)).await.unwrap();
    }
    store.put("m/written", patterned("m/written", 0, 90)).await.unwrap();
    // This value is in the second block.
    large(4).await.unwrap();
    store.remove("m/removed").await.unwrap();
    store.put("m/replaced", patterned("m/replaced", 2, 3000)).await.unwrap();
    for index in 5..8 {
        large(index).await.unwrap();
        store.put("m/written", patterned("m/written", index, 90)).await.unwrap();
    }
    if is_read.is_some() {
        for index in 0..4 * 96 {
            let (store, key) = (Arc::clone(&store), small(index % 96));
            tokio::spawn(async move {
                while store.get(&key).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    limit_files("0");
    large(8).await.unwrap();
    // The value is there until it is written, and gone if that has failed.
    within(async { while store.get("c/a/8").await.unwrap().is_some() {} }).await;
    limit_files("unlimited");
    if is_read.is_some() {
        assert!(within(store.put("m/after", patterned("m/after", 1, 90))).await.is_err());
        assert!(large(9).await.is_err());
        assert!(within(store.close()).await.unwrap_err().is_store());
        return;
    }
    // No call comes any more, but the blocks are removed all the same.
    within(async {
        while fs::read_dir(&folder).unwrap().count() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(large(9).await.is_err());
    // The process ends as if it were killed.
    process::exit(0);
}

/// Limits the files that this process writes to this many bytes.
fn limit_files(bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let done = Command::new("prlimit").args(["--pid", &process::id().to_string(), &limit]).status();
    assert!(done.unwrap().success(), "prlimit {limit}");
}

async fn a_video_is_served_from_the_disk_after_a_restart() {
    let folder = Folder::new();
    let film = Film::of((10 << 20) + 12_345);

    let store = Arc::new(open(&folder, 4 * MIB, 256 * MIB).await);
    let layer = VideoCacheLayer::new(Arc::clone(&store));
    film.watch(&layer).await;
    film.watch(&layer).await;
    film.watch_part(&layer, 3 << 20..7 << 20).await;
    assert_eq!(film.asked().len(), 1);
    drop(layer);
    store.close().await.unwrap();

    let store = Arc::new(open(&folder, 4 * MIB, 256 * MIB).await);
    let layer = VideoCacheLayer::new(Arc::clone(&store));
    film.watch_part(&layer, 5..9 << 20).await;
    film.watch(&layer).await;
    assert_eq!(film.asked().len(), 1, "the inner service was not asked");

    // A closed store beneath its layer acts as no store.
    store.close().await.unwrap();
    film.watch(&layer).await;
    assert_eq!(film.asked().len(), 2);
}

async fn a_video_that_does_not_fit_the_disk_is_true() {
    let folder = Folder::new();
    let film = Film::of(20 << 20);
    let layer = VideoCacheLayer::new(small(&folder).await);
    for _ in 0..2 {
        film.watch(&layer).await;
        film.watch_part(&layer, 1 << 20..2 << 20).await;
    }
}

async fn open(folder: &impl AsRef<Path>, memory: u64, disk: u64) -> FoyerStore {
    FoyerStore::open(folder, memory, disk).await.unwrap()
}

/// A disk of 18 blocks, and almost no memory.
async fn small(folder: &impl AsRef<Path>) -> FoyerStore {
    FoyerOptions::new(64 * KIB, 8 * MIB).max_value_size(100 * KIB).open(folder).await.unwrap()
}

/// Limits the time of a call that might never end.
async fn within<F: Future>(call: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), call).await.expect("the call ends")
}

/// `length` bytes that contain their key and version and a checksum.
fn patterned(key: &str, version: u64, length: u64) -> Bytes {
    let length = usize::try_from(length).unwrap();
    let mut bytes = format!("{key} {version} {length} ").into_bytes();
    let mut state = version.wrapping_add(sum(key.as_bytes())) | 1;
    // The pattern is a little less than a page long, so no page is like the next.
    while bytes.len() < length.min(4000) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    while bytes.len() < length {
        bytes.extend_from_within(..bytes.len().min(length - bytes.len()));
    }
    bytes.truncate(length);
    if let Some(body) = length.checked_sub(8) {
        let sum = sum(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_be_bytes());
    }
    bytes.into()
}

/// Whether the bytes are a value of the key, in any version.
fn is_true(key: &str, value: &Bytes) -> bool {
    let (body, end) = value.split_at(value.len() - 8);
    let told = format!("{key} ");
    let length = format!(" {} ", value.len());
    let head = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    sum(body).to_be_bytes() == *end && head.starts_with(&told) && head.contains(&length)
}

fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for word in &mut words {
        sum =
            (sum ^ u64::from_be_bytes(word.try_into().unwrap())).wrapping_mul(0x100_0000_01b3).rotate_left(5);
    }
    words.remainder().iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn source(error: &Error) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

fn block_files(folder: &Folder) -> Vec<PathBuf> {
    let files = folder.files("foyer-storage");
    assert!(files.len() >= 8);
    files
}

fn first_page_is_clear(block: &Path) -> bool {
    let mut page = [0; 4096];
    File::open(block).unwrap().read_exact(&mut page).unwrap();
    page.iter().all(|byte| *byte == 0)
}

const WRITER_FOLDER: &str = "FOYER_WRITER_FOLDER";
const FAILING_FOLDER: &str = "FOYER_FAILING_FOLDER";
const READ_FOLDER: &str = "FOYER_READ_FOLDER";
const UNREAD_FOLDER: &str = "FOYER_UNREAD_FOLDER";
