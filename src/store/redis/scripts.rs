//! Whether the server runs scripts for this user: leases are renewed and released by them.

use std::{
    error::Error as StdError,
    sync::atomic::{AtomicU8, Ordering},
};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::BoxError;

/// What was heard so far: nothing, that it does, or that it does not.
#[derive(Debug, Default)]
pub(super) struct Scripts(AtomicU8);

impl Scripts {
    pub(super) fn are_allowed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ALLOWED
    }

    pub(super) fn are_forbidden(&self) -> bool {
        self.0.load(Ordering::Relaxed) == FORBIDDEN
    }

    /// Takes note of what a script was answered; says whether it is forbidden.
    pub(super) fn heard<T>(&self, answer: &Result<T, BoxError>) -> bool {
        match answer {
            Ok(_) => self.0.store(ALLOWED, Ordering::Relaxed),
            Err(error) if forbids(&**error) => self.0.store(FORBIDDEN, Ordering::Relaxed),
            // Any other error says nothing: the server is full, or it is not there.
            Err(_) => return false,
        }
        self.are_forbidden()
    }
}

/// Whether the error is of a user without the permission, or of a server without the command.
fn forbids(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<RedisError>() else {
        return false;
    };
    let says = |words: &str| error.detail().is_some_and(|detail| detail.contains(words));
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || REFUSALS.iter().any(|words| says(words))
}

/// In the words of Redis: there is no `EVAL` (here, or at a proxy); or a command within the script is not permitted.
const REFUSALS: [&str; 4] =
    ["unknown command", "unsupported command", "can't run this command", "ACL failure in script"];

const ALLOWED: u8 = 1;
const FORBIDDEN: u8 = 2;
