//! Many futures on one task, polled in their own order.
//!
//! Tokio wakes the tasks that wait for one value in a different order each time. With a task for each client, the
//! clients would go on in that order.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::task::unconstrained;

/// Drives all futures until each is ready, and returns their results in order.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let members = futures.into_iter().map(|future| Member {
        bell: Arc::new(Bell { is_rung: AtomicBool::new(true), task: Mutex::new(Waker::noop().clone()) }),
        future: Some(Box::pin(future)),
        output: None,
    });
    // The futures are too many for one task's cooperative budget.
    unconstrained(Crowd { members: members.collect() }).await
}

struct Crowd<F: Future> {
    members: Vec<Member<F>>,
}

struct Member<F: Future> {
    bell: Arc<Bell>,
    future: Option<Pin<Box<F>>>,
    output: Option<F::Output>,
}

impl<F: Future> Unpin for Crowd<F> {}

impl<F: Future> Future for Crowd<F> {
    type Output = Vec<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        for member in &mut self.members {
            member.bell.task.lock().unwrap().clone_from(cx.waker());
        }
        for member in &mut self.members {
            let Some(future) = &mut member.future else { continue };
            if member.bell.is_rung.swap(false, Ordering::SeqCst) {
                let waker = Waker::from(Arc::clone(&member.bell));
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    (member.output, member.future) = (Some(output), None);
                }
            }
        }
        if self.members.iter().any(|member| member.future.is_some()) {
            return Poll::Pending;
        }
        Poll::Ready(self.members.iter_mut().filter_map(|member| member.output.take()).collect())
    }
}

/// Marks one member for polling, and wakes the task of all members.
struct Bell {
    is_rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.is_rung.store(true, Ordering::SeqCst);
        self.task.lock().unwrap().wake_by_ref();
    }
}
