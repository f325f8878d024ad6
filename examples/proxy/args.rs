//! The command line: what is given there, and what it makes.

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use http::{
    uri::{Authority, Scheme},
    HeaderName, StatusCode, Uri,
};
use humantime::parse_duration;
use tower_video_cache::{CacheName, ChunkSize, Fill, MokaStore, Policy, VideoCacheLayer};

use super::{fields::cache_key, origin::Origin, server::Limits};

/// A caching reverse proxy for video.
#[derive(Debug, Parser)]
#[command(name = "proxy")]
pub(crate) struct Args {
    /// Where viewers connect; port 0 is chosen by the system.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// What is cached: `http://HOST[:PORT]`.
    #[arg(long, value_parser = origin)]
    origin: Authority,
    /// Memory for stored responses; one larger than half of it passes through.
    #[arg(long, default_value = "512MiB")]
    memory: ByteSize,
    /// The pieces that responses are stored in.
    #[arg(long, default_value = "1MiB", value_parser = chunk_size)]
    chunk_size: ChunkSize,
    /// The largest response that is stored.
    #[arg(long, default_value = "8GiB")]
    max_size: ByteSize,
    /// The media types that are stored [default: video, audio, HLS, DASH, subtitles].
    #[arg(long, value_delimiter = ',', value_parser = media)]
    media: Option<Vec<String>>,
    /// A plain shared cache, as RFC 9111 allows one: all media types and statuses, cookies too, heuristics (10 %)
    /// instead of a default freshness, and CDN-Cache-Control. Other options come on top of it.
    #[arg(long)]
    rfc9111: bool,
    /// The status codes that are stored, or `any` [default: 200].
    #[arg(long, value_delimiter = ',', value_parser = status)]
    statuses: Option<Vec<StatusArg>>,
    /// Stores responses with Set-Cookie, cookie and all.
    #[arg(long)]
    set_cookie: Option<bool>,
    /// How long a response is fresh that does not say [default: 5m].
    #[arg(long, value_parser = parse_duration)]
    default_ttl: Option<Duration>,
    /// How much of the time since its last modification a response is fresh that does not say, in percent [default: 0].
    #[arg(long)]
    heuristic_percent: Option<u32>,
    /// The longest freshness by --heuristic-percent.
    #[arg(long, default_value = "24h", value_parser = parse_duration)]
    heuristic_limit: Duration,
    /// How long a stale response is served while it is validated, if it does not say.
    #[arg(long, value_parser = parse_duration)]
    stale_while_revalidate: Option<Duration>,
    /// How long a stale response stands in for errors of the origin, if it does not say.
    #[arg(long, value_parser = parse_duration)]
    stale_if_error: Option<Duration>,
    /// Fields heeded instead of Cache-Control, in this order, such as CDN-Cache-Control [default: none].
    #[arg(long, value_delimiter = ',')]
    targeted: Option<Vec<HeaderName>>,
    /// Whether Cache-Control and Pragma of viewers' requests are heeded [default: true].
    #[arg(long)]
    heed_requests: Option<bool>,
    /// How many ranges of one request are answered as parts; a request for more gets the whole [default: 16].
    #[arg(long)]
    max_ranges: Option<usize>,
    /// What the cache calls itself in Cache-Status.
    #[arg(long, default_value_t, value_parser = CacheName::new)]
    name: CacheName,
    /// Shows the cache key of each request in Cache-Status.
    #[arg(long)]
    show_key: bool,
    /// How long it is remembered that a response may not be stored.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    refusal_ttl: Duration,
    /// When the first byte of a response that is being stored leaves.
    #[arg(long, value_enum, default_value_t = FillArg::Whole)]
    fill: FillArg,
    /// How long a connection to the origin may take.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    connect_timeout: Duration,
    /// How long the origin may take to begin its answer, once it has the whole request.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    response_timeout: Duration,
    /// How long the origin's body, or a viewer's, may bring nothing.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    body_timeout: Duration,
    /// How long a viewer may take to send a request's header, or be idle before it.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    header_timeout: Duration,
    /// How long running requests may take to end after SIGINT or SIGTERM.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    grace: Duration,
}

impl Args {
    pub(crate) fn layer(&self) -> VideoCacheLayer {
        VideoCacheLayer::new(MokaStore::new(self.memory.as_u64()))
            .policy(self.policy())
            .key(cache_key)
            .chunk_size(self.chunk_size)
            .refusal_ttl(self.refusal_ttl)
            .name(self.name.clone())
            .show_key(self.show_key)
            .fill(match self.fill {
                FillArg::Whole => Fill::Whole,
            })
    }

    fn policy(&self) -> Policy {
        let mut policy = Policy::default().max_size(self.max_size.as_u64());
        if self.rfc9111 {
            policy = policy
                .media(["*/*"])
                .any_status()
                .set_cookie(true)
                .default_ttl(Duration::ZERO)
                .targeted([HeaderName::from_static("cdn-cache-control")]);
        }
        if let Some(media) = &self.media {
            policy = policy.media(media);
        }
        if let Some(statuses) = &self.statuses {
            policy = match statuses.iter().copied().collect::<Option<Vec<_>>>() {
                Some(named) => policy.statuses(named),
                None => policy.any_status(),
            };
        }
        if let Some(store) = self.set_cookie {
            policy = policy.set_cookie(store);
        }
        if let Some(ttl) = self.default_ttl {
            policy = policy.default_ttl(ttl);
        }
        if let Some(percent) = self.heuristic_percent.or(self.rfc9111.then_some(10)) {
            policy = policy.heuristics(percent, self.heuristic_limit);
        }
        if let Some(window) = self.stale_while_revalidate {
            policy = policy.stale_while_revalidate(window);
        }
        if let Some(window) = self.stale_if_error {
            policy = policy.stale_if_error(window);
        }
        if let Some(targeted) = &self.targeted {
            policy = policy.targeted(targeted.iter().cloned());
        }
        if let Some(most) = self.max_ranges {
            policy = policy.max_ranges(most);
        }
        if let Some(heed) = self.heed_requests {
            policy = policy.heed_requests(heed);
        }
        policy
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::new(self.origin.clone(), self.connect_timeout, self.response_timeout, self.body_timeout)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { header: self.header_timeout, grace: self.grace }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FillArg {
    /// Once all of it is stored.
    Whole,
}

fn origin(text: &str) -> Result<Authority, String> {
    let parts = text.parse::<Uri>().map_err(|error| error.to_string())?.into_parts();
    match (parts.scheme, parts.authority, parts.path_and_query) {
        (Some(scheme), Some(authority), path)
            if scheme == Scheme::HTTP
                && !authority.as_str().contains('@')
                && path.as_ref().is_none_or(|path| path == "/") =>
        {
            Ok(authority)
        }
        _ => Err("expected http://HOST[:PORT], without a path".to_owned()),
    }
}

fn chunk_size(text: &str) -> Result<ChunkSize, String> {
    let bytes = text.parse::<ByteSize>()?.as_u64();
    // What no u32 holds is too large as well.
    ChunkSize::new(u32::try_from(bytes).unwrap_or(u32::MAX)).map_err(|error| error.to_string())
}

/// A status code; none for `any`.
type StatusArg = Option<StatusCode>;

fn status(text: &str) -> Result<StatusArg, String> {
    if text == "any" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "expected a status code, or any".to_owned())
}

fn media(text: &str) -> Result<String, String> {
    match text.trim().split_once('/') {
        Some((kind, subtype)) if !kind.is_empty() && !subtype.is_empty() => Ok(text.trim().to_owned()),
        _ => Err("expected type/subtype, type/* or */*".to_owned()),
    }
}
