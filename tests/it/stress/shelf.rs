//! A slow store that loses values at random, and fails as the dice say.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tower_video_cache::{BoxError, Store};

use super::dice::Dice;

/// Clones share their values.
#[derive(Clone)]
pub(super) struct Shelf {
    state: Arc<Mutex<State>>,
    capacity: Option<u64>,
    can_alter: bool,
}

struct State {
    values: HashMap<String, Bytes>,
    /// The keys in the order in which they came. The order of the map differs each time.
    order: Vec<String>,
    dice: Dice,
    trouble: Trouble,
    room: usize,
}

/// The percentage of calls that go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trouble {
    pub(super) gets: u64,
    pub(super) puts: u64,
    pub(super) removes: u64,
}

enum Fate {
    Done,
    Error,
    /// The call finds, keeps or removes no value.
    Nothing,
    Corrupt,
    /// The call takes effect, and returns an error.
    ErrorAfter,
}

impl Shelf {
    /// Has room for this many values. A further value replaces another.
    pub(super) fn new(mut dice: Dice, room: usize, says_capacity: bool, can_alter: bool) -> Self {
        let state = State {
            values: HashMap::new(),
            order: Vec::new(),
            dice: dice.fork(),
            trouble: Trouble::default(),
            room,
        };
        let capacity = says_capacity.then_some(room as u64 * 1000);
        Self { state: Arc::new(Mutex::new(state)), capacity, can_alter }
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.with(|state| state.trouble = trouble);
    }

    /// Stops losing values by itself.
    pub(super) fn make_room(&self) {
        self.with(|state| state.room = usize::MAX);
    }

    /// Loses this many values, at random.
    pub(super) fn lose(&self, count: u64) {
        self.with(|state| (0..count).for_each(|_| state.lose_one()));
    }

    /// The outcome of this call, once it has taken its time.
    async fn fate(&self, percent: impl FnOnce(Trouble) -> u64) -> Fate {
        let (pause, fate) = self.with(|state| {
            let percent = percent(state.trouble);
            let pause = if state.dice.percent(50) { 0 } else { state.dice.below(5) };
            let is_in_trouble = state.dice.percent(percent);
            let fate = match state.dice.below(if is_in_trouble { 12 } else { 1 }) {
                0 => Some(Fate::Done),
                1..=3 => Some(Fate::Error),
                4..=6 if self.can_alter => Some(Fate::Corrupt),
                7..=9 => Some(Fate::ErrorAfter),
                10 => None,
                _ => Some(Fate::Nothing),
            };
            (pause, fate)
        });
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        match fate {
            Some(fate) => fate,
            // The call hangs.
            None => pending().await,
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }
}

impl Store for Shelf {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let fate = self.fate(|trouble| trouble.gets).await;
        self.with(|state| match fate {
            Fate::Done => Ok(state.values.get(key).cloned()),
            Fate::Nothing => Ok(None),
            Fate::Corrupt => Ok(state.values.get(key).cloned().map(|value| state.flip(&value))),
            Fate::Error | Fate::ErrorAfter => Err("the shelf does not find it".into()),
        })
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        let fate = self.fate(|trouble| trouble.puts).await;
        self.with(|state| match fate {
            Fate::Error => Err("the shelf does not take it".into()),
            Fate::Nothing => Ok(()),
            Fate::Done => {
                state.keep(key, value);
                Ok(())
            }
            Fate::Corrupt => {
                let value = state.flip(&value);
                state.keep(key, value);
                Ok(())
            }
            Fate::ErrorAfter => {
                state.keep(key, value);
                Err("the shelf is not sure".into())
            }
        })
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        let fate = self.fate(|trouble| trouble.removes).await;
        self.with(|state| match fate {
            Fate::Error => Err("the shelf cannot reach it".into()),
            Fate::Nothing => Ok(()),
            Fate::Done | Fate::Corrupt => {
                state.remove(key);
                Ok(())
            }
            Fate::ErrorAfter => {
                state.remove(key);
                Err("the shelf is not sure".into())
            }
        })
    }

    fn capacity(&self) -> Option<u64> {
        self.capacity
    }

    fn can_alter(&self) -> bool {
        self.can_alter
    }
}

impl State {
    fn keep(&mut self, key: &str, value: Bytes) {
        if self.values.insert(key.to_owned(), value).is_none() {
            while self.order.len() >= self.room {
                self.lose_one();
            }
            self.order.push(key.to_owned());
        }
    }

    fn remove(&mut self, key: &str) {
        self.values.remove(key);
        self.order.retain(|kept| kept != key);
    }

    fn lose_one(&mut self) {
        if !self.order.is_empty() {
            let index = self.dice.below(self.order.len() as u64);
            let key = self.order.remove(usize::try_from(index).unwrap());
            self.values.remove(&key);
        }
    }

    /// The value with one bit turned, anywhere.
    fn flip(&mut self, value: &Bytes) -> Bytes {
        let mut value = value.to_vec();
        let bit = self.dice.below(value.len() as u64 * 8);
        if let Some(byte) = value.get_mut(usize::try_from(bit / 8).unwrap()) {
            *byte ^= 1 << (bit % 8);
        }
        value.into()
    }
}
