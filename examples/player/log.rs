//! [`Log`]: the requests of browsers to the caches, and the answers.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

/// The latest requests to all caches.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// Oldest first.
    rows: VecDeque<Row>,
    noted: u64,
}

/// One request, noted while its body is still on its way.
struct Row {
    number: u64,
    sample: &'static str,
    request: Value,
    first_byte: Option<Duration>,
    sent: u64,
}

impl Log {
    /// Notes a request for a sample, and returns its number.
    pub(crate) fn note(&self, sample: &'static str, request: Value) -> u64 {
        let mut pages = self.pages();
        pages.noted += 1;
        let number = pages.noted;
        if pages.rows.len() == KEPT {
            pages.rows.pop_front();
        }
        pages.rows.push_back(Row { number, sample, request, first_byte: None, sent: 0 });
        number
    }

    /// This many bytes have left for a request, at the time `after` it came.
    pub(crate) fn sent(&self, number: u64, bytes: u64, after: Duration) {
        // The latest requests are at the end.
        if let Some(row) = self.pages().rows.iter_mut().rev().find(|row| row.number == number) {
            row.first_byte.get_or_insert(after);
            row.sent += bytes;
        }
    }

    /// The requests for one sample that are kept, oldest first.
    pub(crate) fn of(&self, sample: &str) -> Vec<Value> {
        let row = |row: &Row| {
            let mut request = row.request.clone();
            if let Some(fields) = request.as_object_mut() {
                fields.insert("number".to_owned(), json!(row.number));
                let first_byte = row.first_byte.map(|after| after.as_secs_f64() * 1e3);
                fields.insert("first_byte_ms".to_owned(), json!(first_byte));
                fields.insert("sent".to_owned(), json!(row.sent));
            }
            request
        };
        self.pages().rows.iter().filter(|row| row.sample == sample).map(row).collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of requests that the log keeps. A limit, so that a page left open does not make it grow for ever.
const KEPT: usize = 500;
