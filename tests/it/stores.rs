//! The store contract: the suite passes what keeps it, and finds out what breaks it.

use std::{panic::AssertUnwindSafe, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use tower_video_cache::{conformance, BoxError, Fault, FaultStore, MokaStore, Operation, Store};

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    conformance::check(&MokaStore::new(64 << 20)).await;
    conformance::check(&MokaStore::new(4 << 20)).await;
}

#[tokio::test]
async fn a_store_without_faults_keeps_the_contract_through_the_fault_store() {
    conformance::check(&FaultStore::new(MokaStore::new(64 << 20))).await;
}

#[tokio::test]
async fn a_store_that_forgets_at_times_keeps_the_contract() {
    let store = FaultStore::new(MokaStore::new(64 << 20));
    for nth in (1..60).step_by(3) {
        store.spoil(Operation::Get, nth, Fault::Absent);
    }
    conformance::check(&store).await;
}

#[tokio::test]
async fn the_suite_finds_what_breaks_the_contract() {
    for (operation, nth, fault) in [
        (Operation::Get, 1, Fault::Error),
        (Operation::Get, 5, Fault::Corrupt),
        (Operation::Put, 5, Fault::Corrupt),
        (Operation::Put, 5, Fault::Error),
        (Operation::Remove, 1, Fault::Absent),
        (Operation::Remove, 2, Fault::Error),
    ] {
        let store = FaultStore::new(MokaStore::new(64 << 20));
        store.spoil(operation, nth, fault);
        let checked = AssertUnwindSafe(conformance::check(&store)).catch_unwind().await;
        assert!(checked.is_err(), "{operation:?} {nth} {fault:?}");
    }
    let forgetful = FaultStore::new(MokaStore::new(64 << 20));
    forgetful.spoil_from(Operation::Put, 1, Fault::Absent);
    assert!(AssertUnwindSafe(conformance::check(&forgetful)).catch_unwind().await.is_err(), "keeps nothing");
}

#[tokio::test]
async fn a_value_larger_than_the_memory_store_is_declined() {
    let store = MokaStore::new(10_000);
    store.put("c/small", Bytes::from_static(b"kept")).await.unwrap();
    assert!(store.put("c/large", Bytes::from(vec![0; 10_000])).await.is_err());
    assert_eq!(store.get("c/small").await.unwrap().unwrap(), "kept");
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_what_it_says() {
    async fn spoiled(operation: Operation, fault: Fault) -> FaultStore<MokaStore> {
        let store = FaultStore::new(MokaStore::new(1 << 20));
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
}
