//! Cloudflare KV, as far as its documented API goes: opendal's client, and answers made in this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator, services};
use tower_video_cache::{ChunkSize, OpendalStore, PutNew, Store, VideoCacheLayer, conformance};

use crate::{stores::film::Film, trials::tests};

tests! {
    &[] => on_one_thread:
        a_namespace_keeps_the_contract,
        no_value_is_larger_than_the_namespace_takes,
        an_answer_that_breaks_off_is_an_error,
        a_response_of_one_node_is_a_hit_once_it_is_seen_and_costs_calls_until_then,
        an_old_record_leads_to_its_own_old_chunks_or_to_none;
}

/// A namespace whose readers may see an earlier state.
#[derive(Clone, Default)]
struct Namespace(Arc<Mutex<Values>>);

#[derive(Default)]
struct Values {
    now: HashMap<String, Bytes>,
    seen: Option<HashMap<String, Bytes>>,
}

impl Namespace {
    fn store(&self) -> OpendalStore {
        let service = services::CloudflareKv::default()
            .account_id("account")
            .namespace_id("namespace")
            .api_token("token")
            .root("films")
            .default_ttl(std::time::Duration::from_secs(86_400));
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(self.clone()));
        OpendalStore::new(Operator::new(service).unwrap().with_context(context))
    }

    fn node(&self) -> VideoCacheLayer {
        VideoCacheLayer::new(self.store()).chunk_size(ChunkSize::new(64 << 10).unwrap())
    }

    /// From now on, readers see the present state, whatever is written.
    fn stand_still(&self) {
        let mut values = self.0.lock().unwrap();
        values.seen = Some(values.now.clone());
    }

    fn catch_up(&self) {
        self.0.lock().unwrap().seen = None;
    }

    /// Removes the chunks, as when they expire.
    fn expire_chunks(&self) {
        self.0.lock().unwrap().now.retain(|key, _| !key.contains("/c/"));
    }

    fn answer(&self, request: &Request<Buffer>) -> (StatusCode, Bytes) {
        assert_eq!(request.headers()["authorization"], "Bearer token");
        let path = request.uri().path();
        let root = "/client/v4/accounts/account/storage/kv/namespaces/namespace/";
        let call = path.strip_prefix(root).unwrap();
        let mut values = self.0.lock().unwrap();
        match (request.method(), call.strip_prefix("values/")) {
            (&Method::GET, Some(key)) => match values.seen.as_ref().unwrap_or(&values.now).get(key) {
                Some(value) => (StatusCode::OK, value.clone()),
                None => (StatusCode::NOT_FOUND, r#"{"success":false,"errors":[{"code":10009}]}"#.into()),
            },
            (&Method::PUT, Some(key)) => {
                assert!(key.len() <= 512);
                let value = part(request, "value");
                if value.len() > 25 << 20 {
                    return (StatusCode::PAYLOAD_TOO_LARGE, r#"{"success":false,"errors":[]}"#.into());
                }
                assert_eq!(part(request, "expiration_ttl"), "86400");
                values.now.insert(key.to_owned(), value);
                (StatusCode::OK, r#"{"success":true,"errors":[]}"#.into())
            }
            (&Method::POST, None) if call == "bulk/delete" => {
                let keys: Vec<String> = serde_json::from_slice(&request.body().to_bytes()).unwrap();
                for key in &keys {
                    values.now.remove(key);
                }
                let result =
                    serde_json::json!({ "successful_key_count": keys.len(), "unsuccessful_keys": [] });
                let answer = serde_json::json!({ "success": true, "errors": [], "result": result });
                (StatusCode::OK, answer.to_string().into())
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        }
    }
}

impl HttpTransport for Namespace {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (status, bytes) = self.answer(&request);
        let length = u64::try_from(bytes.len()).unwrap();
        // The bytes come in pieces, as from a socket.
        let (head, tail) = (bytes.slice(..bytes.len() / 3), bytes.slice(bytes.len() / 3..));
        let pieces = stream::iter([head, tail].map(|piece| Ok(Buffer::from(piece))));
        let pieces = futures_util::StreamExt::filter(pieces, |piece: &opendal::Result<Buffer>| {
            std::future::ready(piece.as_ref().is_ok_and(|piece| !piece.is_empty()))
        });
        Ok(Response::builder().status(status).body(HttpBody::new(pieces, Some(length))).unwrap())
    }
}

/// Breaks every answer off.
struct Failing;

impl HttpTransport for Failing {
    async fn fetch(&self, _: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let body = HttpBody::new(stream::iter([Ok(Buffer::from("a half"))]), Some(1000));
        Ok(Response::new(body))
    }
}

/// The content of a part of a form.
fn part(request: &Request<Buffer>, name: &str) -> Bytes {
    let kind = request.headers()["content-type"].to_str().unwrap();
    let border = format!("\r\n--{}", kind.split_once("boundary=").unwrap().1);
    let body = [b"\r\n", &request.body().to_bytes()[..]].concat();
    let mut rest = &body[..];
    loop {
        let begin = find(rest, border.as_bytes()).unwrap() + border.len();
        rest = &rest[begin..];
        let head = find(rest, b"\r\n\r\n").unwrap() + 4;
        let end = head + find(&rest[head..], border.as_bytes()).unwrap();
        if String::from_utf8_lossy(&rest[..head]).contains(&format!("name=\"{name}\"")) {
            return Bytes::copy_from_slice(&rest[head..end]);
        }
        rest = &rest[end..];
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(next) = text[from..].iter().position(|byte| *byte == word[0]) {
        if text[from + next..].starts_with(word) {
            return Some(from + next);
        }
        from += next + 1;
    }
    None
}

// The store.

async fn a_namespace_keeps_the_contract() {
    conformance::check(&Namespace::default().store()).await;
    let put = Namespace::default().store().put_new("p/1", Bytes::from_static(b"value")).await;
    assert_eq!(put.unwrap(), PutNew::NotOffered);
}

async fn no_value_is_larger_than_the_namespace_takes() {
    let store = Namespace::default().store();
    assert_eq!(Store::max_value_size(&store), Some(25 << 20));
    assert!(store.put("c/1/0", vec![0; (25 << 20) + 1].into()).await.is_err());
    assert_eq!(store.get("c/1/0").await.unwrap(), None);
    let store = store.max_value_size(1 << 20);
    assert_eq!(Store::max_value_size(&store), Some(1 << 20));
    assert!(store.put("c/1/0", vec![0; (1 << 20) + 1].into()).await.is_err());
    store.put("c/1/0", vec![1; 1 << 20].into()).await.unwrap();
    assert_eq!(store.get("c/1/0").await.unwrap().unwrap().len(), 1 << 20);
}

async fn an_answer_that_breaks_off_is_an_error() {
    let wrong =
        services::CloudflareKv::default().account_id("account").namespace_id("another").api_token("token");
    let context = OperationContext::new().with_http_transport(HttpTransporter::new(Failing));
    let store = OpendalStore::new(Operator::new(wrong).unwrap().with_context(context));
    assert!(store.get("m/1").await.is_err());
}

// The whole layer.

async fn a_response_of_one_node_is_a_hit_once_it_is_seen_and_costs_calls_until_then() {
    let namespace = Namespace::default();
    let film = Film::of(300_000);
    namespace.stand_still();
    film.watch(&namespace.node()).await;
    film.watch(&namespace.node()).await;
    // For each client, the video is stored, not seen yet, and asked for again.
    assert_eq!(film.asked().len(), 4);
    namespace.catch_up();
    assert!(film.watch(&namespace.node()).await.contains("; hit"));
}

async fn an_old_record_leads_to_its_own_old_chunks_or_to_none() {
    let namespace = Namespace::default();
    let film = Film::of(300_000);
    film.watch(&namespace.node()).await;
    let asked = film.asked().len();
    // The record is still seen, but some of its chunks are gone.
    namespace.expire_chunks();
    namespace.stand_still();
    film.watch(&namespace.node()).await;
    assert!(film.asked().len() > asked);
    namespace.catch_up();
    film.watch(&namespace.node()).await;
    assert!(film.watch(&namespace.node()).await.contains("; hit"));
}
