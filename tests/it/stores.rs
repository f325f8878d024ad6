//! The store contract: the conformance suite passes stores that keep it, and finds stores that break it.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use tower_video_cache::{
    BoxError, BoxStore, Fault, FaultStore, Lease, MokaStore, Operation, PutNew, Store, conformance,
};

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    conformance::check(&MokaStore::new(64 << 20).unwrap()).await;
    conformance::check(&MokaStore::new(4 << 20).unwrap()).await;
}

#[tokio::test]
async fn a_store_without_its_type_keeps_the_contract() {
    conformance::check(&BoxStore::new(MokaStore::new(64 << 20).unwrap())).await;
    let leasing = Leasing { values: MokaStore::new(64 << 20).unwrap(), holders: Mutex::default(), flaw: "" };
    let boxed = BoxStore::new(BoxStore::new(leasing)).clone();
    conformance::check(&boxed).await;
    assert!(matches!(boxed.lease("l/0", "0", Duration::ZERO).await, Ok(Lease::Granted)));
    let boxed = BoxStore::new(MokaStore::new(64 << 20).unwrap());
    assert_eq!(boxed.put_new("p/1", Bytes::new()).await.unwrap(), PutNew::Created);
}

#[tokio::test]
async fn a_store_without_its_type_says_of_itself_what_the_store_says() {
    let (store, moka) = (FaultStore::new(MokaStore::new(9000).unwrap()), MokaStore::new(9000).unwrap());
    for (boxed, can_alter) in [(BoxStore::new(store), true), (BoxStore::new(moka), false)] {
        assert_eq!((boxed.capacity(), boxed.max_value_size()), (Some(9000), Some(8600)));
        assert_eq!((boxed.can_alter(), boxed.is_down()), (can_alter, false));
    }
}

#[tokio::test]
async fn a_store_without_faults_keeps_the_contract_through_the_fault_store() {
    conformance::check(&FaultStore::new(MokaStore::new(64 << 20).unwrap())).await;
}

#[tokio::test]
async fn a_store_that_forgets_at_times_keeps_the_contract() {
    let store = FaultStore::new(MokaStore::new(64 << 20).unwrap());
    for nth in (1..60).step_by(3) {
        store.spoil(Operation::Get, nth, Fault::Absent);
    }
    conformance::check(&store).await;
}

#[tokio::test]
async fn the_suite_finds_stores_that_break_the_contract() {
    for (operation, nth, fault) in [
        (Operation::Get, 1, Fault::Error),
        (Operation::Get, 5, Fault::Corrupt),
        (Operation::Put, 5, Fault::Corrupt),
        (Operation::Put, 5, Fault::Error),
        (Operation::Remove, 1, Fault::Absent),
        (Operation::Remove, 2, Fault::Error),
    ] {
        let store = FaultStore::new(MokaStore::new(64 << 20).unwrap());
        store.spoil(operation, nth, fault);
        let checked = AssertUnwindSafe(conformance::check(&store)).catch_unwind().await;
        assert!(checked.is_err(), "{operation:?} {nth} {fault:?}");
    }
    let forgetful = FaultStore::new(MokaStore::new(64 << 20).unwrap());
    forgetful.spoil_from(Operation::Put, 1, Fault::Absent);
    assert!(AssertUnwindSafe(conformance::check(&forgetful)).catch_unwind().await.is_err(), "keeps nothing");
}

#[tokio::test]
async fn the_suite_tells_leases_that_are_one_holders_from_those_that_are_not() {
    for flaw in
        ["", "granted to all", "renewed by all", "released by all", "kept for ever", "left by a remove"]
    {
        let store = Leasing { values: MokaStore::new(64 << 20).unwrap(), holders: Mutex::default(), flaw };
        let checked = AssertUnwindSafe(conformance::check(&store)).catch_unwind().await;
        assert_eq!(checked.is_ok(), flaw.is_empty(), "{flaw}");
    }
}

/// Leases that never expire, with one flaw or none.
struct Leasing {
    values: MokaStore,
    holders: Mutex<HashMap<String, String>>,
    flaw: &'static str,
}

impl Store for Leasing {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.values.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.values.put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        if self.flaw != "left by a remove" {
            self.holders.lock().unwrap().remove(key);
        }
        self.values.remove(key).await
    }

    async fn lease(&self, key: &str, holder: &str, _: Duration) -> Result<Lease, BoxError> {
        let mut holders = self.holders.lock().unwrap();
        if holders.contains_key(key) && self.flaw != "granted to all" {
            return Ok(Lease::Taken);
        }
        holders.insert(key.to_owned(), holder.to_owned());
        Ok(Lease::Granted)
    }

    async fn renew(&self, key: &str, holder: &str, _: Duration) -> Result<bool, BoxError> {
        let holders = self.holders.lock().unwrap();
        Ok(self.flaw == "renewed by all" || holders.get(key).is_some_and(|has| has == holder))
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BoxError> {
        let mut holders = self.holders.lock().unwrap();
        let is_holder = holders.get(key).is_some_and(|has| has == holder);
        if (is_holder && self.flaw != "kept for ever") || self.flaw == "released by all" {
            holders.remove(key);
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_suite_tells_new_values_that_are_one_writers_from_those_that_are_not() {
    for flaw in [
        "",
        "never offered",
        "offered at times",
        "kept though not offered",
        "created each time",
        "kept in place of another",
        "checked before it is kept",
        "left by a remove",
        "an error for all but one",
    ] {
        let store = Creating { values: MokaStore::new(64 << 20).unwrap(), calls: AtomicU32::new(0), flaw };
        let checked = AssertUnwindSafe(conformance::check(&store)).catch_unwind().await;
        assert_eq!(checked.is_ok(), ["", "never offered"].contains(&flaw), "{flaw}");
    }
}

/// New values, with one flaw or none.
struct Creating {
    values: MokaStore,
    calls: AtomicU32,
    flaw: &'static str,
}

impl Store for Creating {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.values.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.values.put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        if self.flaw == "left by a remove" && key.starts_with("p/") {
            return Ok(());
        }
        self.values.remove(key).await
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        let is_first = self.calls.fetch_add(1, Ordering::Relaxed) == 0;
        match self.flaw {
            "never offered" => return Ok(PutNew::NotOffered),
            "offered at times" if is_first => return Ok(PutNew::NotOffered),
            "checked before it is kept" => {
                if self.values.get(key).await?.is_some() {
                    return Ok(PutNew::Exists);
                }
                tokio::task::yield_now().await;
                self.values.put(key, value).await?;
                return Ok(PutNew::Created);
            }
            _ => {}
        }
        let put = self.values.put_new(key, value.clone()).await?;
        match self.flaw {
            "kept though not offered" => Ok(PutNew::NotOffered),
            "created each time" => Ok(PutNew::Created),
            "kept in place of another" => {
                self.values.put(key, value).await?;
                Ok(put)
            }
            "an error for all but one" if put == PutNew::Exists => Err("as asked".into()),
            _ => Ok(put),
        }
    }
}

#[tokio::test]
async fn the_memory_store_keeps_the_log_of_purges_while_videos_are_evicted() {
    let store = MokaStore::new(64 << 10).unwrap();
    let part = |number: u8| Bytes::from(vec![number; 16 << 10]);
    // The log is larger than the store.
    for number in 0..20 {
        assert_eq!(store.put_new(&format!("p/{number}"), part(number)).await.unwrap(), PutNew::Created);
    }
    for index in 0..2000 {
        store.put(&format!("c/a/{index}"), Bytes::from(vec![0; 1 << 10])).await.unwrap();
    }
    assert!(store.weighted_size().await <= 64 << 10);
    for number in 0..20 {
        assert_eq!(store.get(&format!("p/{number}")).await.unwrap().unwrap(), part(number));
        assert_eq!(store.put_new(&format!("p/{number}"), part(99)).await.unwrap(), PutNew::Exists);
    }
    assert!(store.put_new("c/a/0", part(0)).await.is_err(), "the log has keys of its own");
}

#[tokio::test]
async fn a_value_larger_than_the_memory_store_is_declined() {
    let store = MokaStore::new(10_000).unwrap();
    store.put("c/small", Bytes::from_static(b"kept")).await.unwrap();
    assert!(store.put("c/large", Bytes::from(vec![0; 10_000])).await.is_err());
    assert_eq!(store.get("c/small").await.unwrap().unwrap(), "kept");
}

#[tokio::test(start_paused = true)]
async fn each_fault_does_what_its_name_says() {
    async fn spoiled(operation: Operation, fault: Fault) -> FaultStore<MokaStore> {
        let store = FaultStore::new(MokaStore::new(1 << 20).unwrap());
        store.inner().put("k", Bytes::from_static(b"value")).await.unwrap();
        store.spoil(operation, 1, fault);
        store
    }
    async fn got(store: &FaultStore<MokaStore>) -> Result<Option<Bytes>, BoxError> {
        store.get("k").await
    }
    let value = Bytes::from_static(b"value");

    assert!(got(&spoiled(Operation::Get, Fault::Error).await).await.is_err());
    assert_eq!(got(&spoiled(Operation::Get, Fault::Absent).await).await.unwrap(), None);
    assert_ne!(got(&spoiled(Operation::Get, Fault::Corrupt).await).await.unwrap().unwrap(), value);
    let lost = spoiled(Operation::Get, Fault::Lost).await;
    assert_eq!(got(&lost).await.unwrap().unwrap(), value);
    assert_eq!(got(&lost).await.unwrap(), None);
    let slow = spoiled(Operation::Get, Fault::Slow(Duration::from_secs(5))).await;
    let began = tokio::time::Instant::now();
    assert_eq!(got(&slow).await.unwrap().unwrap(), value);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert!(got(&spoiled(Operation::Get, Fault::Hang).await).now_or_never().is_none());

    let new = Bytes::from_static(b"newer");
    for (fault, kept) in [(Fault::Absent, Some(value)), (Fault::Lost, None)] {
        let store = spoiled(Operation::Put, fault).await;
        store.put("k", new.clone()).await.unwrap();
        assert_eq!(got(&store).await.unwrap(), kept, "{fault:?}");
        store.heal();
        store.put("k", new.clone()).await.unwrap();
        assert_eq!(got(&store).await.unwrap(), Some(new.clone()));
        assert_eq!(store.calls(Operation::Put), 2);
    }

    let put = |fault| async move {
        let store = FaultStore::new(MokaStore::new(1 << 20).unwrap());
        store.spoil(Operation::PutNew, 1, fault);
        let put = store.put_new("p/1", Bytes::from_static(b"newer")).await;
        assert_eq!(store.calls(Operation::PutNew), 1);
        (put.ok(), store.get("p/1").await.unwrap())
    };
    assert_eq!(put(Fault::Error).await, (None, None));
    assert_eq!(put(Fault::ErrorAfter).await, (None, Some(new.clone())));
    assert_eq!(put(Fault::Absent).await, (Some(PutNew::Created), None));
    assert_eq!(put(Fault::Lost).await, (Some(PutNew::Created), None));
    assert_eq!(put(Fault::Slow(Duration::from_secs(5))).await, (Some(PutNew::Created), Some(new.clone())));
    let (corrupt, kept) = put(Fault::Corrupt).await;
    assert!(corrupt == Some(PutNew::Created) && kept.unwrap() != new);
    assert!(put(Fault::Hang).now_or_never().is_none());
    // A value that was there is not undone.
    let store = FaultStore::new(MokaStore::new(1 << 20).unwrap());
    store.put("p/1", new.clone()).await.unwrap();
    store.spoil(Operation::PutNew, 1, Fault::Lost);
    assert_eq!(store.put_new("p/1", Bytes::new()).await.unwrap(), PutNew::Exists);
    assert_eq!(store.get("p/1").await.unwrap().unwrap(), new);
}
