//! Stores over real servers and disks, which each test starts for itself and ends. There is a file for each store,
//! and one for the ways in which servers fail.
//!
//! A test whose server is not installed is left out, and the end of the run says so. If `CI` is set, the test fails
//! instead.

mod counting;
mod disk;
mod film;
mod foyer;
mod kv;
mod matrix;
mod memcached;
mod nodes;
mod origin;
mod proxy;
mod redis;
mod relay;
mod s3;
mod s3_likes;

use crate::{servers, trials::Test};

pub(crate) fn tests() -> Vec<Test> {
    let tests = [
        disk::tests(),
        foyer::tests(),
        kv::tests(),
        matrix::tests(),
        memcached::tests(),
        nodes::tests(),
        redis::tests(),
        s3::tests(),
        s3_likes::tests(),
        servers::redis::tests(),
    ];
    tests.into_iter().flatten().collect()
}
