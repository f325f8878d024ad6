//! Whether the server runs scripts for this user. Scripts renew and release leases.

use std::{
    error::Error as StdError,
    sync::atomic::{AtomicU8, Ordering},
};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::BoxError;

/// The server's answer so far: none, allowed or forbidden.
#[derive(Debug, Default)]
pub(super) struct Scripts(AtomicU8);

impl Scripts {
    pub(super) fn are_allowed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ALLOWED
    }

    pub(super) fn are_forbidden(&self) -> bool {
        self.0.load(Ordering::Relaxed) == FORBIDDEN
    }

    /// Notes the answer to a script. Returns whether scripts are forbidden.
    pub(super) fn heard<T>(&self, answer: &Result<T, BoxError>) -> bool {
        match answer {
            Ok(_) => self.0.store(ALLOWED, Ordering::Relaxed),
            Err(error) if forbids(&**error) => self.0.store(FORBIDDEN, Ordering::Relaxed),
            // Any other error says nothing about scripts: the server is full or down.
            Err(_) => return false,
        }
        self.are_forbidden()
    }
}

/// Whether the user lacks the permission, or the server the command.
fn forbids(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<RedisError>() else {
        return false;
    };
    let says = |words: &str| error.detail().is_some_and(|detail| detail.contains(words));
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) || REFUSALS.iter().any(|words| says(words))
}

/// Words of Redis: a server or a proxy has no `EVAL`, or a command within the script is not permitted.
const REFUSALS: [&str; 4] =
    ["unknown command", "unsupported command", "can't run this command", "ACL failure in script"];

const ALLOWED: u8 = 1;
const FORBIDDEN: u8 = 2;
