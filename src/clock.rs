//! The clock. No other file reads the system's time.

use std::time::SystemTime;

use tokio::time::Instant;

/// Tells the time of day, from which ages and freshness are calculated (RFC 9111 §4.2.3).
///
/// All other code takes the time as an argument, so a test that sets the clock decides which responses are fresh.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use tower_video_cache::{Clock, MokaStore, VideoCacheLayer};
///
/// /// A clock that is an hour ahead.
/// struct Ahead;
///
/// impl Clock for Ahead {
///     fn now(&self) -> SystemTime {
///         SystemTime::now() + Duration::from_secs(3600)
///     }
/// }
///
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).clock(Ahead);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The time of day, now.
    fn now(&self) -> SystemTime;
}

/// The system's clock, the default.
///
/// ```
/// use tower_video_cache::{Clock, SystemClock};
///
/// assert!(SystemClock.now() > std::time::UNIX_EPOCH);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// This moment by tokio's clock. Ages that begin in this process are counted from it, so a change of the date does not
/// alter them.
pub(crate) fn moment() -> Instant {
    Instant::now()
}

#[cfg(feature = "test-util")]
pub use self::manual::ManualClock;

#[cfg(feature = "test-util")]
mod manual {
    use std::{
        sync::{Arc, Mutex, PoisonError},
        time::{Duration, SystemTime},
    };

    use super::Clock;

    /// A clock that stands still until a test moves it. Clones share one time.
    ///
    /// Timeouts follow Tokio's clock instead, which `tokio::time::pause` stops.
    ///
    /// ```
    /// # use std::time::{Duration, UNIX_EPOCH};
    /// use tower_video_cache::{Clock, ManualClock};
    ///
    /// let clock = ManualClock::starting_at(UNIX_EPOCH);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(clock.now(), UNIX_EPOCH + Duration::from_secs(60));
    /// ```
    #[derive(Clone, Debug)]
    pub struct ManualClock(Arc<Mutex<SystemTime>>);

    impl ManualClock {
        /// A clock that stands at `time`.
        pub fn starting_at(time: SystemTime) -> Self {
            Self(Arc::new(Mutex::new(time)))
        }

        /// Sets the clock forwards or back.
        pub fn set(&self, time: SystemTime) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
        }

        /// Moves the clock forwards. A step to a time that the system cannot represent is ignored.
        pub fn advance(&self, by: Duration) {
            if let Some(later) = self.now().checked_add(by) {
                self.set(later);
            }
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
