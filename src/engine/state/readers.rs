//! How far the readers of a response have come, for the fill that brings it.

use tokio::sync::watch;

/// The readers of a response that is being filled.
#[derive(Default)]
pub(crate) struct Readers {
    /// The farthest byte that they have reached by reading on.
    farthest: watch::Sender<u64>,
    /// Whether the fill goes no faster than they do, because there is no room for the whole.
    paced: watch::Sender<bool>,
}

impl Readers {
    /// Notes that a reader has got the bytes from `from` to `offset`, and goes on. The farthest byte moves no farther than
    /// the reader did: a reader that began far ahead must not speed the fill up by a leap.
    pub(crate) fn note_moved(&self, from: u64, offset: u64) {
        let read = offset.saturating_sub(from);
        self.farthest.send_if_modified(|farthest| {
            let reached = offset.min(farthest.saturating_add(read));
            let is_farther = reached > *farthest;
            *farthest = reached.max(*farthest);
            is_farther
        });
    }

    /// Records that the fill goes no faster than its readers from now on.
    pub(crate) fn slow_the_fill_down(&self) {
        self.paced.send_if_modified(|paced| !std::mem::replace(paced, true));
    }

    /// Waits until the fill goes no faster than its readers. From then on, a request that does not read waits in
    /// vain.
    pub(crate) async fn have_slowed_the_fill_down(&self) {
        let _ = self.paced.subscribe().wait_for(|paced| *paced).await;
    }

    /// Whether the fill goes no faster than its readers, and none of them is within `lead` bytes of `offset`.
    pub(super) fn are_out_of_reach(&self, offset: u64, lead: u64) -> bool {
        *self.paced.borrow() && offset > self.farthest.borrow().saturating_add(lead)
    }

    /// Waits until some reader is no more than `lead` bytes before `offset`.
    pub(crate) async fn near(&self, offset: u64, lead: u64) {
        let mut farthest = self.farthest.subscribe();
        let _ = farthest.wait_for(|farthest| offset <= farthest.saturating_add(lead)).await;
    }
}
