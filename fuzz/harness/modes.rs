//! How the layer of a run fills, and how its store loses or damages values.

use std::num::NonZeroUsize;

use tower_video_cache::{Abandon, Fill};

use super::reader::Reader;

/// Settings that scripts did not choose before there were modes.
#[derive(Debug)]
pub(super) struct Modes {
    /// Without the settings below.
    pub(super) fill: Fill,
    pub(super) read_ahead: u64,
    pub(super) abandon: Abandon,
    pub(super) resumes: u32,
    pub(super) most_slices: NonZeroUsize,
    pub(super) fill_ahead: u64,
    pub(super) most_fills: NonZeroUsize,
    pub(super) most_promised: Option<u64>,
}

impl Modes {
    pub(super) fn read(bytes: &mut Reader<'_>) -> Self {
        Self {
            fill: bytes.pick(&[Fill::progressive(), Fill::sliced(), Fill::whole(), Fill::auto()]),
            read_ahead: bytes.pick(&[16, 0, 40, 8 << 20]),
            abandon: bytes.pick(&[
                Abandon::Finish,
                Abandon::Stop,
                Abandon::FinishFromPercent(50),
                Abandon::FinishWithin(20),
            ]),
            resumes: bytes.pick(&[1, 0, 2, 3]),
            most_slices: bytes.pick(&[32, 1, 2].map(at_least_one)),
            fill_ahead: bytes.pick(&[32, 1, 2]),
            most_fills: bytes.pick(&[256, 256, 1, 2].map(at_least_one)),
            most_promised: bytes.pick(&[None, None, None, Some(4000), Some(600)]),
        }
    }

    /// Whether clients get a response before all of it is stored.
    pub(super) fn serves_unfinished(&self) -> bool {
        self.fill != Fill::whole()
    }
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            fill: Fill::whole(),
            read_ahead: 8 << 20,
            abandon: Abandon::Finish,
            resumes: 0,
            most_slices: at_least_one(32),
            fill_ahead: 32,
            most_fills: at_least_one(256),
            most_promised: None,
        }
    }
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

/// A mishap of the store while requests are answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mishap {
    /// The mishap comes after this many calls of the store.
    pub(super) after: u8,
    pub(super) harm: Harm,
    /// Chooses the value.
    pub(super) number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Lost,
    /// One bit is flipped, if the store may alter values.
    Altered,
    /// The call fails.
    Failed,
}

impl Mishap {
    pub(super) fn read_all(bytes: &mut Reader<'_>) -> Vec<Self> {
        let count = bytes.pick(&[0, 0, 0, 1, 1, 1, 2, 3]);
        (0..count).map(|_| Self::read(bytes)).collect()
    }

    fn read(bytes: &mut Reader<'_>) -> Self {
        let after = bytes.byte() % 32;
        let harm = bytes.pick(&[Harm::Lost, Harm::Lost, Harm::Altered, Harm::Failed]);
        Self { after, harm, number: bytes.byte() }
    }
}
