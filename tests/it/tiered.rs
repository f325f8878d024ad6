//! A near store before a far one: which of them answers, when one follows the other, and how the cache works when
//! either is down.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::Method;
use tower_video_cache::{
    BoxError, ChunkSize, Fault, FaultStore, Fill, Lease, MokaStore, Operation, PutNew, Store, Tiered,
    VideoCacheLayer, Writes, conformance,
};

use crate::{
    faults::FAULTS,
    rig::{Answer, CHUNK, Gate, PATH, Rig, Script, movie, seconds, settle},
};

type Faulty = FaultStore<MokaStore>;
type FaultyTiers = Tiered<Arc<Faulty>, Arc<Faulty>>;

/// So large that the suite makes no value above it.
const CAPACITY: u64 = 128 << 20;
const CHUNK_KEY: &str = "c/0/0";
const RECORD: &str = "m/0";
const OPERATIONS: [Operation; 7] = [
    Operation::Get,
    Operation::GetLog,
    Operation::Put,
    Operation::PutLog,
    Operation::PutNew,
    Operation::Remove,
    Operation::RemoveLog,
];

fn moka() -> MokaStore {
    MokaStore::new(CAPACITY).unwrap()
}

fn faulty() -> Arc<Faulty> {
    Arc::new(FaultStore::new(moka()))
}

fn tiers() -> (Arc<Faulty>, Arc<Faulty>, FaultyTiers) {
    let (near, far) = (faulty(), faulty());
    let tiered = Tiered::new(Arc::clone(&near), Arc::clone(&far));
    (near, far, tiered)
}

fn is_down(store: &Faulty, fault: Fault) {
    for operation in OPERATIONS {
        store.spoil_from(operation, 1, fault);
    }
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn got(store: &impl Store, key: &str) -> Option<Bytes> {
    store.get(key).await.unwrap()
}

/// A store that holds the answers of its gets, or its puts, at a gate. A get reads its value before it comes to the
/// gate.
#[derive(Default)]
struct Held {
    store: Option<FaultStore<MokaStore>>,
    gates: Mutex<[Option<Gate>; 2]>,
}

impl Held {
    fn new() -> Arc<Self> {
        Arc::new(Self { store: Some(FaultStore::new(moka())), gates: Mutex::default() })
    }

    fn hold_gets(&self) -> Gate {
        self.gates.lock().unwrap()[0].insert(Gate::shut()).clone()
    }

    fn hold_puts(&self) -> Gate {
        self.gates.lock().unwrap()[1].insert(Gate::shut()).clone()
    }

    fn let_go(&self) {
        *self.gates.lock().unwrap() = [None, None];
    }

    fn inner(&self) -> &Faulty {
        self.store.as_ref().unwrap()
    }

    async fn pass(&self, index: usize) {
        let gate = self.gates.lock().unwrap()[index].clone();
        if let Some(gate) = gate {
            gate.opened().await;
        }
    }
}

impl Store for Held {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let value = self.inner().get(key).await;
        self.pass(0).await;
        value
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.pass(1).await;
        self.inner().put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.inner().remove(key).await
    }
}

// The contract.

async fn keeps_the_contract(store: impl Store) {
    Box::pin(conformance::check(&store)).await;
}

#[tokio::test]
async fn two_stores_in_memory_keep_the_contract_as_one() {
    keeps_the_contract(Tiered::new(moka(), moka())).await;
    keeps_the_contract(Tiered::new(moka(), moka()).writes(Writes::Both)).await;
    keeps_the_contract(Tiered::new(moka(), moka()).record_age(Duration::ZERO)).await;
}

#[tokio::test]
async fn tiers_of_tiers_keep_the_contract() {
    keeps_the_contract(Tiered::new(moka(), Tiered::new(moka(), moka()))).await;
    keeps_the_contract(Tiered::new(Tiered::new(moka(), moka()), moka())).await;
}

#[tokio::test]
async fn a_near_store_too_small_for_anything_keeps_the_contract() {
    keeps_the_contract(Tiered::new(MokaStore::new(1000).unwrap(), moka())).await;
}

#[tokio::test(start_paused = true)]
async fn with_either_store_down_the_other_keeps_the_contract() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        for writes in [Writes::FarFirst, Writes::Both] {
            let (near, _far, tiered) = tiers();
            is_down(&near, fault);
            keeps_the_contract(tiered.writes(writes)).await;
            let (_near, far, tiered) = tiers();
            far.spoil_from(Operation::Put, 1, fault);
            keeps_the_contract(tiered.writes(writes)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_far_store_down_the_near_one_is_the_cache() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        let (_near, far, tiered) = tiers();
        is_down(&far, fault);
        for key in [CHUNK_KEY, RECORD] {
            tiered.put(key, bytes("value")).await.unwrap();
            for _ in 0..3 {
                assert_eq!(got(&tiered, key).await.unwrap(), "value", "{fault:?}");
                tokio::time::advance(seconds(60)).await;
            }
        }
        tiered.put(RECORD, bytes("newer")).await.unwrap();
        assert_eq!(got(&tiered, RECORD).await.unwrap(), "newer");
        // A value that neither store has is an error.
        assert!(tiered.get("m/1").await.is_err());
        assert!(tiered.get("c/0/1").await.is_err());
    }
}

// Reads.

#[tokio::test]
async fn a_chunk_that_is_near_costs_one_near_get_and_nothing_else() {
    let (near, far, tiered) = tiers();
    tiered.put(CHUNK_KEY, bytes("chunk")).await.unwrap();
    for count in 1..=3 {
        assert_eq!(got(&tiered, CHUNK_KEY).await.unwrap(), "chunk");
        assert_eq!((near.calls(Operation::Get), near.calls(Operation::Put)), (count, 1));
        assert_eq!((far.calls(Operation::Get), far.calls(Operation::Put)), (0, 1));
    }
}

#[tokio::test]
async fn a_value_that_is_only_far_is_near_once_it_was_read() {
    for key in [CHUNK_KEY, RECORD] {
        let (near, far, tiered) = tiers();
        far.inner().put(key, bytes("value")).await.unwrap();
        for _ in 0..3 {
            assert_eq!(got(&tiered, key).await.unwrap(), "value");
        }
        assert_eq!(far.calls(Operation::Get), 1);
        assert_eq!(near.calls(Operation::Put), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_is_answered_near_however_old_and_a_record_for_its_age() {
    let (_, far, tiered) = tiers();
    let tiered = tiered.record_age(seconds(10));
    for key in [CHUNK_KEY, RECORD] {
        tiered.put(key, bytes("old")).await.unwrap();
        far.inner().put(key, bytes("new")).await.unwrap();
    }
    tokio::time::advance(Duration::from_millis(9999)).await;
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "old");
    assert_eq!(far.calls(Operation::Get), 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    assert_eq!(far.calls(Operation::Get), 1);
    tokio::time::advance(seconds(10)).await;
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    assert_eq!(far.calls(Operation::Get), 2);
    assert_eq!(got(&tiered, CHUNK_KEY).await.unwrap(), "old");
    assert_eq!(far.calls(Operation::Get), 2);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_record_counts_from_before_the_far_store_was_asked() {
    let (_, far, tiered) = tiers();
    let tiered = tiered.record_age(seconds(2)).far_timeout(seconds(5));
    far.inner().put(RECORD, bytes("old")).await.unwrap();
    far.spoil(Operation::Get, 1, Fault::Slow(Duration::from_millis(1500)));
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "old");
    far.inner().put(RECORD, bytes("new")).await.unwrap();
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    // A put counts the age in the same way.
    far.spoil(Operation::Put, 1, Fault::Slow(Duration::from_millis(1500)));
    tiered.put(RECORD, bytes("mine")).await.unwrap();
    far.inner().put(RECORD, bytes("theirs")).await.unwrap();
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "mine");
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "theirs");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_another_took_out_goes_near_too() {
    let (near, far, tiered) = tiers();
    tiered.put(RECORD, bytes("value")).await.unwrap();
    far.inner().remove(RECORD).await.unwrap();
    assert!(got(&tiered, RECORD).await.is_some());
    tokio::time::advance(seconds(2)).await;
    assert_eq!(got(&tiered, RECORD).await, None);
    settle().await;
    assert_eq!(got(near.inner(), RECORD).await, None);
}

#[tokio::test]
async fn a_near_value_from_an_earlier_life_is_asked_for_afar() {
    let (near, far, tiered) = tiers();
    near.inner().put(RECORD, bytes("of yesterday")).await.unwrap();
    assert_eq!(got(&tiered, RECORD).await, None);
    near.inner().put(RECORD, bytes("of yesterday")).await.unwrap();
    far.inner().put(RECORD, bytes("of today")).await.unwrap();
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "of today");
    // A near value that this process did not put is not believed either.
    near.inner().put(RECORD, bytes("damaged")).await.unwrap();
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "of today");
}

#[tokio::test(start_paused = true)]
async fn a_far_store_that_fails_leaves_the_record_that_is_near_however_old() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang, Fault::Slow(seconds(30))] {
        let (_, far, tiered) = tiers();
        tiered.put(RECORD, bytes("old")).await.unwrap();
        far.inner().put(RECORD, bytes("new")).await.unwrap();
        far.spoil_from(Operation::Get, 1, fault);
        tokio::time::advance(seconds(3600)).await;
        let began = tokio::time::Instant::now();
        for _ in 0..10 {
            assert_eq!(got(&tiered, RECORD).await.unwrap(), "old");
        }
        // The far store is asked once for that, for no longer than its limit.
        assert_eq!(far.calls(Operation::Get), 1, "{fault:?}");
        assert!(began.elapsed() <= seconds(1), "{fault:?}");
        tokio::time::advance(seconds(2)).await;
        assert_eq!(got(&tiered, RECORD).await.unwrap(), "old");
        assert_eq!(far.calls(Operation::Get), 2);
        far.heal();
        tokio::time::advance(seconds(2)).await;
        assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    }
}

#[tokio::test]
async fn a_value_too_large_for_the_near_store_comes_from_the_far_one() {
    for key in [CHUNK_KEY, RECORD] {
        let far = faulty();
        let tiered = Tiered::new(MokaStore::new(2000).unwrap(), Arc::clone(&far));
        let large = Bytes::from(vec![7; 5000]);
        tiered.put(key, large.clone()).await.unwrap();
        for count in 1..=2 {
            assert_eq!(got(&tiered, key).await.unwrap(), large);
            assert_eq!(far.calls(Operation::Get), count);
        }
    }
    // The older near value is not served in its place.
    let tiered = Tiered::new(MokaStore::new(2000).unwrap(), faulty());
    tiered.put(RECORD, bytes("small")).await.unwrap();
    tiered.put(RECORD, Bytes::from(vec![7; 5000])).await.unwrap();
    assert_eq!(got(&tiered, RECORD).await.unwrap().len(), 5000);
}

#[tokio::test(start_paused = true)]
async fn a_near_store_that_hangs_costs_its_limit() {
    for key in [CHUNK_KEY, RECORD] {
        let (near, far, tiered) = tiers();
        far.inner().put(key, bytes("value")).await.unwrap();
        is_down(&near, Fault::Hang);
        let began = tokio::time::Instant::now();
        assert_eq!(got(&tiered, key).await.unwrap(), "value");
        // The time of the get; nothing waits for the promotion.
        assert_eq!(began.elapsed(), Duration::from_millis(250));
    }
}

// One read for all.

#[tokio::test]
async fn readers_at_the_same_time_wait_for_one_far_read() {
    for key in [CHUNK_KEY, RECORD, "m/absent"] {
        let far = Held::new();
        far.inner().put(CHUNK_KEY, bytes("value")).await.unwrap();
        far.inner().put(RECORD, bytes("value")).await.unwrap();
        let puts = far.inner().calls(Operation::Put);
        let tiered = Arc::new(Tiered::new(moka(), Arc::clone(&far)));
        let gate = far.hold_gets();
        let ask = || {
            let tiered = Arc::clone(&tiered);
            tokio::spawn(async move { got(&*tiered, key).await })
        };
        let readers: Vec<_> = (0..50).map(|_| ask()).collect();
        settle().await;
        gate.open();
        for reader in readers {
            assert_eq!(reader.await.unwrap().is_some(), key != "m/absent");
        }
        assert_eq!(far.inner().calls(Operation::Get), 1, "{key}");
        assert_eq!(far.inner().calls(Operation::Put), puts);
    }
}

#[tokio::test]
async fn readers_that_wait_for_one_read_are_all_told_why_it_failed() {
    let far = Held::new();
    far.inner().spoil(Operation::Get, 1, Fault::Error);
    let tiered = Tiered::new(moka(), Arc::clone(&far));
    let gate = far.hold_gets();
    let opened = async {
        gate.reached_by(1).await;
        gate.open();
    };
    let (one, other, ()) = tokio::join!(tiered.get(CHUNK_KEY), tiered.get(CHUNK_KEY), opened);
    assert_eq!(one.unwrap_err().to_string(), "an injected error");
    assert_eq!(other.unwrap_err().to_string(), "an injected error");
    assert_eq!(far.inner().calls(Operation::Get), 1);
    // The next reader asks again.
    assert_eq!(got(&tiered, CHUNK_KEY).await, None);
}

#[tokio::test]
async fn a_reader_who_leaves_or_sleeps_does_not_hold_the_others() {
    for leaves in [false, true] {
        let far = Held::new();
        far.inner().put(CHUNK_KEY, bytes("value")).await.unwrap();
        let tiered = Tiered::new(moka(), Arc::clone(&far));
        let gate = far.hold_gets();
        let mut first = Box::pin(tiered.get(CHUNK_KEY));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(tiered.get(CHUNK_KEY));
        assert!(second.as_mut().now_or_never().is_none());
        let first = (!leaves).then_some(first);
        gate.reached_by(1).await;
        gate.open();
        assert_eq!(second.await.unwrap().unwrap(), "value");
        assert_eq!(far.inner().calls(Operation::Get), 1);
        if let Some(first) = first {
            assert_eq!(first.await.unwrap().unwrap(), "value");
        }
    }
}

#[tokio::test]
async fn a_read_that_everybody_left_still_brings_the_value_near() {
    let far = Held::new();
    far.inner().put(CHUNK_KEY, bytes("value")).await.unwrap();
    let tiered = Tiered::new(moka(), Arc::clone(&far));
    let gate = far.hold_gets();
    assert!(tiered.get(CHUNK_KEY).now_or_never().is_none());
    gate.reached_by(1).await;
    gate.open();
    settle().await;
    assert_eq!(got(tiered.near(), CHUNK_KEY).await.unwrap(), "value");
}

#[tokio::test]
async fn no_reader_joins_a_read_that_is_older_than_a_record_may_be() {
    let far = Held::new();
    far.inner().put(RECORD, bytes("old")).await.unwrap();
    let tiered = Tiered::new(moka(), Arc::clone(&far)).record_age(Duration::ZERO);
    let gate = far.hold_gets();
    let mut first = Box::pin(tiered.get(RECORD));
    assert!(first.as_mut().now_or_never().is_none());
    gate.reached_by(1).await;
    far.inner().put(RECORD, bytes("new")).await.unwrap();
    far.let_go();
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    gate.open();
    assert_eq!(first.await.unwrap().unwrap(), "old");
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
}

// Writes while others read or write.

#[tokio::test]
async fn a_read_from_before_a_put_or_a_remove_brings_nothing_near() {
    for removed in [false, true] {
        for key in [CHUNK_KEY, RECORD] {
            if key == CHUNK_KEY && !removed {
                continue;
            }
            let far = Held::new();
            far.inner().put(key, bytes("old")).await.unwrap();
            let tiered = Tiered::new(moka(), Arc::clone(&far));
            let gate = far.hold_gets();
            let mut read = Box::pin(tiered.get(key));
            assert!(read.as_mut().now_or_never().is_none());
            gate.reached_by(1).await;
            far.let_go();
            let now = if removed {
                tiered.remove(key).await.unwrap();
                None
            } else {
                tiered.put(key, bytes("new")).await.unwrap();
                Some(bytes("new"))
            };
            // A new reader does not join the read from before.
            assert_eq!(got(&tiered, key).await, now);
            gate.open();
            assert_eq!(read.await.unwrap().unwrap(), "old");
            settle().await;
            assert_eq!(got(tiered.near(), key).await, now);
            assert_eq!(got(&tiered, key).await, now);
        }
    }
}

#[tokio::test]
async fn a_read_that_began_during_a_put_or_a_remove_brings_nothing_near() {
    let far = Held::new();
    far.inner().put(RECORD, bytes("old")).await.unwrap();
    let tiered = Tiered::new(moka(), Arc::clone(&far));
    let (gets, puts) = (far.hold_gets(), far.hold_puts());
    let mut put = Box::pin(tiered.put(RECORD, bytes("new")));
    assert!(put.as_mut().now_or_never().is_none());
    let mut read = Box::pin(tiered.get(RECORD));
    assert!(read.as_mut().now_or_never().is_none());
    gets.reached_by(1).await;
    gets.open();
    // The read ends before the put does.
    assert_eq!(read.await.unwrap().unwrap(), "old");
    settle().await;
    assert_eq!(got(tiered.near(), RECORD).await, None);
    puts.open();
    put.await.unwrap();
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
}

#[tokio::test]
async fn a_promotion_that_a_remove_overtakes_on_its_way_is_taken_back() {
    for key in [CHUNK_KEY, RECORD] {
        let (near, far) = (Held::new(), Held::new());
        far.inner().put(key, bytes("old")).await.unwrap();
        let tiered = Tiered::new(Arc::clone(&near), Arc::clone(&far));
        let gate = near.hold_puts();
        assert_eq!(got(&tiered, key).await.unwrap(), "old");
        gate.reached_by(1).await;
        tiered.remove(key).await.unwrap();
        gate.open();
        settle().await;
        assert_eq!(got(near.inner(), key).await, None);
        assert_eq!(got(&tiered, key).await, None);
    }
}

#[tokio::test]
async fn the_far_store_decides_which_of_several_puts_at_once_was_last() {
    let (near, far) = (Held::new(), Held::new());
    let tiered = Tiered::new(Arc::clone(&near), Arc::clone(&far));
    let gate = far.hold_puts();
    let mut first = Box::pin(tiered.put(RECORD, bytes("first")));
    assert!(first.as_mut().now_or_never().is_none());
    far.let_go();
    tiered.put(RECORD, bytes("second")).await.unwrap();
    gate.open();
    first.await.unwrap();
    assert_eq!(got(far.inner(), RECORD).await.unwrap(), "first");
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "first");
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "first");
}

#[tokio::test]
async fn a_put_that_was_dropped_leaves_no_older_value_to_be_believed() {
    let (near, far) = (Held::new(), Held::new());
    let tiered = Tiered::new(Arc::clone(&near), Arc::clone(&far));
    tiered.put(RECORD, bytes("old")).await.unwrap();
    let near_gate = near.hold_puts();
    // The far store has the value, and the near one waits.
    assert!(tiered.put(RECORD, bytes("new")).now_or_never().is_none());
    drop(near_gate);
    near.let_go();
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "new");
    assert_eq!(far.inner().calls(Operation::Get), 1, "the second read came from the near store");
}

// Puts and removes with a store down.

#[tokio::test(start_paused = true)]
async fn a_put_that_the_far_store_fails_counts_near_until_that_says_otherwise() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        for writes in [Writes::FarFirst, Writes::Both] {
            for theirs in [None, Some(bytes("older"))] {
                let (_, far, tiered) = tiers();
                let tiered = tiered.writes(writes);
                if let Some(theirs) = theirs.clone() {
                    far.inner().put(RECORD, theirs).await.unwrap();
                }
                far.spoil(Operation::Put, 1, fault);
                tiered.put(RECORD, bytes("newer")).await.unwrap();
                assert_eq!(got(&tiered, RECORD).await.unwrap(), "newer");
                tokio::time::advance(seconds(2)).await;
                assert_eq!(got(&tiered, RECORD).await, theirs);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_neither_store_takes_is_an_error() {
    for key in [CHUNK_KEY, RECORD] {
        let (near, far, tiered) = tiers();
        far.spoil(Operation::Put, 1, Fault::Error);
        near.spoil(Operation::Put, 1, Fault::Hang);
        assert_eq!(tiered.put(key, bytes("value")).await.unwrap_err().to_string(), "an injected error");
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_store_that_hangs_does_not_hold_every_put() {
    let (near, far, tiered) = tiers();
    is_down(&far, Fault::Hang);
    let began = tokio::time::Instant::now();
    for index in 0..100 {
        tiered.put(&format!("c/0/{index}"), bytes("chunk")).await.unwrap();
    }
    assert_eq!(began.elapsed(), seconds(1));
    assert_eq!((far.calls(Operation::Put), near.calls(Operation::Put)), (1, 100));
    // After a while the far store is tried again.
    far.heal();
    tokio::time::advance(seconds(10)).await;
    tiered.put("c/0/100", bytes("chunk")).await.unwrap();
    assert!(got(far.inner(), "c/0/100").await.is_some());
    // An error costs no time, so every put tries again.
    far.spoil_from(Operation::Put, 1, Fault::Error);
    let puts = far.calls(Operation::Put);
    for index in 0..3 {
        tiered.put(&format!("c/1/{index}"), bytes("chunk")).await.unwrap();
    }
    assert_eq!(far.calls(Operation::Put), puts + 3);
}

#[tokio::test(start_paused = true)]
async fn a_far_store_that_hangs_does_not_hold_every_look() {
    let (_, far, tiered) = tiers();
    is_down(&far, Fault::Hang);
    let began = tokio::time::Instant::now();
    for index in 0..100 {
        assert!(tiered.get(&format!("m/{index}")).await.is_err());
    }
    assert_eq!((began.elapsed(), far.calls(Operation::Get)), (seconds(3), 3));
    // A client that has begun to read wants the chunk.
    assert!(tiered.get(CHUNK_KEY).await.is_err());
    assert_eq!(far.calls(Operation::Get), 4);
    // After a while the far store is tried again.
    far.heal();
    far.inner().put(RECORD, bytes("value")).await.unwrap();
    tokio::time::advance(seconds(5)).await;
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "value");
    // An error costs no time, so every read tries again.
    far.spoil_from(Operation::Get, 1, Fault::Error);
    let gets = far.calls(Operation::Get);
    for index in 0..5 {
        assert!(tiered.get(&format!("m/x{index}")).await.is_err());
    }
    assert_eq!(far.calls(Operation::Get), gets + 5);
}

#[tokio::test]
async fn a_near_store_that_does_not_take_a_newer_value_does_not_answer_with_the_older() {
    for (put, remove) in [(Fault::Error, None), (Fault::Error, Some(Fault::Error)), (Fault::ErrorAfter, None)]
    {
        let (near, _, tiered) = tiers();
        tiered.put(RECORD, bytes("older")).await.unwrap();
        near.spoil(Operation::Put, 2, put);
        if let Some(remove) = remove {
            near.spoil_from(Operation::Remove, 1, remove);
        }
        tiered.put(RECORD, bytes("newer")).await.unwrap();
        assert_eq!(got(&tiered, RECORD).await.unwrap(), "newer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_remove_reaches_the_near_store_even_if_the_far_one_fails() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        for key in [CHUNK_KEY, RECORD] {
            let (near, far, tiered) = tiers();
            tiered.put(key, bytes("value")).await.unwrap();
            is_down(&far, fault);
            assert!(tiered.remove(key).await.is_err(), "the far store may still have it");
            assert_eq!(got(near.inner(), key).await, None);
            assert!(tiered.get(key).await.is_err());
        }
    }
    let (near, far, tiered) = tiers();
    tiered.put(RECORD, bytes("value")).await.unwrap();
    is_down(&near, Fault::Error);
    tiered.remove(RECORD).await.unwrap();
    assert_eq!(got(far.inner(), RECORD).await, None);
    assert_eq!(got(&tiered, RECORD).await, None);
}

#[tokio::test(start_paused = true)]
async fn after_a_remove_that_the_far_store_failed_a_put_that_it_fails_too_is_an_error() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        for writes in [Writes::FarFirst, Writes::Both] {
            let (near, far, tiered) = tiers();
            let tiered = tiered.writes(writes);
            for key in [RECORD, "v/0"] {
                tiered.put(key, bytes("purged")).await.unwrap();
                is_down(&far, fault);
                assert!(tiered.remove(key).await.is_err());
                // The purged value would come back with the far store, in place of this one.
                assert!(tiered.put(key, bytes("newer")).await.is_err(), "{fault:?}");
                assert_eq!(got(near.inner(), key).await, None);
                assert!(tiered.get(key).await.is_err());
                // For other keys, the near store is still the cache.
                tiered.put("m/1", bytes("another")).await.unwrap();
                far.heal();
                tokio::time::advance(seconds(10)).await;
                tiered.put(key, bytes("newer")).await.unwrap();
                is_down(&far, fault);
                tiered.put(key, bytes("newest")).await.unwrap();
                assert_eq!(got(&tiered, key).await.unwrap(), "newest");
                far.heal();
                tokio::time::advance(seconds(10)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_remove_that_goes_well_in_the_end_settles_the_one_that_failed_or_was_dropped() {
    for (is_near, fault) in [(false, Fault::Error), (false, Fault::Hang), (true, Fault::Hang)] {
        let (near, far, tiered) = tiers();
        let spoiled = if is_near { &near } else { &far };
        spoiled.spoil(Operation::Remove, 1, fault);
        let removed = tiered.remove(RECORD).now_or_never();
        assert_eq!(removed.is_none(), fault == Fault::Hang);
        far.spoil_from(Operation::Put, 1, Fault::Error);
        assert!(tiered.put(RECORD, bytes("value")).await.is_err());
        tiered.remove(RECORD).await.unwrap();
        tiered.put(RECORD, bytes("value")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_an_invalidation_could_not_take_out_afar_is_no_hit_when_the_far_store_is_back() {
    let (_, far, tiered) = tiers();
    let rig = over(Rig::new().movie(PATH, LENGTH), tiered);
    rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    is_down(&far, Fault::Error);
    rig.inner.answer(PATH, Script::movie("/new", 1700));
    rig.ask(Method::PUT, PATH).send().await;
    rig.get(PATH).send().await.whole(&movie("/new", 1700));
    far.heal();
    tokio::time::advance(seconds(3)).await;
    for _ in 0..2 {
        rig.get(PATH).send().await.whole(&movie("/new", 1700));
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_the_near_store_failed_to_remove_does_not_stand_in_for_the_far_one() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        for removed in [true, false] {
            let (near, far, tiered) = tiers();
            tiered.put(RECORD, bytes("older")).await.unwrap();
            is_down(&near, fault);
            if removed {
                tiered.remove(RECORD).await.unwrap();
            } else {
                tiered.put(RECORD, bytes("newer")).await.unwrap();
            }
            near.heal();
            is_down(&far, Fault::Error);
            assert_eq!(got(near.inner(), RECORD).await.unwrap(), "older");
            assert!(tiered.get(RECORD).await.is_err(), "{fault:?}");
            // A value that the near store takes after that does stand in.
            tiered.put(RECORD, bytes("newest")).await.unwrap();
            tokio::time::advance(seconds(60)).await;
            assert_eq!(got(&tiered, RECORD).await.unwrap(), "newest");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_near_store_missed_keeps_it_from_standing_in_for_the_far_one() {
    for theirs in [None, Some(bytes("theirs"))] {
        let (near, far, tiered) = tiers();
        tiered.put(RECORD, bytes("older")).await.unwrap();
        far.inner().remove(RECORD).await.unwrap();
        if let Some(theirs) = theirs.clone() {
            far.inner().put(RECORD, theirs).await.unwrap();
        }
        near.spoil_from(Operation::Put, 1, Fault::Error);
        near.spoil_from(Operation::Remove, 1, Fault::Error);
        tokio::time::advance(seconds(2)).await;
        assert_eq!(got(&tiered, RECORD).await, theirs);
        settle().await;
        is_down(&far, Fault::Error);
        assert_eq!(got(near.inner(), RECORD).await.unwrap(), "older");
        assert!(tiered.get(RECORD).await.is_err());
        // Once the near store follows, it stands in again.
        near.heal();
        far.heal();
        assert_eq!(got(&tiered, RECORD).await, theirs);
        settle().await;
        is_down(&far, Fault::Error);
        tokio::time::advance(seconds(2)).await;
        assert_eq!(tiered.get(RECORD).await.ok().flatten(), theirs);
    }
}

#[tokio::test]
async fn with_writes_to_both_at_once_the_near_store_does_not_wait_for_the_far_one() {
    for (writes, at_once) in [(Writes::FarFirst, false), (Writes::Both, true)] {
        let far = Held::new();
        let tiered = Tiered::new(moka(), Arc::clone(&far)).writes(writes);
        let gate = far.hold_puts();
        let mut put = Box::pin(tiered.put(CHUNK_KEY, bytes("chunk")));
        assert!(put.as_mut().now_or_never().is_none());
        assert_eq!(got(tiered.near(), CHUNK_KEY).await.is_some(), at_once);
        gate.open();
        put.await.unwrap();
        assert!(got(tiered.near(), CHUNK_KEY).await.is_some());
        assert!(got(far.inner(), CHUNK_KEY).await.is_some());
    }
}

// Properties that it reports.

/// A far store with leases. If it has a gate, it grants them once the gate opens.
struct Lending {
    store: MokaStore,
    gate: Option<Gate>,
}

impl Lending {
    fn new() -> Self {
        Self { store: moka(), gate: None }
    }

    fn held_by(gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..Self::new() }
    }

    async fn pass(&self) {
        if let Some(gate) = &self.gate {
            gate.opened().await;
        }
    }
}

impl Store for Lending {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.store.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.store.put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.store.remove(key).await
    }

    async fn lease(&self, _: &str, holder: &str, _: Duration) -> Result<Lease, BoxError> {
        self.pass().await;
        Ok(if holder == "me" { Lease::Granted } else { Lease::Taken })
    }

    async fn renew(&self, _: &str, holder: &str, _: Duration) -> Result<bool, BoxError> {
        self.pass().await;
        Ok(holder == "me")
    }

    async fn release(&self, _: &str, _: &str) -> Result<(), BoxError> {
        self.pass().await;
        Err("as asked".into())
    }
}

#[tokio::test]
async fn sizes_and_leases_are_those_of_the_far_store() {
    let tiered = Tiered::new(MokaStore::new(1 << 20).unwrap(), Lending::new());
    assert_eq!((tiered.capacity(), tiered.max_value_size()), (None, None));
    assert!(tiered.can_alter());
    assert_eq!(tiered.lease("l/0", "me", seconds(1)).await.unwrap(), Lease::Granted);
    assert_eq!(tiered.lease("l/0", "you", seconds(1)).await.unwrap(), Lease::Taken);
    assert!(tiered.renew("l/0", "me", seconds(1)).await.unwrap());
    assert!(tiered.release("l/0", "me").await.is_err());
    let tiered = Tiered::new(MokaStore::new(1 << 20).unwrap(), moka());
    assert_eq!(tiered.capacity(), Some(CAPACITY));
    assert_eq!(tiered.max_value_size(), moka().max_value_size());
    assert!(!tiered.can_alter());
    assert!(Tiered::new(faulty(), moka()).can_alter());
}

#[tokio::test]
async fn the_holder_of_a_new_lease_looks_again_in_the_store_that_the_others_put_to() {
    for lease in ["l/0", "l/0/commit", "l/0/passed"] {
        for record in ["m/0", "v/0"] {
            let far = Arc::new(Lending::new());
            let tiered = Tiered::new(moka(), Arc::clone(&far));
            tiered.put(record, bytes("stale")).await.unwrap();
            far.put(record, bytes("fresh")).await.unwrap();
            tiered.lease(lease, "you", seconds(1)).await.unwrap();
            assert_eq!(got(&tiered, record).await.unwrap(), "stale");
            tiered.lease(lease, "me", seconds(1)).await.unwrap();
            assert_eq!(got(&tiered, record).await.unwrap(), "fresh", "{lease}");
        }
    }
}

#[tokio::test]
async fn a_value_read_before_a_lease_is_granted_is_not_believed_after() {
    let gate = Gate::shut();
    let far = Arc::new(Lending::held_by(&gate));
    far.put(RECORD, bytes("stale")).await.unwrap();
    let tiered = Tiered::new(moka(), Arc::clone(&far));
    let mut lease = Box::pin(tiered.lease("l/0", "me", seconds(1)));
    assert!(lease.as_mut().now_or_never().is_none());
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "stale");
    settle().await;
    far.put(RECORD, bytes("fresh")).await.unwrap();
    gate.open();
    assert_eq!(lease.await.unwrap(), Lease::Granted);
    assert_eq!(got(&tiered, RECORD).await.unwrap(), "fresh");
}

#[tokio::test(start_paused = true)]
async fn a_far_store_that_does_not_answer_for_a_lease_costs_its_limit() {
    let tiered = Tiered::new(moka(), Lending::held_by(&Gate::shut()));
    let began = tokio::time::Instant::now();
    let calls = async {
        assert!(tiered.lease("l/0", "me", seconds(60)).await.is_err());
        assert!(tiered.renew("l/0", "me", seconds(60)).await.is_err());
        assert!(tiered.release("l/0", "me").await.is_err());
    };
    tokio::time::timeout(seconds(60), calls).await.expect("no hanging");
    assert_eq!(began.elapsed(), seconds(3));
}

// The log of purges.

#[tokio::test]
async fn the_log_of_purges_is_in_the_far_store_alone() {
    for writes in [Writes::FarFirst, Writes::Both] {
        let (near, far, tiered) = tiers();
        let tiered = tiered.writes(writes);
        assert_eq!(tiered.put_new("p/1", bytes("one")).await.unwrap(), PutNew::Created);
        assert_eq!(tiered.put_new("p/1", bytes("other")).await.unwrap(), PutNew::Exists);
        assert_eq!(got(&tiered, "p/1").await.unwrap(), "one");
        // Another process writes, and this one sees it at once.
        for head in ["1", "2", "3"] {
            far.put("p/head", bytes(head)).await.unwrap();
            assert_eq!(got(&tiered, "p/head").await.unwrap(), head);
        }
        tiered.put("p/head", bytes("4")).await.unwrap();
        assert_eq!(got(&*far, "p/head").await.unwrap(), "4");
        tiered.remove("p/head").await.unwrap();
        assert_eq!((got(&tiered, "p/head").await, got(&*far, "p/head").await), (None, None));
        settle().await;
        for operation in OPERATIONS {
            assert_eq!(near.calls(operation), 0, "{operation:?}");
        }
    }
}

#[tokio::test]
async fn while_the_far_store_is_down_the_log_of_purges_is_an_error_and_not_empty() {
    let (_, far, tiered) = tiers();
    tiered.put("p/head", bytes("1")).await.unwrap();
    is_down(&far, Fault::Error);
    for _ in 0..5 {
        assert!(tiered.get("p/head").await.is_err());
    }
    assert!(tiered.is_down());
    assert!(tiered.put("p/head", bytes("2")).await.is_err());
    assert!(tiered.put_new("p/2", bytes("two")).await.is_err());
    assert!(tiered.remove("p/head").await.is_err());
    far.heal();
    assert_eq!(got(&tiered, "p/head").await.unwrap(), "1");
    assert!(!tiered.is_down());
}

// Under the layer.

const LENGTH: usize = 2500;
/// The rig with another store in its layer.
fn over(rig: Rig, store: impl Store) -> Rig {
    let clock = rig.clock.clone();
    rig.layer(|_| {
        let layer = VideoCacheLayer::new(store).fill(Fill::whole());
        layer.chunk_size(ChunkSize::new(CHUNK).unwrap()).clock(clock)
    })
}

/// Another node of the same service: it has its own memory and shares the far store.
fn node(of: &Rig, far: &Arc<Held>) -> Rig {
    let rig = Rig { inner: of.inner.clone(), clock: of.clock.clone(), ..Rig::new() };
    over(rig, Tiered::new(moka(), Arc::clone(far)))
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_either_tier_at_every_moment_is_true_bytes_or_an_error() {
    let truth = movie(PATH, LENGTH);
    for is_near in [true, false] {
        for operation in OPERATIONS {
            for fault in FAULTS {
                for nth in 1..=10 {
                    for all_after in [false, true] {
                        for range in [None, Some("bytes=1500-2200")] {
                            let (near, far, tiered) = tiers();
                            let rig = over(Rig::new().movie(PATH, LENGTH), tiered);
                            let spoiled = if is_near { &near } else { &far };
                            if all_after {
                                spoiled.spoil_from(operation, nth, fault);
                            } else {
                                spoiled.spoil(operation, nth, fault);
                            }
                            for _ in 0..3 {
                                let ask = rig.get(PATH);
                                let ask = range.into_iter().fold(ask, crate::rig::Ask::range);
                                let answer =
                                    tokio::time::timeout(seconds(60), ask.send()).await.expect("no hanging");
                                judge(&answer, &truth);
                                // The time passes so that the next get looks far, too.
                                tokio::time::advance(seconds(3)).await;
                            }
                        }
                    }
                }
            }
        }
    }
}

fn judge(answer: &Answer, truth: &Bytes) {
    let truth = match answer.status.as_u16() {
        200 => truth.clone(),
        206 => truth.slice(1500..2201),
        other => panic!("{other}"),
    };
    if answer.error.is_some() {
        assert!(truth.starts_with(&answer.bytes), "before an error, no wrong byte leaves");
    } else {
        assert_eq!(answer.bytes, truth);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_could_not_be_served_to_its_end_is_a_miss() {
    let truth = movie(PATH, LENGTH);
    let partless = || Script::movie(PATH, LENGTH).header("etag", "\"v1\"");
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        for script in [partless(), Script::movie(PATH, LENGTH), partless().honours_ranges()] {
            // Another node stored the video; this one has read no more than its first chunk.
            let far = faulty();
            let other = over(Rig::new().script(PATH, script.clone()), Arc::clone(&far));
            other.get(PATH).send().await.whole(&truth);
            let rig = over(Rig::new().script(PATH, script.clone()), Tiered::new(moka(), Arc::clone(&far)));
            rig.get(PATH).range("bytes=0-9").send().await.is_hit().partial(&truth, 0..10);
            is_down(&far, fault);
            tokio::time::advance(seconds(3)).await;
            for _ in 0..3 {
                let answer = rig.get(PATH).send().await;
                answer.whole(&truth);
                assert!(!answer.cache_status().contains("; hit"), "{}", answer.cache_status());
                // All of this is near.
                rig.get(PATH).range("bytes=0-9").send().await.is_hit().partial(&truth, 0..10);
                tokio::time::advance(seconds(3)).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_store_without_leases_is_told_of_an_invalidation_before_a_fill_puts_it_back() {
    let far = Held::new();
    let rig = Rig::new();
    let (one, other) = (node(&rig, &far), node(&rig, &far));
    let gate = Gate::shut();
    let next = [
        Script::movie("/old", LENGTH).held_by(&gate),
        Script::absent().status(204),
        Script::movie("/new", LENGTH),
    ];
    rig.inner.answer_each(PATH, next);
    let before = one.get(PATH).start();
    gate.reached_by(1).await;
    other.ask(Method::DELETE, PATH).send().await;
    gate.open();
    before.await.unwrap().whole(&movie("/old", LENGTH));
    for node in [&one, &other] {
        node.get(PATH).send().await.whole(&movie("/new", LENGTH));
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_store_that_is_down_leaves_a_cache_in_memory() {
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        let (_, far, tiered) = tiers();
        is_down(&far, fault);
        let rig = over(Rig::new().movie(PATH, LENGTH), tiered);
        for _ in 0..5 {
            rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
            tokio::time::advance(seconds(3)).await;
        }
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_response_that_one_node_fills_is_read_from_afar_once_by_another() {
    let far = Held::new();
    let one = over(Rig::new().movie(PATH, LENGTH), Tiered::new(moka(), Arc::clone(&far)));
    let other = node(&one, &far);
    one.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    for _ in 0..3 {
        other.get(PATH).send().await.whole(&movie(PATH, LENGTH)).is_hit();
    }
    one.inner.was_called(1);
    let before = far.inner().calls(Operation::Get);
    for _ in 0..3 {
        one.get(PATH).send().await.is_hit();
        other.get(PATH).range("bytes=1500-2200").send().await.partial(&movie(PATH, LENGTH), 1500..2201);
    }
    assert_eq!(far.inner().calls(Operation::Get), before);
}

#[tokio::test]
async fn fifty_clients_of_a_node_read_each_far_chunk_once() {
    let far = Held::new();
    let one = over(Rig::new().movie(PATH, LENGTH), Tiered::new(moka(), Arc::clone(&far)));
    let other = node(&one, &far);
    one.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    let before = far.inner().calls(Operation::Get);
    let gate = far.hold_gets();
    let viewers: Vec<_> = (0..50).map(|_| other.get(PATH).start()).collect();
    settle().await;
    gate.open();
    for viewer in viewers {
        viewer.await.unwrap().whole(&movie(PATH, LENGTH)).is_hit();
    }
    assert_eq!(far.inner().calls(Operation::Get), before + 1 + 3, "the record, and three chunks");
    one.inner.was_called(1);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_by_one_node_is_seen_by_another_within_the_age_of_a_record() {
    let far = Held::new();
    let one = over(Rig::new().movie(PATH, LENGTH), Tiered::new(moka(), Arc::clone(&far)));
    let other = node(&one, &far);
    one.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    other.get(PATH).send().await.is_hit();
    one.inner.answer(PATH, Script::movie("/new", 1700));
    one.ask(Method::PUT, PATH).send().await;
    // The node that invalidates knows at once, and does not tell the others.
    tokio::time::advance(Duration::from_millis(1999)).await;
    other.get(PATH).send().await.whole(&movie(PATH, LENGTH)).is_hit();
    one.get(PATH).send().await.whole(&movie("/new", 1700));
    one.inner.was_called(3);
    tokio::time::advance(Duration::from_millis(1)).await;
    other.get(PATH).send().await.whole(&movie("/new", 1700)).is_hit();
    one.inner.was_called(3);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_by_one_node_is_seen_by_another_before_it_asks_itself() {
    let script = Script::movie(PATH, LENGTH)
        .header("etag", "\"v1\"")
        .header("cache-control", "max-age=60")
        .honours_conditions();
    let far = Held::new();
    let one = over(Rig::new().script(PATH, script), Tiered::new(moka(), Arc::clone(&far)));
    let other = node(&one, &far);
    one.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    other.get(PATH).send().await.is_hit();
    tokio::time::advance(seconds(60)).await;
    one.clock.advance(seconds(60));
    one.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    one.inner.was_called(2);
    other.get(PATH).send().await.whole(&movie(PATH, LENGTH)).is_hit();
    one.inner.was_called(2);
}

#[tokio::test]
async fn a_stalled_client_does_not_hold_requests_that_wait_for_the_chunk_it_reads() {
    let far = Held::new();
    let one = over(Rig::new().movie(PATH, LENGTH), Tiered::new(moka(), Arc::clone(&far)));
    let other = node(&one, &far);
    one.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    let mut stalled = other.get(PATH).reading().await;
    let gate = far.hold_gets();
    while let Some(Some(frame)) = stalled.next().now_or_never() {
        frame.unwrap();
    }
    let viewer = other.get(PATH).start();
    settle().await;
    gate.open();
    viewer.await.unwrap().whole(&movie(PATH, LENGTH)).is_hit();
}
