//! [`Retry`]: how a body that broke off is continued.

use std::time::Duration;

/// How often, and after how long, the cache continues the body of a fill that broke off.
///
/// The cache continues a body by a `Range` request, if a strong validator binds the rest to what is stored.
///
/// ```
/// # use std::time::Duration;
/// # use tower_video_cache::{MokaStore, Retry, VideoCacheLayer};
/// let retry = Retry::default().attempts(5).first_delay(Duration::from_millis(50));
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).retry(retry);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first_delay: Duration,
}

impl Retry {
    /// How often one body is continued before its fill fails. Default: 3.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The wait before the first attempt. Each further wait is twice as long. Default: 100 milliseconds.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, first_delay: Duration::from_millis(100) }
    }
}
