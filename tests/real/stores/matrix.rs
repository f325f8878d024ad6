//! Clients' answers while a real server fails. A store takes the first values of a video. The server behind it is then
//! killed, paused, restarted, cut off in mid-value, or slow.
//!
//! The verdict is always the true bytes, to their end or to an error. The inner service is well all the time, so no
//! error comes before the first byte. No error comes at all if no client reads bytes that are not stored yet, and any
//! part can be fetched again.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::timeout;
use tower_video_cache::{ChunkSize, Fill, Policy, Store, Timeouts, VideoCacheLayer, conformance};

use crate::{
    servers::{Server, memcached::Memcached, redis::Redis, s3::S3, soon},
    stores::{counting::Counting, film::Film, relay::Relay},
    trials::{Test, tests},
};

/// How a server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Killed,
    Paused,
    Restarted,
    /// Each connection ends in the middle of an answer or a question.
    AnswersCut,
    QuestionsCut,
    Slow,
}

impl Failure {
    fn is_of_the_wire(self) -> bool {
        matches!(self, Self::AnswersCut | Self::QuestionsCut | Self::Slow)
    }

    /// The longest time of a call. A call that hangs takes all of it.
    fn limit(self) -> Duration {
        if self == Self::Paused { LIMIT / 4 } else { LIMIT }
    }
}

/// The server, and a relay to it if the wire fails.
struct Rig<T> {
    server: T,
    relay: Option<Relay>,
    failure: Failure,
}

impl<T: Server> Rig<T> {
    async fn of(failure: Failure) -> Self {
        let server = T::begin(failure.is_of_the_wire()).await;
        let relay = if failure.is_of_the_wire() { Some(Relay::to(server.port()).await) } else { None };
        Self { server, relay, failure }
    }

    fn store(&self) -> T::Store {
        self.server.store(self.relay.as_ref().map(|relay| relay.port), self.failure.limit())
    }

    fn node(&self, store: impl Store, fill: Fill) -> VideoCacheLayer {
        VideoCacheLayer::new(store)
            .chunk_size(ChunkSize::new(CHUNK.try_into().unwrap()).unwrap())
            .timeouts(Timeouts::default().store(self.failure.limit() * 2).lease(Duration::from_secs(1)))
            // The test must not wait for a remembered refusal, or for a lease that could not be released.
            .policy(Policy::default().uncacheable_ttl(self.failure.limit()))
            .fill(fill)
    }

    async fn fail(&mut self) {
        match (self.failure, &self.relay) {
            (Failure::Killed, _) => self.server.process().kill(),
            (Failure::Paused, _) => self.server.process().signal("STOP"),
            (Failure::Restarted, _) => self.server.begin_again().await,
            // No chunk passes. For a while, the answers to puts still do.
            (Failure::AnswersCut, Some(relay)) => relay.cut(CHUNK / 2, u32::MAX),
            (Failure::QuestionsCut, Some(relay)) => relay.cut_questions(CHUNK / 2, u32::MAX),
            (Failure::Slow, Some(relay)) => relay.delay(SLOW),
            (_, None) => panic!("no wire to fail"),
        }
    }

    async fn heal(&mut self) {
        match self.failure {
            Failure::Killed => self.server.begin_again().await,
            Failure::Paused => self.server.process().signal("CONT"),
            _ => {}
        }
        if let Some(relay) = &self.relay {
            relay.heal();
        }
    }
}

/// A cell of the matrix: the server fails once this many values were put.
#[derive(Clone, Copy, Debug)]
struct Cell {
    failure: Failure,
    fill: Fill,
    puts: usize,
    /// Whether a client that asks for a part leads.
    part_first: bool,
    /// Whether the inner service can send parts, and identifies the whole by its tag.
    in_parts: bool,
}

impl Cell {
    async fn shown<T: Server>(self) {
        let mut rig = Rig::<T>::of(self.failure).await;
        let film = if self.in_parts { Film::of(LENGTH) } else { Film::of(LENGTH).without_parts() };
        let store = Arc::new(Counting::new(rig.store(), self.puts));
        let layer = rig.node(Arc::clone(&store), self.fill);
        let neighbour = rig.node(rig.store(), self.fill);

        let viewers = async {
            if self.part_first {
                tokio::join!(self.part(&film, &layer), self.whole(&film, &layer));
            } else {
                tokio::join!(self.whole(&film, &layer), self.part(&film, &layer));
            }
        };
        let failing = async {
            store.has_so_many().await;
            rig.fail().await;
            store.go_on();
        };
        tokio::pin!(viewers);
        tokio::select! {
            // Fewer values were put, so the server fails while the next clients read.
            () = &mut viewers => rig.fail().await,
            () = failing => viewers.await,
        }
        store.go_on();
        // The server is failing, or has just started again.
        tokio::join!(self.whole(&film, &layer), self.part(&film, &neighbour));
        rig.heal().await;
        soon(&format!("all is stored again: {self:?}"), || async {
            // Reads of the store may still take too long while the machine is busy.
            self.whole(&film, &layer).await?.contains("; hit").then_some(())
        })
        .await;
        soon(&format!("another node has it, too: {self:?}"), || self.part(&film, &neighbour)).await;
    }

    /// Whether a body that has begun may break.
    fn may_break(self) -> bool {
        self.fill != Fill::whole() || !self.in_parts
    }

    /// The `Cache-Status` of an answer that was read to its end.
    async fn whole(self, film: &Film, layer: &VideoCacheLayer) -> Option<String> {
        let seen = film.watch_if_it_can_be(layer).await;
        assert!(seen.is_ok() || self.may_break(), "{self:?}: {seen:?}");
        seen.ok()
    }

    async fn part(self, film: &Film, layer: &VideoCacheLayer) -> Option<String> {
        let seen = film.watch_part_if_it_can_be(layer, PART).await;
        assert!(seen.is_ok() || self.may_break(), "{self:?}: {seen:?}");
        seen.ok()
    }
}

/// Runs many cells of a failure at once, because they mostly wait, and checks the store itself. All at once would take so
/// long on a busy machine that the store's calls end by their limit.
async fn shown<T: Server>(failure: Failure) {
    let mut cells = Vec::new();
    for puts in [0, 1, 2, CHUNKS] {
        for part_first in [false, true] {
            for fill in [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()] {
                cells.push(Cell { failure, fill, puts, part_first, in_parts: true });
            }
            cells.push(Cell { failure, fill: Fill::whole(), puts, part_first, in_parts: false });
        }
    }
    let cells = stream::iter(cells).map(Cell::shown::<T>).buffer_unordered(AT_ONCE).collect::<()>();
    tokio::join!(cells, mended::<T>(failure));
}

/// Checks that a store returns only true values while its server fails. Once the server is well, the store must work
/// as before.
async fn mended<T: Server>(failure: Failure) {
    let mut rig = Rig::<T>::of(failure).await;
    // The contract knows no call that takes too long, and all cells use the server at the same time. So this store waits
    // for long, and a call to the failing server ends with its own limit below.
    let store = rig.server.store(rig.relay.as_ref().map(|relay| relay.port), LIMIT * 20);
    let value = Bytes::from(vec![7; CHUNK]);
    let put = |key| {
        let (store, value) = (&store, value.clone());
        async move { store.put(key, value).await.ok() }
    };
    soon("the store works", || put("c/a/0")).await;
    rig.fail().await;
    let (store, value) = (&store, &value);
    let got = |key| async move {
        if let Ok(Ok(Some(got))) = timeout(LIMIT * 2, store.get(key)).await {
            assert!(got == value, "{} bytes of {key}", got.len());
        }
    };
    let changed = async {
        let _ = timeout(LIMIT * 2, async { tokio::join!(put("c/a/1"), store.remove("c/b")) }).await;
    };
    tokio::join!(got("c/a/0"), changed, got("c/a/1"));
    got("c/a/0").await;
    rig.heal().await;
    soon("the store works again", || put("c/a/2")).await;
    if !failure.is_of_the_wire() {
        return conformance::check(store).await;
    }
    // No connection gives another call's answer. The whole contract takes too long at a port: see `OpendalStore`.
    let kept = |seed: u8| async move {
        let (key, value) = (format!("c/b/{seed}"), Bytes::from(vec![seed; CHUNK]));
        // All cells put at the same time, so the server may be late.
        soon("a put", || async { store.put(&key, value.clone()).await.ok() }).await;
        let got = soon("a get", || async { store.get(&key).await.ok().flatten() }).await;
        assert!(got == value, "{key}");
    };
    join_all((0..8).map(kept)).await;
}

macro_rules! over {
    ($name:ident: $server:ty) => {
        mod $name {
            use super::*;

            tests! {
                <$server as Server>::PROGRAMS => on_one_thread:
                    clients_get_the_true_bytes_though_the_server_is_killed,
                    clients_get_the_true_bytes_though_the_server_is_paused,
                    clients_get_the_true_bytes_though_the_server_is_restarted,
                    clients_get_the_true_bytes_though_the_servers_answers_are_cut,
                    clients_get_the_true_bytes_though_the_servers_questions_are_cut,
                    clients_get_the_true_bytes_though_the_server_is_slow;
            }

            async fn clients_get_the_true_bytes_though_the_server_is_killed() {
                shown::<$server>(Failure::Killed).await;
            }

            async fn clients_get_the_true_bytes_though_the_server_is_paused() {
                shown::<$server>(Failure::Paused).await;
            }

            async fn clients_get_the_true_bytes_though_the_server_is_restarted() {
                shown::<$server>(Failure::Restarted).await;
            }

            async fn clients_get_the_true_bytes_though_the_servers_answers_are_cut() {
                shown::<$server>(Failure::AnswersCut).await;
            }

            async fn clients_get_the_true_bytes_though_the_servers_questions_are_cut() {
                shown::<$server>(Failure::QuestionsCut).await;
            }

            async fn clients_get_the_true_bytes_though_the_server_is_slow() {
                shown::<$server>(Failure::Slow).await;
            }
        }
    };
}

pub(crate) fn tests() -> Vec<Test> {
    [redis::tests(), s3::tests(), memcached::tests()].into_iter().flatten().collect()
}

over!(redis: Redis);
over!(s3: S3);
over!(memcached: Memcached);

/// The number of chunks of a video.
const CHUNKS: usize = 4;
const CHUNK: usize = 16 << 10;
const LENGTH: usize = CHUNKS * CHUNK - 1000;
const PART: Range<usize> = 2 * CHUNK + 5..3 * CHUNK + 7;
const LIMIT: Duration = Duration::from_secs(1);
/// The number of cells that run at the same time.
const AT_ONCE: usize = 10;
const SLOW: Duration = Duration::from_millis(200);
