use tokio::time::advance;

use super::*;

const PAUSE: Duration = Duration::from_secs(1);
const ALMOST: Duration = Duration::from_millis(999);

fn breaker() -> Breaker {
    Breaker::new(NonZeroU32::new(3).unwrap(), PAUSE)
}

fn opened() -> Breaker {
    let breaker = breaker();
    for _ in 0..3 {
        breaker.admit().unwrap().ended(false);
    }
    assert!(breaker.admit().is_err());
    breaker
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_for_a_pause() {
    let breaker = breaker();
    for _ in 0..3 {
        breaker.admit().unwrap().ended(false);
    }
    assert!(breaker.admit().is_err());
    advance(ALMOST).await;
    assert!(breaker.admit().is_err());
    advance(Duration::from_millis(1)).await;
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_between_failures_keeps_it_closed() {
    let breaker = breaker();
    for ok in [false, false, true, false, false, true, false, false] {
        breaker.admit().unwrap().ended(ok);
    }
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_call_tries_and_no_other() {
    let breaker = opened();
    advance(PAUSE).await;
    let trying = breaker.admit().unwrap();
    assert!(trying.is_try());
    assert!(breaker.admit().is_err());
    trying.ended(true);
    for _ in 0..2 {
        breaker.admit().unwrap().ended(false);
    }
    assert!(breaker.admit().is_ok_and(|pass| !pass.is_try()), "the count began anew");
}

#[tokio::test(start_paused = true)]
async fn a_try_that_fails_opens_it_for_another_pause() {
    let breaker = opened();
    advance(PAUSE).await;
    breaker.admit().unwrap().ended(false);
    advance(ALMOST).await;
    assert!(breaker.admit().is_err());
    advance(Duration::from_millis(1)).await;
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_try_is_given_to_the_next() {
    let breaker = opened();
    advance(PAUSE).await;
    drop(breaker.admit().unwrap());
    breaker.admit().unwrap().ended(true);
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_not_heard_of_is_followed_by_another() {
    let breaker = opened();
    advance(PAUSE).await;
    let silent = breaker.admit().unwrap();
    advance(PAUSE).await;
    let trying = breaker.admit().unwrap();
    assert!(trying.is_try() && breaker.admit().is_err());
    silent.ended(false);
    assert!(breaker.admit().is_err(), "old news");
    trying.ended(true);
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_must_happen_is_a_try_before_the_pause_is_over() {
    let breaker = opened();
    let urgent = breaker.admit_at_once();
    assert!(urgent.is_try() && breaker.admit().is_err());
    urgent.ended(false);
    assert!(breaker.admit().is_err(), "it is open still");
    breaker.admit_at_once().ended(true);
    assert!(breaker.admit().is_ok(), "an answer closes it");
    assert!(!breaker.admit_at_once().is_try(), "where it is closed it is a call as any other");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pass_counts_as_nothing() {
    let breaker = breaker();
    breaker.admit().unwrap().ended(false);
    breaker.admit().unwrap().ended(false);
    for _ in 0..5 {
        drop(breaker.admit().unwrap());
    }
    breaker.admit().unwrap().ended(false);
    assert!(breaker.admit().is_err(), "nor as an answer");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_call_closes_it() {
    let breaker = breaker();
    let slow = breaker.admit().unwrap();
    for _ in 0..3 {
        breaker.admit().unwrap().ended(false);
    }
    assert!(breaker.admit().is_err());
    slow.ended(true);
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_an_earlier_call_is_old_news() {
    let breaker = breaker();
    let slow: Vec<_> = (0..9).map(|_| breaker.admit().unwrap()).collect();
    let mut slow = slow.into_iter();
    let ends = |passes: &mut dyn Iterator<Item = Pass<'_>>| -> Vec<_> {
        passes.map(|pass| pass.ended(false)).collect()
    };
    assert_eq!(ends(&mut slow.by_ref().take(3)), [None, None, Some(Turn::Opened)]);
    advance(PAUSE / 2).await;
    assert_eq!(ends(&mut slow.by_ref().take(3)), [None; 3]);
    advance(PAUSE / 2).await;
    let trying = breaker.admit().expect("the pause is no longer for it");
    assert_eq!(ends(&mut slow.by_ref().take(1)), [None]);
    assert_eq!(trying.ended(true), Some(Turn::Closed));
    slow.for_each(drop);
    assert!(breaker.admit().is_ok());
}
