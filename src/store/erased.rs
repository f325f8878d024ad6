//! A [`Store`] without its type, so that the layer has no type parameter.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

use super::{Lease, PutNew, Store, Usage};
use crate::error::BoxError;

/// A call of a store. One box for each chunk is nothing beside the chunk.
pub(crate) type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// [`Store`] in a form that `Arc<dyn ErasedStore>` can hold.
pub(crate) trait ErasedStore: Send + Sync {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>>;
    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> StoreFuture<'a, ()>;
    fn remove<'a>(&'a self, key: &'a str) -> StoreFuture<'a, ()>;
    fn max_value_size(&self) -> Option<u64>;
    fn capacity(&self) -> Option<u64>;
    fn usage(&self) -> Option<Usage>;
    fn lag(&self) -> Duration;
    fn can_alter(&self) -> bool;
    fn lease<'a>(&'a self, key: &'a str, holder: &'a str, time: Duration) -> StoreFuture<'a, Lease>;
    fn renew<'a>(&'a self, key: &'a str, holder: &'a str, time: Duration) -> StoreFuture<'a, bool>;
    fn release<'a>(&'a self, key: &'a str, holder: &'a str) -> StoreFuture<'a, ()>;
    fn put_new<'a>(&'a self, key: &'a str, value: Bytes) -> StoreFuture<'a, PutNew>;
    fn is_down(&self) -> bool;
}

impl<S: Store> ErasedStore for S {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(Store::get(self, key))
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes) -> StoreFuture<'a, ()> {
        Box::pin(Store::put(self, key, value))
    }

    fn remove<'a>(&'a self, key: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(Store::remove(self, key))
    }

    fn max_value_size(&self) -> Option<u64> {
        Store::max_value_size(self)
    }

    fn capacity(&self) -> Option<u64> {
        Store::capacity(self)
    }

    fn usage(&self) -> Option<Usage> {
        Store::usage(self)
    }

    fn lag(&self) -> Duration {
        Store::lag(self)
    }

    fn can_alter(&self) -> bool {
        Store::can_alter(self)
    }

    fn lease<'a>(&'a self, key: &'a str, holder: &'a str, time: Duration) -> StoreFuture<'a, Lease> {
        Box::pin(Store::lease(self, key, holder, time))
    }

    fn renew<'a>(&'a self, key: &'a str, holder: &'a str, time: Duration) -> StoreFuture<'a, bool> {
        Box::pin(Store::renew(self, key, holder, time))
    }

    fn release<'a>(&'a self, key: &'a str, holder: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(Store::release(self, key, holder))
    }

    fn put_new<'a>(&'a self, key: &'a str, value: Bytes) -> StoreFuture<'a, PutNew> {
        Box::pin(Store::put_new(self, key, value))
    }

    fn is_down(&self) -> bool {
        Store::is_down(self)
    }
}
