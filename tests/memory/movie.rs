//! Videos of noise, an inner service that serves them, and clients that know each byte.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use tower_video_cache::BoxError;

/// A video. Each of its frames is another slice of the same noise, so bytes that come from the wrong place show.
#[derive(Clone, Copy)]
pub(crate) struct Movie {
    pub(crate) number: u64,
    pub(crate) length: u64,
}

impl Movie {
    /// Drains a body and checks that each byte is the video's.
    ///
    /// # Errors
    ///
    /// The number of bytes that came before the body broke.
    pub(crate) async fn watch(self, body: impl Body<Data = Bytes>) -> Result<(), u64> {
        let mut body = std::pin::pin!(body);
        let mut position = 0;
        while let Some(frame) = body.frame().await {
            let mut data = frame.map_err(|_| position)?.into_data().ok().unwrap();
            while !data.is_empty() {
                let pictures = self.pictures_at(position);
                let compared = pictures.len().min(data.len());
                assert!(!pictures.is_empty(), "bytes past the end, {position}");
                assert!(data.split_to(compared) == pictures[..compared], "wrong bytes at {position}");
                position += u64::try_from(compared).unwrap();
            }
        }
        assert_eq!(position, self.length);
        Ok(())
    }

    /// The video from `position` to the end of its frame; empty at the end of the video.
    fn pictures_at(self, position: u64) -> Bytes {
        let start = (104_729 * self.number + STEP * (position / FRAME)) % FRAME;
        let length = (FRAME - position % FRAME).min(self.length.saturating_sub(position));
        let from = usize::try_from(start + position % FRAME).unwrap();
        PICTURES.slice(from..from + usize::try_from(length).unwrap())
    }
}

/// The fields that an inner service sends with a video, and whether it gives parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its length, and no validator.
    Declared,
    Unsaid,
    /// Its length and a strong validator, and the requested range.
    InParts,
}

impl Answer {
    pub(crate) fn to(
        self,
        request: &Request<Empty<Bytes>>,
        movie: Movie,
        gate: Option<Arc<Gate>>,
    ) -> Response<Film> {
        let mut film = Film { movie, position: 0, end: movie.length, gate, gave_way: false };
        let mut response = Response::builder().header(header::CONTENT_TYPE, "video/mp4");
        if self == Self::InParts {
            let field = |name| request.headers().get(name).map(|value| value.to_str().unwrap());
            let is_of_this = field(header::IF_RANGE).is_none_or(|validator| validator == ETAG);
            let range = field(header::RANGE).filter(|_| is_of_this);
            if let Some((first, last)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
            {
                film.position = first.parse().unwrap();
                film.end = last.parse().map_or(film.end, |last: u64| film.end.min(last + 1));
                let range = format!("bytes {}-{}/{}", film.position, film.end - 1, movie.length);
                response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
            }
            response = response.header(header::ETAG, ETAG);
        }
        if self != Self::Unsaid {
            response = response.header(header::CONTENT_LENGTH, film.end - film.position);
        }
        response.body(film).unwrap()
    }
}

/// An inner body that makes its bytes when it is polled.
pub(crate) struct Film {
    movie: Movie,
    position: u64,
    end: u64,
    gate: Option<Arc<Gate>>,
    gave_way: bool,
}

impl Body for Film {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(gate) = self.gate.clone() {
            // The bodies take turns, one frame each.
            self.gave_way = !self.gave_way;
            if self.gave_way || !gate.lets_by(self.movie, self.position) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let mut pictures = self.movie.pictures_at(self.position);
        pictures.truncate(usize::try_from(self.end - self.position)?);
        self.position += u64::try_from(pictures.len())?;
        Poll::Ready((!pictures.is_empty()).then(|| Ok(Frame::data(pictures))))
    }
}

/// A gate that lets no body send its second half before all bodies have sent their first.
pub(crate) struct Gate {
    /// The videos whose first half has not come yet.
    missing: Mutex<Vec<u64>>,
}

impl Gate {
    pub(crate) fn for_movies(movies: u64) -> Arc<Self> {
        Arc::new(Self { missing: Mutex::new((0..movies).collect()) })
    }

    /// The gate is before the frame after the half. That frame is within a chunk, so the fill holds a part of a chunk
    /// meanwhile.
    fn lets_by(&self, movie: Movie, position: u64) -> bool {
        if position <= movie.length / 2 + FRAME {
            return true;
        }
        let mut missing = self.missing.lock().unwrap();
        missing.retain(|number| *number != movie.number);
        missing.is_empty()
    }
}

pub(crate) const FRAME: u64 = 64 << 10;
/// The distance in the noise from the start of one frame to the start of the next.
pub(crate) const STEP: u64 = 7919;
const ETAG: &str = "\"v1\"";

/// Two frames' worth of noise.
pub(crate) static PICTURES: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = 1_u32;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise.to_le_bytes()[0]
    };
    (0..2 * FRAME).map(|_| next()).collect()
});
