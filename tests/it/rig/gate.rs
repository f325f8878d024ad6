//! Gates that hold every task that comes to them, and a way to let all other tasks run.

use std::{future::Future, sync::Arc};

use futures_util::future::poll_immediate;
use tokio::sync::watch;

/// Holds every task that comes to it until it is opened, and counts them.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(crate) fn shut() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` tasks have come to the gate.
    pub(crate) async fn reached_by(&self, count: usize) {
        self.reached.subscribe().wait_for(|reached| *reached >= count).await.unwrap();
    }

    pub(crate) async fn opened(&self) {
        self.reached.send_modify(|reached| *reached += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Lets every task run until all tasks wait for something else. For use on a single-threaded runtime.
pub(crate) async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// Gives the other tasks as many turns as they want. A future that waits for a clock does not end.
pub(crate) async fn poll_until_done<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    for _ in 0..1000 {
        if let Some(done) = poll_immediate(future.as_mut()).await {
            return done;
        }
        tokio::task::yield_now().await;
    }
    panic!("it waits");
}
