//! Reads the log of purges, and appends to it.

use std::{
    iter,
    ops::RangeInclusive,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use tokio::{sync::OwnedMutexGuard, time::timeout};

use super::{KEPT, Purges, View};
use crate::{
    clock::moment,
    error::Error,
    format::{
        key::Generation,
        purges::{Head, ID_KEY, Purge, Selector, decode_id, encode_id, head_key, purge_key},
    },
    futures::{both, to_its_end},
    semantics::purge::{Fate, Position},
    store::PutNew,
};

impl Purges {
    /// Reads the log again if it is time: beside the request, or before the request uses a stored response if what it
    /// knows would be too old.
    ///
    /// A store that does not answer holds no request up for long: the cache then goes by the purges that it knows, and
    /// this returns false. The reading goes on, so that the circuit breaker hears of its end.
    ///
    /// # Cancel safety
    ///
    /// A reading that has begun is finished.
    pub(crate) async fn keep_up(self: &Arc<Self>) -> bool {
        let (held, came) = (Arc::clone(&self.reading), moment());
        if self.is_late() {
            let read = timeout(self.log.limit() / 4, async {
                let held = held.lock_owned().await;
                // A reading that began since is as good for all who waited for it.
                if !self.was_read_since(came) {
                    let _ = to_its_end(Arc::clone(self).read_while(held)).await;
                }
            });
            return read.await.is_ok();
        }
        if let Ok(held) = held.try_lock_owned() {
            // Until it is late, other requests need not look whether the reading has ended.
            self.due.store(self.late.load(Ordering::Relaxed), Ordering::Relaxed);
            drop(tokio::spawn(Arc::clone(self).read_while(held)));
        }
        true
    }

    /// Reads the log while nobody else does.
    async fn read_while(self: Arc<Self>, _held: OwnedMutexGuard<()>) {
        self.read().await;
    }

    /// Reads what is new in the log. If the store cannot tell, the cache goes by what it knows, and reads again later.
    async fn read(&self) {
        let asked = moment();
        let is_read = self.catch_up(false).await;
        self.note_reading(if is_read.is_ok() { asked } else { moment() });
        let is_unreadable = is_read.as_ref().is_err_and(|error| !error.is_not_offered());
        self.is_unreadable.store(is_unreadable, Ordering::Relaxed);
        if is_read.is_err_and(|error| error.is_not_offered()) {
            self.never_read();
        }
    }

    /// Appends a purge to the log. When this returns, the purge counts on this node.
    ///
    /// # Errors
    ///
    /// The store has no log, or did not confirm the purge. Then the purge may count or not.
    pub(crate) async fn append(&self, fate: Fate, selectors: Vec<Selector>) -> Result<(), Error> {
        let _reading = self.reading.lock().await;
        let purge = Purge { nonce: random()?, fate, selectors };
        let can_lose = self.log.can_lose();
        for again in [false].into_iter().chain(iter::repeat_n(true, MOST_TRIES)) {
            // If the store loses nothing, the put itself shows whether this node knows all purges.
            if can_lose || again || self.position().log == 0 {
                let asked = moment();
                self.catch_up(true).await?;
                self.note_reading(asked);
            }
            let Position { log, number } = self.position();
            if !self.put(&purge_key(log, number + 1), &purge).await? {
                continue;
            }
            self.change(|view| view.note(&purge, self.clock.now()));
            self.put_head(log).await?;
            // Otherwise the log was lost meanwhile, and others do not read this one any more.
            if !can_lose || self.id().await? == Some(log) {
                return Ok(());
            }
        }
        Err(Error::store(
            "other nodes were always faster, or the log of purges is lost again and again".into(),
        ))
    }

    /// Puts a purge as the next one. Returns whether it is the next one; otherwise another node's is.
    async fn put(&self, key: &str, purge: &Purge) -> Result<bool, Error> {
        match self.log.put_new(key, purge.encode()).await {
            Ok(PutNew::Created) => Ok(true),
            // The store may have repeated the call, and found this very purge.
            Ok(PutNew::Exists) => {
                let there = self.log.log_value(key).await?;
                Ok(there.as_deref().and_then(Purge::decode).is_some_and(|there| there.nonce == purge.nonce))
            }
            Ok(PutNew::NotOffered) => Err(Error::not_offered()),
            Err(error) => {
                // It may be there all the same.
                let there = self.log.log_value(key).await?;
                let there = there.as_deref().and_then(Purge::decode).ok_or(error)?;
                Ok(there.nonce == purge.nonce)
            }
        }
    }

    /// Puts the end of the log, and takes out what is older than the purges that stay.
    async fn put_head(&self, log: u64) -> Result<(), Error> {
        let (key, head) = (head_key(log), self.with_view(View::head));
        for _ in 0..MOST_TRIES {
            self.log.put_log_value(&key, head.encode()).await?;
            if !self.log.can_lose() {
                break;
            }
            // A slower node may have put an earlier end over it.
            let there = self.log.log_value(&key).await?;
            if there.as_deref().and_then(Head::decode).is_some_and(|there| there.number >= head.number) {
                break;
            }
        }
        if head.floor > 0 {
            // A purge that stays is of no harm.
            let _ = self.log.remove_log_value(&purge_key(log, head.floor)).await;
        }
        Ok(())
    }

    /// Reads the log up to its end. If there is none, begins one, unless nobody needs it yet.
    async fn catch_up(&self, is_needed: bool) -> Result<(), Error> {
        let Position { log: known, number } = self.position();
        // The values that are most likely needed, at the same time.
        let values = async |log, number| {
            let (head, next) = (head_key(log), purge_key(log, number + 1));
            both(self.log.log_value(&head), self.log.log_value(&next)).await
        };
        let last = self.with_view(|view| view.last);
        let (id, guessed) = if known == 0 {
            (self.id().await?, None)
        } else {
            let there = async {
                match last {
                    Some(_) => self.log.log_value(&purge_key(known, number)).await,
                    None => Ok(None),
                }
            };
            let (id, guessed) = both(self.id(), both(values(known, number), there)).await;
            (id?, Some(guessed))
        };
        let log = match id {
            Some(log) => log,
            // This process's memory loses nothing, so there was no purge before.
            None if !is_needed && !self.log.can_lose() => return Ok(()),
            None => self.begin().await?,
        };
        if log != known {
            self.go_over_to(log);
        }
        let ((head, next), there) = match guessed.filter(|_| log == known) {
            Some(guessed) => guessed,
            None => (values(log, 0).await, Ok(None)),
        };
        let (head, next, there) = (head?, next?, there?);
        let head = head.as_deref().and_then(Head::decode);
        // The store may have fallen back to an earlier log. Then another purge has, or will have, the number of the last
        // one that this node knows.
        let is_true = |head: &Head| match (last.filter(|_| log == known), &there) {
            (None, _) => true,
            (Some(_), None) => head.number >= number,
            (Some(last), Some(there)) => Purge::decode(there).is_none_or(|there| there.nonce == last),
        };
        match head.filter(is_true) {
            Some(head) if head.number <= self.position().number && next.is_none() => Ok(()),
            Some(head) => self.read_to(log, head).await,
            // A log is begun with its end, so an end that is not there is lost, and perhaps purges with it.
            None => {
                // Another node may have begun anew by now.
                if self.id().await? == Some(log) {
                    self.log.remove_log_value(ID_KEY).await?;
                }
                let log = self.begin().await?;
                self.go_over_to(log);
                let head = values(log, 0).await.0?;
                let head = head.as_deref().and_then(Head::decode).ok_or_else(Error::lost)?;
                self.read_to(log, head).await
            }
        }
    }

    /// Goes over to another log, and takes what is left of the one before out of the store.
    fn go_over_to(&self, log: u64) {
        let before = self.position();
        self.change(|view| view.adopt(log));
        if before.log != 0 {
            let store = Arc::clone(&self.log);
            tokio::spawn(async move {
                // A value that stays is of no harm: nobody reads that log any more.
                let _ = store.remove_log_value(&head_key(before.log)).await;
                for number in before.number.saturating_sub(KEPT.into())..=before.number {
                    let _ = store.remove_log_value(&purge_key(before.log, number)).await;
                }
            });
        }
    }

    /// Reads the purges up to the end of the log, and those that were appended since.
    async fn read_to(&self, log: u64, head: Head) -> Result<(), Error> {
        let now = self.clock.now();
        // No log has more purges than that, so the numbers between them were lost.
        let floor = head.floor.max(head.number.saturating_sub(2 * u64::from(KEPT)));
        if floor > self.position().number {
            let is_lost = floor > head.floor || head.fate.is_none();
            let fate = head.fate.max(is_lost.then_some(Fate::Invalid)).unwrap_or(Fate::Invalid);
            self.change(|view| view.note_unknown(floor, fate, now));
        }
        // The head names these. A purge that is not there was lost, or was taken out while this node read.
        while self.position().number < head.number {
            let first = self.position().number + 1;
            let purges = self.purges(log, first..=head.number.min(first + AT_ONCE - 1)).await?;
            let mut now_there = head;
            if purges.iter().any(Option::is_none) {
                let value = self.log.log_value(&head_key(log)).await?;
                now_there = value.as_deref().and_then(Head::decode).unwrap_or(head);
            }
            self.change(|view| {
                for (number, purge) in (first..).zip(purges) {
                    if let Some(purge) = purge {
                        view.note(&purge, now);
                    } else {
                        let fate = now_there.fate.filter(|_| number <= now_there.floor);
                        view.note_unknown(number, fate.unwrap_or(Fate::Invalid), now);
                    }
                }
            });
        }
        // A slower node may have put an earlier head. So there may be further purges, and others may append them as fast
        // as this node reads them one by one.
        loop {
            let first = self.position().number + 1;
            let purges = self.purges(log, first..=first).await?;
            let more = match &purges[..] {
                [Some(_)] => self.purges(log, first + 1..=first + AT_ONCE).await?,
                _ => return Ok(()),
            };
            let purges = purges.into_iter().chain(more).map_while(|purge| purge);
            self.change(|view| purges.for_each(|purge| view.note(&purge, now)));
        }
    }

    /// The purges with these numbers, as far as they are there. They are read in two halves at the same time.
    fn purges(&self, log: u64, numbers: RangeInclusive<u64>) -> Purging<'_> {
        Box::pin(async move {
            let (first, last) = numbers.into_inner();
            if first == last {
                let purge = self.log.log_value(&purge_key(log, first)).await?;
                return Ok(vec![purge.as_deref().and_then(Purge::decode)]);
            }
            let middle = first.midpoint(last);
            let (one, two) =
                both(self.purges(log, first..=middle), self.purges(log, middle + 1..=last)).await;
            Ok([one?, two?].concat())
        })
    }

    /// Begins a log, unless another node does, and returns its random number.
    async fn begin(&self) -> Result<u64, Error> {
        let log = random()?;
        // Before its number, so that a log without an end has lost it.
        if self.log.put_new(&head_key(log), Head::default().encode()).await? == PutNew::NotOffered {
            return Err(Error::not_offered());
        }
        let begun = self.put_id(log).await;
        if !begun.as_ref().is_ok_and(|begun| *begun == log) {
            let _ = self.log.remove_log_value(&head_key(log)).await;
        }
        begun
    }

    /// Puts the random number of a log, unless there is one. Returns the number that is there then.
    async fn put_id(&self, log: u64) -> Result<u64, Error> {
        for _ in 0..2 {
            match self.log.put_new(ID_KEY, encode_id(log)).await? {
                PutNew::Created => return Ok(log),
                PutNew::NotOffered => return Err(Error::not_offered()),
                PutNew::Exists => match self.id().await? {
                    Some(there) => return Ok(there),
                    // It was damaged.
                    None => self.log.remove_log_value(ID_KEY).await?,
                },
            }
        }
        Err(Error::lost())
    }

    /// The random number of the log that is in the store.
    async fn id(&self) -> Result<Option<u64>, Error> {
        Ok(self.log.log_value(ID_KEY).await?.as_deref().and_then(decode_id))
    }
}

/// A reading of some purges.
type Purging<'a> = Pin<Box<dyn Future<Output = Result<Vec<Option<Purge>>, Error>> + Send + 'a>>;

/// Random bits that are not all zero.
fn random() -> Result<u64, Error> {
    let bits = Generation::random().ok_or_else(|| Error::store("there are no random bytes".into()))?;
    let [high, low] =
        [bits.0 >> 64, bits.0].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(1));
    Ok((high ^ low).max(1))
}

/// How often an append begins again.
const MOST_TRIES: usize = 64;

/// The purges that are read at the same time.
const AT_ONCE: u64 = 16;
