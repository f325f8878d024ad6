//! Servers that speak the protocol of S3 and differ in one thing: whether a value that one writer creates is created by
//! no other. The answers are made in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator, services};
use tokio::task::yield_now;
use tower_video_cache::{OpendalStore, PutNew, Store, conformance};

use crate::trials::tests;

tests! {
    &[] => on_one_thread:
        a_server_that_creates_a_value_for_one_writer_keeps_the_contract_and_offers_new_values,
        a_server_that_creates_a_value_for_several_writers_offers_no_new_values,
        a_server_that_fails_says_nothing_of_new_values;
}

/// What a server makes of `If-None-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    Heeded,
    /// As `s3s-fs` does, and opendal's own `fs`.
    CheckedBeforeTheWrite,
    Ignored,
    /// The server answers `501 Not Implemented`.
    Refused,
    /// The server is too busy for any request.
    Failing,
}

#[derive(Clone)]
struct Bucket {
    values: Arc<Mutex<HashMap<String, Bytes>>>,
    condition: Arc<Mutex<Condition>>,
}

impl Bucket {
    fn new(condition: Condition) -> Self {
        Self { values: Arc::default(), condition: Arc::new(Mutex::new(condition)) }
    }

    fn turns(&self, condition: Condition) {
        *self.condition.lock().unwrap() = condition;
    }

    fn store(&self) -> OpendalStore {
        let service = services::S3::default()
            .bucket("films")
            .endpoint("http://127.0.0.1:1")
            .region("us-east-1")
            .access_key_id("projectionist")
            .secret_access_key("not-much-of-a-secret")
            .disable_config_load()
            .disable_ec2_metadata();
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(self.clone()));
        OpendalStore::new(Operator::new(service).unwrap().with_context(context))
    }

    fn has(&self, path: &str) -> bool {
        self.values.lock().unwrap().contains_key(path)
    }

    async fn answer(&self, request: &Request<Buffer>) -> (StatusCode, Bytes) {
        let path = request.uri().path().to_owned();
        let condition = *self.condition.lock().unwrap();
        if condition == Condition::Failing {
            return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
        }
        match *request.method() {
            Method::GET => match self.values.lock().unwrap().get(&path) {
                Some(value) => (StatusCode::OK, value.clone()),
                None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
            },
            Method::PUT => {
                let is_new = request.headers().get("if-none-match").is_some_and(|tags| tags == "*");
                if is_new && condition == Condition::Refused {
                    return error(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
                }
                if is_new && condition != Condition::Ignored && self.has(&path) {
                    return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
                }
                if condition == Condition::CheckedBeforeTheWrite {
                    yield_now().await;
                }
                self.values.lock().unwrap().insert(path, request.body().to_bytes());
                (StatusCode::OK, Bytes::new())
            }
            Method::DELETE => {
                self.values.lock().unwrap().remove(&path);
                (StatusCode::NO_CONTENT, Bytes::new())
            }
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

impl HttpTransport for Bucket {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (status, bytes) = self.answer(&request).await;
        let length = u64::try_from(bytes.len()).unwrap();
        let body = HttpBody::new(futures_util::stream::iter([Ok(Buffer::from(bytes))]), Some(length));
        Ok(Response::builder().status(status).header("content-length", length).body(body).unwrap())
    }
}

fn error(status: StatusCode, code: &str) -> (StatusCode, Bytes) {
    (status, format!("<Error><Code>{code}</Code><Message>-</Message></Error>").into())
}

async fn put_new(store: &OpendalStore, value: &'static str) -> Option<PutNew> {
    store.put_new("p/1", Bytes::from_static(value.as_bytes())).await.ok()
}

async fn a_server_that_creates_a_value_for_one_writer_keeps_the_contract_and_offers_new_values() {
    let bucket = Bucket::new(Condition::Heeded);
    conformance::check(&bucket.store()).await;
    assert_eq!(put_new(&bucket.store(), "one").await, Some(PutNew::Created));
    assert_eq!(put_new(&bucket.store(), "other").await, Some(PutNew::Exists));
    assert_eq!(bucket.store().get("p/1").await.unwrap().unwrap(), "one");
    let left = bucket.values.lock().unwrap();
    assert!(!left.keys().any(|path| path.contains("race-")), "the first call leaves nothing behind");
}

async fn a_server_that_creates_a_value_for_several_writers_offers_no_new_values() {
    for condition in [Condition::CheckedBeforeTheWrite, Condition::Ignored, Condition::Refused] {
        let bucket = Bucket::new(condition);
        conformance::check(&bucket.store()).await;
        let store = bucket.store();
        for _ in 0..3 {
            assert_eq!(put_new(&store, "one").await, Some(PutNew::NotOffered), "{condition:?}");
        }
        assert_eq!(store.get("p/1").await.unwrap(), None, "{condition:?}");
    }
}

async fn a_server_that_fails_says_nothing_of_new_values() {
    let bucket = Bucket::new(Condition::Failing);
    let store = bucket.store();
    assert_eq!(put_new(&store, "one").await, None);
    bucket.turns(Condition::Heeded);
    assert_eq!(put_new(&store, "one").await, Some(PutNew::Created));
    bucket.turns(Condition::Failing);
    assert_eq!(put_new(&store, "one").await, None);
    bucket.turns(Condition::Heeded);
    assert_eq!(put_new(&store, "one").await, Some(PutNew::Exists));
}
