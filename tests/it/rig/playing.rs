//! How a script is played: conditions, ranges, and a body that follows the script.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header, request};
use http_body::{Body, Frame, SizeHint};

use super::{
    inner::Refused,
    script::{Break, End, How, Script, Step},
};

impl Script {
    pub(super) async fn perform(mut self, request: request::Parts) -> Result<Response<ScriptBody>, Refused> {
        if let Some(at) = self.instead.iter().position(|(name, _)| request.headers.contains_key(name)) {
            return Box::pin(self.instead.swap_remove(at).1.perform(request)).await;
        }
        if let Some(gate) = &self.gate {
            gate.opened().await;
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match self.end {
            End::Answer => {}
            End::Error => return Err(Refused),
            End::Panic => panic!("the inner service panics, as scripted"),
        }
        let mut response = Response::new(ScriptBody::empty());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        if let Some(status) = self.refused_by_condition(&request) {
            *response.status_mut() = status;
            response.headers_mut().remove(header::CONTENT_LENGTH);
            return Ok(response);
        }
        if request.method == Method::HEAD {
            return Ok(response);
        }
        match self.asked(&request) {
            Asked::Whole => *response.body_mut() = ScriptBody::new(&self, 0..self.length()),
            Asked::Part(asked) => self.give_part(asked, &mut response),
            Asked::Nothing => {
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                let said = format!("bytes */{}", self.length());
                response.headers_mut().insert(header::CONTENT_RANGE, said.parse().unwrap());
                response.headers_mut().insert(header::CONTENT_LENGTH, 0.into());
            }
        }
        Ok(response)
    }

    /// RFC 9110 §13.2.2
    fn refused_by_condition(&self, request: &request::Parts) -> Option<StatusCode> {
        if !self.honours_conditions {
            return None;
        }
        let meets = |condition, validator| {
            let condition = request.headers.get(condition);
            condition.is_some() && condition == self.headers.get(validator)
        };
        if request.headers.contains_key(header::IF_MATCH) && !meets(header::IF_MATCH, header::ETAG) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
        let date = |name| httpdate::parse_http_date(request.headers.get(name)?.to_str().ok()?).ok();
        let modified = self.headers.get(header::LAST_MODIFIED);
        let modified = modified.map(|date| httpdate::parse_http_date(date.to_str().unwrap()).unwrap());
        if date(header::IF_UNMODIFIED_SINCE)
            .is_some_and(|since| modified.is_some_and(|modified| modified > since))
        {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
        let unmodified = meets(header::IF_NONE_MATCH, header::ETAG)
            || !request.headers.contains_key(header::IF_NONE_MATCH)
                && meets(header::IF_MODIFIED_SINCE, header::LAST_MODIFIED);
        unmodified.then_some(StatusCode::NOT_MODIFIED)
    }

    /// RFC 9110 §14.2: a range that is not understood is ignored.
    fn asked(&self, request: &request::Parts) -> Asked {
        let range = request.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        let Some(range) = range.filter(|_| self.parts.are_given) else { return Asked::Whole };
        if !self.parts.ignore_if_range && !self.is_if_range_true(request) {
            return Asked::Whole;
        }
        let length = self.length();
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return Asked::Whole;
        };
        let numbers = [first, last].map(|number| number.parse::<u64>().ok());
        let asked = match (first, last, numbers) {
            ("", _, [None, Some(suffix)]) => length.saturating_sub(suffix)..length,
            (_, "", [Some(first), None]) => first..length,
            (_, _, [Some(first), Some(last)]) if first <= last => first..last.saturating_add(1).min(length),
            _ => return Asked::Whole,
        };
        if asked.is_empty() { Asked::Nothing } else { Asked::Part(asked) }
    }

    /// RFC 9110 §13.1.5: an entity tag by strong comparison, a date exactly.
    fn is_if_range_true(&self, request: &request::Parts) -> bool {
        let Some(condition) = request.headers.get(header::IF_RANGE) else { return true };
        let own = if condition.as_bytes().starts_with(b"\"") {
            self.headers.get(header::ETAG)
        } else {
            self.headers.get(header::LAST_MODIFIED)
        };
        own == Some(condition)
    }

    fn give_part(&self, asked: Range<u64>, response: &mut Response<ScriptBody>) {
        let Range { start, mut end } = self.parts.given.clone().unwrap_or(asked);
        if let Some(most) = self.parts.most {
            end = end.min(start + most);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let headers = response.headers_mut();
        let total = if self.parts.without_total { "*".to_owned() } else { self.length().to_string() };
        let further = self.parts.misplaced.min(self.length() - end);
        let said = format!("bytes {}-{}/{total}", start + further, end + further - 1);
        let said = self.parts.said.clone().unwrap_or(said);
        headers.insert(header::CONTENT_RANGE, said.parse().unwrap());
        headers.insert(header::CONTENT_LENGTH, (end - start).into());
        for (name, value) in &self.parts.fields {
            match value {
                Some(value) => drop(headers.insert(name, value.clone())),
                None => drop(headers.remove(name)),
            }
        }
        let body = response.body_mut();
        *body = ScriptBody::new(self, start..end);
        if let Some(coding) = self.parts.coding {
            body.steps.iter_mut().for_each(|step| step.code(coding));
        }
    }
}

enum Asked {
    Whole,
    Part(Range<u64>),
    /// The range contains no byte of the representation.
    Nothing,
}

/// A body that follows its script.
pub(crate) struct ScriptBody {
    steps: VecDeque<Step>,
    /// The position of the next byte in the representation.
    position: u64,
    breaks: Vec<Break>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    handed_over: Arc<AtomicU64>,
}

impl ScriptBody {
    /// The body of a part, or of the whole.
    fn new(script: &Script, part: Range<u64>) -> Self {
        let length = script.length();
        let is_in = |place: u64| part.start <= place && (place < part.end || part.end == length);
        let (mut steps, mut position) = (VecDeque::new(), 0);
        for step in &script.steps {
            let end = position + step.length();
            match step {
                Step::Data(data) => {
                    let within = |place: u64| usize::try_from(place.clamp(position, end) - position).unwrap();
                    let (from, to) = (within(part.start), within(part.end));
                    // The script wants an empty frame here.
                    if from < to || data.is_empty() && is_in(position) {
                        steps.push_back(Step::Data(data.slice(from..to)));
                    }
                }
                other if is_in(position) => steps.push_back(other.clone()),
                _ => {}
            }
            position = end;
        }
        let breaks = script.breaks.iter().filter(|place| is_in(place.at)).cloned().collect();
        Self { steps, position: part.start, breaks, ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            steps: VecDeque::new(),
            position: 0,
            breaks: Vec::new(),
            waiting: None,
            handed_over: Arc::default(),
        }
    }

    pub(super) fn counted(mut self, handed_over: Arc<AtomicU64>) -> Self {
        self.handed_over = handed_over;
        self
    }

    /// Whether the body breaks before the next byte, and how.
    fn breaks_here(&mut self, is_end: bool) -> Option<How> {
        let position = self.position;
        let is_here = |place: &Break| place.at == position || is_end && place.at > position;
        self.breaks.iter().find(|place| is_here(place) && place.take()).map(|place| place.how)
    }

    /// The data up to the next place at which the body may break. The rest of it goes back into the queue.
    fn next_data(&mut self, mut data: Bytes) -> Bytes {
        let places = self.breaks.iter().map(|place| place.at);
        let next = places.filter(|at| *at > self.position).min().unwrap_or(u64::MAX);
        let until = usize::try_from(next - self.position).unwrap_or(usize::MAX);
        if until < data.len() {
            self.steps.push_front(Step::Data(data.split_off(until)));
        }
        self.position += data.len() as u64;
        self.handed_over.fetch_add(data.len() as u64, Ordering::Relaxed);
        data
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let failed = || Some(Err(std::io::Error::other("the inner body fails, as scripted")));
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            let step = self.steps.pop_front();
            if matches!(step, None | Some(Step::Data(_))) {
                match self.breaks_here(step.is_none()) {
                    None => {}
                    Some(How::Dies) => return Poll::Ready(failed()),
                    Some(How::Ends) => {
                        self.steps.clear();
                        self.breaks.clear();
                        return Poll::Ready(None);
                    }
                    Some(How::Stalls) => {
                        self.waiting = Some(Box::pin(pending()));
                        continue;
                    }
                }
            }
            return Poll::Ready(match step {
                None => None,
                Some(Step::Data(data)) => Some(Ok(Frame::data(self.next_data(data)))),
                Some(Step::Fail) => failed(),
                Some(Step::Panic) => panic!("the inner body panics, as scripted"),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Wait(gate)) => {
                    self.waiting = Some(Box::pin(async move { gate.opened().await }));
                    continue;
                }
                Some(Step::Pause(pause)) => {
                    self.waiting = Some(Box::pin(tokio::time::sleep(pause)));
                    continue;
                }
            });
        }
    }

    /// The length is unknown, as for a body from a network.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
