//! [`Crowd`]: all clients' connections, and the choice of those to end when they take nothing or are too many.
//!
//! A client that does not read holds its seat, and the chunk that waits for it. A paused player looks the same, so
//! time alone ends it late. If seats or memory are short, the client that took nothing for longest goes first.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Version;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, interval, timeout},
};

use super::{
    unread::{Answer, Frames},
    wire::Socket,
};

/// The limits for all clients together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at once.
    pub(crate) connections: usize,
    /// Bytes that wait for clients to take them.
    pub(crate) unread: u64,
    /// How long a client may take nothing while bytes wait for it.
    pub(crate) patience: Duration,
}

/// The clients of one proxy.
pub(crate) struct Crowd {
    bounds: Bounds,
    /// A client that took something within this time is not quiet.
    quiet: Duration,
    seats: Arc<Semaphore>,
    clients: Mutex<Vec<Weak<Client>>>,
    frames: Frames,
}

impl Crowd {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let seats = Arc::new(Semaphore::new(bounds.connections.min(Semaphore::MAX_PERMITS)));
        Self {
            bounds,
            quiet: bounds.patience.min(MOST_QUIET),
            seats,
            clients: Mutex::default(),
            frames: Frames::default(),
        }
    }

    pub(crate) fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Returns a seat once there is one. Until then, the quietest clients give up theirs.
    pub(crate) async fn seat(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() {
            return Some(seat);
        }
        loop {
            self.make_room();
            if let Ok(seat) = timeout(self.quiet, Arc::clone(&self.seats).acquire_owned()).await {
                return seat.ok();
            }
        }
    }

    pub(crate) fn enter(&self, socket: &Arc<Socket>) -> Arc<Client> {
        let client = Arc::new(Client {
            socket: Arc::clone(socket),
            answers: Mutex::default(),
            ended: AtomicBool::new(false),
            end: Notify::new(),
        });
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut clients, &client);
        client
    }

    /// Ends, again and again, the clients that have taken nothing for too long.
    pub(crate) async fn watch(&self) {
        let pause = (self.bounds.patience / 8).clamp(Duration::from_millis(5), Duration::from_secs(5));
        let mut turns = interval(pause);
        loop {
            turns.tick().await;
            for client in self.present() {
                if client.waits_since().is_some_and(|since| since.elapsed() >= self.bounds.patience) {
                    client.end();
                }
            }
        }
    }

    /// Ends the clients that have taken nothing for longest, until the waiting bytes are within their bound again.
    pub(crate) fn relieve(&self) {
        let total = self.frames.total();
        if total <= self.bounds.unread {
            return;
        }
        let (leaving, mut staying): (Vec<_>, Vec<_>) =
            self.present().into_iter().partition(|client| client.is_ended());
        let freed: u64 = leaving.iter().map(|client| client.holds()).sum();
        let mut over = total.saturating_sub(self.bounds.unread).saturating_sub(freed);
        staying.retain(|client| client.waits_for(self.quiet));
        staying.sort_by_cached_key(|client| client.waits_since());
        for client in staying {
            if over == 0 {
                return;
            }
            over = over.saturating_sub(client.holds());
            client.end();
        }
    }

    /// Ends the quietest client: one without a request if there is any, else one that does not take the bytes that
    /// wait for it. Clients that wait for the proxy are left alone.
    pub(crate) fn make_room(&self) {
        let present = self.present();
        let staying = || present.iter().filter(|client| !client.is_ended());
        let idle =
            staying().filter(|client| client.is_idle() && client.socket.moved().elapsed() >= self.quiet);
        let stalled = staying().filter(|client| client.waits_for(self.quiet));
        let quietest = idle
            .min_by_key(|client| client.socket.moved())
            .or_else(|| stalled.min_by_key(|client| client.waits_since()));
        if let Some(client) = quietest {
            client.end();
        }
    }

    fn present(&self) -> Vec<Arc<Client>> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.iter().filter_map(Weak::upgrade).collect()
    }
}

/// One client's connection.
pub(crate) struct Client {
    socket: Arc<Socket>,
    answers: Mutex<Vec<Weak<Answer>>>,
    ended: AtomicBool,
    end: Notify,
}

impl Client {
    /// Registers an answer that the client waits for until the answer is dropped.
    pub(crate) fn asks(&self, version: Version) -> Arc<Answer> {
        let answer = Arc::new(Answer::new(version));
        add(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner), &answer);
        answer
    }

    /// Resolves once the connection must end.
    pub(crate) async fn is_told_to_go(&self) {
        self.end.notified().await;
        self.socket.reset_at_close();
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.end.notify_one();
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.answers().next().is_none() && self.socket.blocked().is_none()
    }

    /// Since when the client has taken none of the bytes that wait for it; `None` if no bytes wait.
    fn waits_since(&self) -> Option<Instant> {
        // Over HTTP/2, one answer may wait while others go on.
        self.answers().filter_map(|answer| answer.waits_since()).chain(self.socket.blocked()).min()
    }

    fn waits_for(&self, time: Duration) -> bool {
        self.waits_since().is_some_and(|since| since.elapsed() >= time)
    }

    fn holds(&self) -> u64 {
        self.answers().map(|answer| answer.holds()).sum()
    }

    fn answers(&self) -> impl Iterator<Item = Arc<Answer>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().filter_map(Weak::upgrade).collect::<Vec<_>>().into_iter()
    }
}

/// Adds one to a list. The list keeps at most twice as many places as it has living members.
fn add<T>(list: &mut Vec<Weak<T>>, one: &Arc<T>) {
    if list.len() == list.capacity() {
        list.retain(|one| one.strong_count() > 0);
        list.reserve(list.len() + 1);
    }
    list.push(Arc::downgrade(one));
}

/// The slowest video worth watching sends more than one piece in this time.
const MOST_QUIET: Duration = Duration::from_secs(1);
