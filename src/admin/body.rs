//! [`AdminBody`]: a page, or a feed that does not end.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::feed::Feed;

/// The body of a response of [`AdminService`](crate::AdminService). It never fails.
///
/// ```
/// use http_body_util::BodyExt;
/// use tower_video_cache::AdminBody;
///
/// async fn text(body: AdminBody) -> bytes::Bytes {
///     let Ok(body) = body.collect().await;
///     body.to_bytes()
/// }
/// ```
pub struct AdminBody(Kind);

enum Kind {
    Full(Bytes),
    Feed(Box<Feed>),
}

impl AdminBody {
    pub(super) fn full(content: Bytes) -> Self {
        Self(Kind::Full(content))
    }

    pub(super) fn feed(feed: Feed) -> Self {
        Self(Kind::Feed(Box::new(feed)))
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Full(content) if content.is_empty() => Poll::Ready(None),
            Kind::Full(content) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(content))))),
            Kind::Feed(feed) => feed.poll_next(cx).map(|line| Some(Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Full(content) if content.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(content) => SizeHint::with_exact(u64::try_from(content.len()).unwrap_or(u64::MAX)),
            Kind::Feed(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for AdminBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Full(_) => "full",
            Kind::Feed(_) => "feed",
        };
        f.debug_tuple("AdminBody").field(&kind).finish()
    }
}
