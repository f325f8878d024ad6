//! [`DirectoryLock`]: one store per directory, over all processes.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

/// Holds the directory until it is dropped. It ends with the process in any case.
#[derive(Debug)]
pub(super) struct DirectoryLock(File);

#[expect(clippy::incompatible_msrv, reason = "with this feature, foyer needs a newer Rust")]
impl DirectoryLock {
    pub(super) fn take(directory: &Path) -> io::Result<Self> {
        let path = directory.join("tower-video-cache.lock");
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(io::Error::other("directory is in use by a store")),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The file as a child process gets it.
    #[cfg(test)]
    pub(super) fn duplicate(&self) -> File {
        self.0.try_clone().unwrap()
    }
}

impl Drop for DirectoryLock {
    /// To close the file is not enough: a child process has it, too, until it runs its own program.
    #[expect(clippy::incompatible_msrv, reason = "with this feature, foyer needs a newer Rust")]
    fn drop(&mut self) {
        // The lock of a file that cannot be unlocked ends when the last process closes it.
        let _ = self.0.unlock();
    }
}
