//! The command line: its options, and the parts of the proxy that they make.

use std::{
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use bytesize::ByteSize;
use clap::Parser;
use http::{HeaderName, uri::Authority};
use humantime::parse_duration;
use tower_video_cache::{
    Abandon, BoxError, CacheStatus, ChunkSize, Fill, GroupField, Limits as FillLimits, MokaStore, Policy,
    Retry, Statuses, TargetUri, Tiered, Timeouts, VideoCacheLayer,
};

use super::{
    crowd::Bounds,
    gate::Gate,
    host::Allowed,
    origin::Origin,
    server::Limits,
    store::{Opened, StoreArg, shared_store},
    values::{
        FillArg, GroupFieldArg, InvalidateArg, StatusArg, abandon, chunk_size, media, origin, own_address,
        passed_field, status,
    },
};

/// A caching reverse proxy for video.
#[derive(Debug, Parser)]
#[command(name = "proxy")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Args {
    /// The address to listen on for clients. With port 0, the system chooses the port.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// An address of this machine alone to listen on for operators: figures, rankings and events on a page,
    /// `/metrics` for Prometheus, and `PURGE` of a URI. Nobody is asked for credentials there.
    #[arg(long, value_name = "ADDR", value_parser = own_address)]
    pub(crate) admin: Option<SocketAddr>,
    /// The origin whose responses are cached: `http://HOST[:PORT]`.
    #[arg(long, value_parser = origin)]
    origin: Authority,
    /// The hosts that requests may be for, each with its port or for all ports. A request for another host is
    /// answered 421 (Misdirected Request) [default: any].
    #[arg(long, value_delimiter = ',', value_name = "HOST[:PORT]")]
    hosts: Option<Vec<Allowed>>,
    /// A request field that passes although an origin may take it for another target or client, such as
    /// X-Forwarded-Proto or X-Real-IP, or one with a `_` in its name. Its value becomes part of the cache key. All
    /// other fields of that kind are dropped. The server in front of the proxy must set the field itself.
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = passed_field)]
    pass_field: Vec<HeaderName>,
    /// Memory for stored responses, where they are stored in memory. A response larger than half of it passes
    /// through.
    #[arg(long, default_value = "512MiB")]
    memory: ByteSize,
    /// The store for responses, if it is not memory: `redis://HOST:PORT`, `rediss://HOST:PORT?roots=FILE` (the
    /// certificates that it trusts, in PEM, if not the public ones), `redis-cluster://HOST:PORT,…`,
    /// `s3://BUCKET?endpoint=URL&region=NAME&root=PATH` (credentials from the environment), `fs:DIR`,
    /// `foyer:DIR?memory=256MiB&disk=8GiB` or `moka:512MiB`.
    #[arg(long, conflicts_with = "memory")]
    store: Option<StoreArg>,
    /// Memory in front of that store, for responses that are asked for again.
    #[arg(long, value_name = "BYTES")]
    near: Option<ByteSize>,
    /// The size of the chunks in which responses are stored.
    #[arg(long, default_value = "1MiB", value_parser = chunk_size)]
    chunk_size: ChunkSize,
    /// The largest response that is stored.
    #[arg(long, default_value = "8GiB")]
    max_size: ByteSize,
    /// The media types that are stored [default: video, audio, HLS, DASH, subtitles].
    #[arg(long, value_delimiter = ',', value_parser = media)]
    media: Option<Vec<String>>,
    /// A plain shared cache, as RFC 9111 allows one: all media types and statuses, cookies too, heuristics (10 %)
    /// instead of a default freshness, CDN-Cache-Control, as much staleness as a request allows, and redirections
    /// that invalidate. Other options override these.
    #[arg(long)]
    rfc9111: bool,
    /// For live streams: no HLS or DASH playlist is older than half of its own target duration, whatever the origin says
    /// of it, and a 404 of a segment, a playlist or a subtitle file lasts for 1s. Playlists that have ended are as fresh
    /// as they state, else for --default-ttl.
    #[arg(long)]
    streaming: bool,
    /// The status codes that are stored, or `any` [default: 200].
    #[arg(long, value_delimiter = ',', value_parser = status)]
    statuses: Option<Vec<StatusArg>>,
    /// Stores responses with Set-Cookie, including the cookie.
    #[arg(long)]
    set_cookie: Option<bool>,
    /// Whether the ending of a path decides the media type if the type is missing, generic or a known mistake
    /// [default: true].
    #[arg(long)]
    media_by_ending: Option<bool>,
    /// The freshness of a response that does not state its own [default: 5m].
    #[arg(long, value_parser = parse_duration)]
    default_ttl: Option<Duration>,
    /// The freshness of a response that does not state its own, as a percentage of the time since its last
    /// modification [default: 0].
    #[arg(long)]
    heuristic_percent: Option<u32>,
    /// The longest freshness by --heuristic-percent.
    #[arg(long, default_value = "24h", value_parser = parse_duration)]
    heuristic_limit: Duration,
    /// How long a stale response is served while it is validated, if the response does not say.
    #[arg(long, value_parser = parse_duration)]
    stale_while_revalidate: Option<Duration>,
    /// How long a stale response stands in for errors of the origin, if the response does not say.
    #[arg(long, value_parser = parse_duration)]
    stale_if_error: Option<Duration>,
    /// How long a stale response may be used because a client's request allows it, by max-stale or stale-if-error
    /// [default: 0s].
    #[arg(long, value_parser = parse_duration)]
    stale_on_request: Option<Duration>,
    /// How long after its arrival a response without validator answers a reload [default:
    /// 2s, and 0s with --rfc9111].
    #[arg(long, value_parser = parse_duration)]
    reload_grace: Option<Duration>,
    /// Requests with Authorization get stored responses without a question to the origin, even if the response does
    /// not allow that.
    #[arg(long)]
    share_with_authorized: bool,
    /// The answers to POST, PUT and other unsafe methods that remove stored responses [default: success].
    #[arg(long, value_enum)]
    invalidate: Option<InvalidateArg>,
    /// The response fields that name groups, by which an operator purges [default: cache-groups].
    #[arg(long, value_delimiter = ',', value_enum)]
    group_fields: Option<Vec<GroupFieldArg>>,
    /// Whether clients get no such field but Cache-Groups [default: true].
    #[arg(long)]
    hide_group_fields: Option<bool>,
    /// Whether the Cache-Group-Invalidation of an answer to an unsafe method counts [default: true].
    #[arg(long)]
    heed_group_invalidation: Option<bool>,
    /// The store of the log of purges, by which proxies with stores of their own share each purge: `redis://…`,
    /// `rediss://…`, `redis-cluster://…`, `s3://…` or `fs:DIR` [default: the store for responses].
    #[arg(long, value_name = "STORE", value_parser = shared_store)]
    purge_log: Option<StoreArg>,
    /// How old the knowledge of purges by prefix, group, origin or all may be, on a store that proxies share.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    purge_age: Duration,
    /// Fields that the cache obeys instead of Cache-Control, in this order, such as CDN-Cache-Control [default:
    /// none].
    #[arg(long, value_delimiter = ',')]
    targeted: Option<Vec<HeaderName>>,
    /// Whether the cache obeys Cache-Control and Pragma in clients' requests [default: true].
    #[arg(long)]
    heed_requests: Option<bool>,
    /// The most ranges in one request that are answered as parts. A request for more ranges gets the whole [default:
    /// 16].
    #[arg(long)]
    max_ranges: Option<usize>,
    /// The name of the cache in Cache-Status.
    #[arg(long, default_value = "tower-video-cache")]
    name: CacheStatus,
    /// Shows the cache key of each request in Cache-Status.
    #[arg(long)]
    show_key: bool,
    /// How long the cache remembers that a response may not be stored.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    refusal_ttl: Duration,
    /// When the first byte of a response that is being stored leaves.
    #[arg(long, value_enum, default_value_t = FillArg::Auto)]
    fill: FillArg,
    /// The fate of a fill whose last client has gone. `finish` or `stop` applies to every fill. PERCENT% finishes
    /// a fill if at least that much is stored. BYTES (with a unit, such as 8MiB) finishes it if no more than that is
    /// missing.
    #[arg(long, default_value = "8MiB", value_name = "finish|stop|PERCENT%|BYTES", value_parser = abandon)]
    abandon: Abandon,
    /// The most bytes fetched ahead of what a client has read, when responses are fetched in parts.
    #[arg(long, default_value = "8MiB", value_name = "BYTES")]
    read_ahead: ByteSize,
    /// The most chunks that a progressive fill may be ahead of its farthest client, when the memory has no room for
    /// the whole.
    #[arg(long, default_value = "32", value_name = "CHUNKS")]
    fill_ahead: NonZeroU64,
    /// The most fills at once. A response that would need one more passes through.
    #[arg(long, default_value = "256", value_name = "N")]
    most_fills: NonZeroUsize,
    /// The most memory that all fills together may reserve. A response that does not fit passes through [default:
    /// half of the store, if its size is known].
    #[arg(long, value_name = "BYTES")]
    most_promised: Option<ByteSize>,
    /// The most requests to the origin at once for parts of one response. A further request waits for its turn.
    #[arg(long, default_value = "32", value_name = "N")]
    most_slices: NonZeroUsize,
    /// How often the proxy continues an origin's body that breaks off before the fill fails.
    #[arg(long, default_value = "3", value_name = "N")]
    resumes: u32,
    /// How long a fill waits before it continues a body. Each further wait is twice as long.
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    resume_pause: Duration,
    /// How long a client waits for another client's fill before the origin is asked for it alone.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    follower_limit: Duration,
    /// How long a node that dies during a fill holds up the other nodes on the same store.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    lease_time: Duration,
    /// How long the origin may be silent while its answer is being stored. After that, no other client waits for it.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    idle_limit: Duration,
    /// How long a connection to the origin may take.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    connect_timeout: Duration,
    /// How long the origin may take to begin its answer, once it has the whole request.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    response_timeout: Duration,
    /// How long the body of the origin or of a client may be silent.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    body_timeout: Duration,
    /// How long a client may take to send a request's header, or be idle before it.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    header_timeout: Duration,
    /// How long a client may take none of the bytes that wait for it. After that, its connection is closed. A paused
    /// player looks the same, and asks for the rest once it goes on. Over HTTP/2, and at the end of an answer, the
    /// client must take 64 KiB within this time.
    #[arg(long, default_value = "10m", value_parser = parse_duration)]
    write_timeout: Duration,
    /// Memory for bytes that wait for clients, beside the store. When it is short, the proxy closes the connections
    /// of the clients that have taken nothing for longest, but never of a client that took 64 KiB within the last
    /// second.
    #[arg(long, default_value = "256MiB", value_name = "BYTES")]
    most_unread: ByteSize,
    /// The most client connections at once. When there are more, the proxy closes the quietest one, or the new one
    /// waits.
    #[arg(long, default_value = "4096", value_name = "N")]
    most_connections: NonZeroUsize,
    /// How long running requests may take to end after SIGINT or SIGTERM.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    grace: Duration,
}

impl Args {
    /// Opens the store, and the layer on it.
    pub(crate) async fn open(&self) -> Result<(Opened, VideoCacheLayer), BoxError> {
        let memory = StoreArg::Moka(self.memory.as_u64());
        let opened = self.store.as_ref().unwrap_or(&memory).open().await?;
        let store = opened.store.clone();
        let layer = match self.near {
            Some(near) => VideoCacheLayer::new(Tiered::new(MokaStore::new(near.as_u64())?, store)),
            None => VideoCacheLayer::new(store),
        };
        let layer = match &self.purge_log {
            Some(log) => layer.purge_log(log.open().await?.store),
            None => layer,
        };
        Ok((opened, self.settings(layer)))
    }

    fn settings(&self, layer: VideoCacheLayer) -> VideoCacheLayer {
        layer
            .policy(self.policy())
            .key(TargetUri::new().with_fields(self.pass_field.iter().cloned()).into_fn())
            .chunk_size(self.chunk_size)
            .cache_status(if self.show_key { self.name.clone().with_key() } else { self.name.clone() })
            .fill(self.fill())
            .abandon(self.abandon)
            .purge_age(self.purge_age)
            .limits(self.fill_limits())
            .retry(Retry::default().attempts(self.resumes).first_delay(self.resume_pause))
            .timeouts(
                Timeouts::default()
                    .follower(self.follower_limit)
                    .lease(self.lease_time)
                    .inner_idle(self.idle_limit),
            )
    }

    fn fill(&self) -> Fill {
        Fill::from(self.fill)
            .read_ahead(self.read_ahead.as_u64())
            .max_lead(self.fill_ahead.get().saturating_mul(self.chunk_size.bytes().into()))
            .max_calls(self.most_slices)
    }

    fn fill_limits(&self) -> FillLimits {
        let limits = FillLimits::default().max_fills(self.most_fills);
        self.most_promised.map_or(limits, |most| limits.max_reserved(most.as_u64()))
    }

    fn policy(&self) -> Policy {
        let mut policy = if self.streaming { Policy::streaming() } else { Policy::default() };
        policy = policy.max_size(self.max_size.as_u64()).uncacheable_ttl(self.refusal_ttl);
        if self.rfc9111 {
            policy = policy
                .media_types(["*/*"])
                .statuses(Statuses::Any)
                .store_set_cookie(true)
                .default_ttl(Duration::ZERO)
                .stale_on_request(Duration::MAX)
                .reload_grace(Duration::ZERO)
                .invalidate(InvalidateArg::NonError.into())
                .targeted_fields([HeaderName::from_static("cdn-cache-control")]);
        }
        if let Some(media) = &self.media {
            policy = policy.media_types(media);
        }
        if let Some(statuses) = &self.statuses {
            policy = match statuses.iter().copied().collect::<Option<Vec<_>>>() {
                Some(named) => policy.statuses(named),
                None => policy.statuses(Statuses::Any),
            };
        }
        if let Some(by_ending) = self.media_by_ending {
            policy = policy.media_by_ending(by_ending);
        }
        if let Some(store) = self.set_cookie {
            policy = policy.store_set_cookie(store);
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
        if let Some(window) = self.stale_on_request {
            policy = policy.stale_on_request(window);
        }
        if let Some(grace) = self.reload_grace {
            policy = policy.reload_grace(grace);
        }
        if let Some(invalidate) = self.invalidate {
            policy = policy.invalidate(invalidate.into());
        }
        policy = policy.share_with_authorized(self.share_with_authorized);
        if let Some(hide) = self.hide_group_fields {
            policy = policy.hide_group_fields(hide);
        }
        if let Some(heed) = self.heed_group_invalidation {
            policy = policy.heed_group_invalidation(heed);
        }
        if let Some(fields) = &self.group_fields {
            policy = policy.group_fields(fields.iter().copied().map(GroupField::from));
        }
        if let Some(targeted) = &self.targeted {
            policy = policy.targeted_fields(targeted.iter().cloned());
        }
        if let Some(most) = self.max_ranges {
            policy = policy.max_ranges(most);
        }
        if let Some(heed) = self.heed_requests {
            policy = policy.request_directives(heed);
        }
        policy
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::new(self.hosts.clone(), self.pass_field.clone())
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::new(self.origin.clone(), self.connect_timeout, self.response_timeout, self.body_timeout)
    }

    pub(crate) fn limits(&self) -> Limits {
        let bounds = Bounds {
            connections: self.most_connections.get(),
            unread: self.most_unread.as_u64(),
            patience: self.write_timeout,
        };
        Limits { header: self.header_timeout, grace: self.grace, bounds }
    }
}
