//! [`Breaker`]: a circuit breaker, which spares callers the wait for a service that has failed several times in a row.
//!
//! A closed breaker lets every call pass, and counts failures. After enough failures in a row it opens, and calls fail
//! at once. After a pause, one call may try, and another after a further pause. The first answer closes the breaker. A
//! failed try starts a new pause.

use std::{
    error::Error as StdError,
    fmt,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::clock::moment;

/// Counts failures in a row, and says who may call.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: NonZeroU32,
    pause: Duration,
    position: Mutex<Position>,
}

impl Breaker {
    /// Opens after `failures` in a row, for `pause`.
    pub(crate) fn new(failures: NonZeroU32, pause: Duration) -> Self {
        let position = Position { state: State::Closed { failed: 0 }, turn: 0 };
        Self { failures, pause, position: Mutex::new(position) }
    }

    /// Permits one call. The caller reports its end with [`Pass::ended`].
    pub(crate) fn admit(&self) -> Result<Pass<'_>, Open> {
        let mut position = self.position();
        let is_try = match position.state {
            State::Closed { .. } => false,
            State::Open { until } if moment() >= until => true,
            State::Open { .. } => return Err(Open),
        };
        if is_try {
            // A try may take long or never report. After another pause, the next call may try.
            self.open(&mut position);
        }
        Ok(Pass { breaker: self, turn: position.turn, is_try })
    }

    /// Permits a call that must not wait for a pause, such as a remove of a wrong value. While the breaker is open,
    /// such a call counts as the try.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn admit_at_once(&self) -> Pass<'_> {
        let mut position = self.position();
        let is_try = matches!(position.state, State::Open { .. });
        if is_try {
            self.open(&mut position);
        }
        Pass { breaker: self, turn: position.turn, is_try }
    }

    /// Reports that another call of the same service was answered.
    pub(crate) fn answered(&self) {
        let mut position = self.position();
        if matches!(position.state, State::Open { .. }) {
            position.turn_to(State::Closed { failed: 0 });
        }
    }

    fn position(&self) -> MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, position: &mut Position) {
        let now = moment();
        // A pause that the clock cannot represent is no pause.
        position.turn_to(State::Open { until: now.checked_add(self.pause).unwrap_or(now) });
    }
}

/// The permission for one call. If it is dropped without a report, it says nothing, and another call may try.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    turn: u64,
    is_try: bool,
}

impl Pass<'_> {
    /// Whether this is the call that tries after a pause.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn is_try(&self) -> bool {
        self.is_try
    }

    /// Reports the end of the call. An answer always counts. A failure counts only if the breaker has not changed since
    /// the call began, because otherwise it is outdated.
    pub(crate) fn ended(self, ok: bool) {
        let mut position = self.breaker.position();
        match position.state {
            State::Closed { .. } if ok => position.state = State::Closed { failed: 0 },
            _ if ok => position.turn_to(State::Closed { failed: 0 }),
            _ if position.turn != self.turn => {}
            State::Closed { failed } if failed + 1 < self.breaker.failures.get() => {
                position.state = State::Closed { failed: failed + 1 };
            }
            _ => self.breaker.open(&mut position),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_try {
            let mut position = self.breaker.position();
            if position.turn == self.turn {
                position.turn_to(State::Open { until: moment() });
            }
        }
    }
}

/// The breaker is open. The call would probably fail as the calls before it.
#[derive(Debug)]
pub(crate) struct Open;

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("circuit breaker is open after several failures in a row")
    }
}

impl StdError for Open {}

#[derive(Debug)]
struct Position {
    state: State,
    /// Grows with each change of the state, so that a pass can tell whether it belongs to an earlier state.
    turn: u64,
}

impl Position {
    fn turn_to(&mut self, state: State) {
        self.state = state;
        self.turn = self.turn.wrapping_add(1);
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failed: u32 },
    Open { until: Instant },
}

#[cfg(test)]
mod tests {
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
        slow.by_ref().take(3).for_each(|pass| pass.ended(false));
        advance(PAUSE / 2).await;
        slow.by_ref().take(3).for_each(|pass| pass.ended(false));
        advance(PAUSE / 2).await;
        let trying = breaker.admit().expect("the pause is no longer for it");
        slow.by_ref().take(1).for_each(|pass| pass.ended(false));
        trying.ended(true);
        slow.for_each(drop);
        assert!(breaker.admit().is_ok());
    }
}
