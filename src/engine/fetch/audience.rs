//! The clients that a body is poured for, and the moment when the pour has lost the last of them.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

use crate::{
    engine::state::{flight::Permit, supply::Running},
    settings::Abandon,
};

/// The clients that a body is poured for.
pub(crate) enum Audience<'a> {
    /// The clients that wait for a flight; the policy for when they have left; the length of the body, if it is
    /// known.
    Flight(&'a Permit, Abandon, Option<u64>),
    /// Clients to come.
    Later,
    Run(&'a Running),
    /// Clients that are about to wait for a run, by this moment at the latest.
    Soon(&'a Running, Instant),
}

impl Audience<'_> {
    /// Whether no client waits for the body now.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Flight(permit, ..) if permit.is_deserted())
    }

    /// Waits until no client is left for whom it is worth while to store more than the `stored` bytes. `since` is how
    /// many of them were stored after the last client left.
    pub(crate) async fn leaves(&self, stored: u64, since: u64, paced: bool) {
        match self {
            // Without a reader there is no pace to keep.
            Self::Flight(permit, ..) if paced => permit.deserted().await,
            Self::Flight(permit, abandon, length) if abandon.stops(stored, *length, since) => {
                permit.deserted().await;
            }
            Self::Run(run) => run.deserted().await,
            Self::Soon(run, by) => {
                sleep_until(*by).await;
                run.deserted().await;
            }
            Self::Flight(..) | Self::Later => pending().await,
        }
    }
}

/// The readers of a chunk that is under way.
#[derive(Clone, Copy)]
pub(super) enum Reading<'a> {
    Nobody,
    /// The clients that wait for the first bytes. The pour ends once these have landed.
    First,
    By(&'a Running),
}

impl<'a> Reading<'a> {
    pub(super) fn run(self) -> Option<&'a Running> {
        match self {
            Self::By(run) => Some(run),
            Self::First | Self::Nobody => None,
        }
    }
}
