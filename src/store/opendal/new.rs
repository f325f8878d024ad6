//! [`Way`]: how a service creates a value that no other writer creates.

use std::{fs, io, path::PathBuf};

use bytes::Bytes;
use opendal::{ErrorKind, Operator};
use tokio::task::{JoinSet, spawn_blocking};

use crate::{error::BoxError, store::PutNew};

/// How a service creates a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A write on the condition that the path is free.
    Condition,
    /// A hard link to a file that was written before.
    Link,
    /// The service cannot tell whether a value is new.
    None,
}

impl Way {
    /// Finds out what the service does. opendal's answer is not enough: a server may ignore the condition, or check it
    /// before it writes.
    pub(super) async fn find(operator: &Operator) -> Result<Self, BoxError> {
        if operator.info().scheme() == "fs" {
            return try_link(operator).await;
        }
        if !operator.info().capability().write_with_if_not_exists {
            return Ok(Self::None);
        }
        race(operator).await
    }

    pub(super) async fn write(
        self,
        operator: &Operator,
        path: &str,
        value: Bytes,
    ) -> Result<PutNew, BoxError> {
        match self {
            Self::Condition => Ok(write_if_free(operator, path, value).await?),
            Self::Link => link(operator, path, value).await,
            Self::None => Ok(PutNew::NotOffered),
        }
    }
}

async fn write_if_free(operator: &Operator, path: &str, value: Bytes) -> opendal::Result<PutNew> {
    match operator.write_with(path, value).if_not_exists(true).await {
        Ok(_) => Ok(PutNew::Created),
        Err(error) if matches!(error.kind(), ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists) => {
            Ok(PutNew::Exists)
        }
        Err(error) => Err(error),
    }
}

/// Has several writers race for one path, again and again. A server that checks before it writes lets two of them win.
async fn race(operator: &Operator) -> Result<Way, BoxError> {
    let (mut rounds, mut has_failed) = (0, false);
    while rounds < ROUNDS {
        let paths = (0..RACES).map(|_| random_path()).collect::<Result<Vec<_>, _>>()?;
        let judged = judge(operator, &paths).await;
        remove(operator, paths).await;
        match judged {
            Ok(Way::None) => return Ok(Way::None),
            Ok(_) => rounds += 1,
            Err(error) if has_failed => return Err(error),
            // A server that refuses a value before it has read all of it breaks the connection of later calls.
            Err(_) => has_failed = true,
        }
    }
    Ok(Way::Condition)
}

async fn remove(operator: &Operator, paths: Vec<String>) {
    let mut removals = JoinSet::new();
    for path in paths {
        let operator = operator.clone();
        // A value that stays is never read.
        removals.spawn(async move { drop(operator.delete(&path).await) });
    }
    while removals.join_next().await.is_some() {}
}

/// One round: a race for each of the paths, all at the same time.
async fn judge(operator: &Operator, paths: &[String]) -> Result<Way, BoxError> {
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        for (race, path) in paths.iter().enumerate() {
            let (operator, path) = (operator.clone(), path.clone());
            writers.spawn(async move { (race, write_if_free(&operator, &path, VALUE).await) });
        }
    }
    let (mut winners, mut failed) = (vec![0; paths.len()], None);
    while let Some(ended) = writers.join_next().await {
        match ended? {
            (race, Ok(PutNew::Created)) => winners.iter_mut().skip(race).take(1).for_each(|won| *won += 1),
            (_, Ok(_)) => {}
            (_, Err(error)) => failed = Some(error),
        }
    }
    if winners.iter().any(|won| *won > 1) {
        return Ok(Way::None);
    }
    match (failed, paths.first()) {
        // A server that does not know the condition may refuse it, and takes a write without it.
        (Some(error), Some(path)) if !error.is_temporary() => {
            operator.write(path, VALUE).await.map_err(|_| error)?;
            Ok(Way::None)
        }
        (Some(error), _) => Err(error.into()),
        (None, _) if winners.contains(&0) => Err("no writer created a value".into()),
        (None, _) => Ok(Way::Condition),
    }
}

/// Creates the file in two steps, because opendal's only exclusive write shows the file before it is whole.
async fn link(operator: &Operator, path: &str, value: Bytes) -> Result<PutNew, BoxError> {
    // No key has such a path, because the path of each key ends with `~`.
    let draft = format!("{path}{:016x}", random()?);
    operator.write(&draft, value).await?;
    let root = PathBuf::from(operator.info().root());
    let (from, to) = (root.join(&draft), root.join(path));
    let linked = spawn_blocking(move || fs::hard_link(from, to)).await;
    let _ = operator.delete(&draft).await;
    match linked? {
        Ok(()) => Ok(PutNew::Created),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(PutNew::Exists),
        Err(error) => Err(error.into()),
    }
}

async fn try_link(operator: &Operator) -> Result<Way, BoxError> {
    let path = random_path()?;
    let first = link(operator, &path, VALUE).await;
    let second = link(operator, &path, VALUE).await;
    let _ = operator.delete(&path).await;
    match (first, second) {
        (Ok(PutNew::Created), Ok(PutNew::Exists)) => Ok(Way::Link),
        (Err(error), _) | (_, Err(error)) if !has_no_links(&error) => Err(error),
        _ => Ok(Way::None),
    }
}

/// Whether the file system has no hard links, or a layer of the operator keeps the files elsewhere.
fn has_no_links(error: &BoxError) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound)
    )
}

fn random_path() -> Result<String, BoxError> {
    Ok(format!("p/race-{:016x}~", random()?))
}

fn random() -> Result<u64, BoxError> {
    getrandom::u64().map_err(|_| "there are no random bytes".into())
}

/// With these numbers, `s3s-fs` 0.14 was found out each time in a thousand. In one round, it was missed once in a hundred.
const ROUNDS: usize = 3;
const RACES: usize = 3;
const WRITERS: usize = 8;

/// Much larger than any value of the log: a server takes longer between the check and the write.
static ZEROES: [u8; 16 << 10] = [0; 16 << 10];
const VALUE: Bytes = Bytes::from_static(&ZEROES);

#[cfg(test)]
mod tests {
    use opendal::services::Memory;

    use super::*;

    #[tokio::test]
    async fn a_service_that_heeds_the_condition_creates_a_value_for_one_writer() {
        let operator = Operator::new(Memory::default()).unwrap();
        let way = Way::find(&operator).await.unwrap();
        assert_eq!(way, Way::Condition);
        for put in [PutNew::Created, PutNew::Exists] {
            assert_eq!(way.write(&operator, "p/1~", VALUE).await.unwrap(), put);
        }
        assert_eq!(operator.list("p/").await.unwrap().len(), 1, "nothing of the races is left");
    }
}
