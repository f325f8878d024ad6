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

    /// Whether calls fail at once now.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.position().state, State::Open { until } if moment() < until)
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
    pub(crate) fn ended(self, ok: bool) -> Option<Turn> {
        let mut position = self.breaker.position();
        let was_open = matches!(position.state, State::Open { .. });
        match position.state {
            State::Closed { .. } if ok => position.state = State::Closed { failed: 0 },
            _ if ok => position.turn_to(State::Closed { failed: 0 }),
            _ if position.turn != self.turn => {}
            State::Closed { failed } if failed + 1 < self.breaker.failures.get() => {
                position.state = State::Closed { failed: failed + 1 };
            }
            _ => self.breaker.open(&mut position),
        }
        match (was_open, matches!(position.state, State::Open { .. })) {
            (false, true) => Some(Turn::Opened),
            (true, false) => Some(Turn::Closed),
            _ => None,
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

/// A change of a breaker by the end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Closed,
    Opened,
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
mod tests;
