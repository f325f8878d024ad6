//! The store for responses: how the command line names it, and how it is opened.

use std::{collections::HashMap, path::PathBuf, str::FromStr};

use bytesize::ByteSize;
use tower_video_cache::{BoxError, BoxStore, MokaStore, Store};
use url::Url;

/// `moka:512MiB`, `redis://…`, `rediss://…?roots=FILE`, `redis-cluster://…`, `s3://bucket?endpoint=…`, `fs:DIR` or
/// `foyer:DIR?memory=…&disk=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreArg {
    Foyer { directory: PathBuf, memory: u64, disk: u64 },
    Fs(PathBuf),
    Moka(u64),
    Redis { url: String, roots: Option<PathBuf> },
    RedisCluster(Vec<String>),
    S3 { bucket: String, settings: Vec<(String, String)> },
}

impl FromStr for StoreArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, rest)) = text.split_once(':') else { return Err(EXPECTED.to_owned()) };
        match scheme {
            "moka" => Ok(Self::Moka(bytes(rest)?)),
            "redis" => Ok(Self::Redis { url: text.to_owned(), roots: None }),
            "rediss" => {
                let (url, query) = text.split_once('?').unwrap_or((text, ""));
                let mut settings: HashMap<_, _> =
                    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                known(settings.keys(), &["roots"])?;
                Ok(Self::Redis { url: url.to_owned(), roots: settings.remove("roots").map(PathBuf::from) })
            }
            "redis-cluster" => {
                let nodes = rest.trim_start_matches('/').split(',').filter(|node| !node.is_empty());
                let nodes: Vec<_> = nodes.map(|node| format!("redis://{node}")).collect();
                if nodes.is_empty() {
                    return Err("expected redis-cluster://HOST:PORT[,HOST:PORT…]".to_owned());
                }
                Ok(Self::RedisCluster(nodes))
            }
            "s3" => {
                let url = Url::parse(text).map_err(|error| error.to_string())?;
                let bucket = url.host_str().ok_or("expected s3://BUCKET[?endpoint=URL&region=NAME]")?;
                let settings: Vec<_> = url.query_pairs().into_owned().collect();
                known(settings.iter().map(|(name, _)| name), &["endpoint", "region", "root"])?;
                Ok(Self::S3 { bucket: bucket.to_owned(), settings })
            }
            "fs" if !rest.is_empty() => Ok(Self::Fs(PathBuf::from(rest))),
            "foyer" => {
                let (directory, query) = rest.split_once('?').unwrap_or((rest, ""));
                let settings: HashMap<_, _> =
                    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
                known(settings.keys(), &["memory", "disk"])?;
                let size = |name, default| settings.get(name).map_or(Ok(default), |size| bytes(size));
                if directory.is_empty() {
                    return Err("expected foyer:DIR[?memory=256MiB&disk=8GiB]".to_owned());
                }
                Ok(Self::Foyer {
                    directory: PathBuf::from(directory),
                    memory: size("memory", 256 << 20)?,
                    disk: size("disk", 8 << 30)?,
                })
            }
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

impl StoreArg {
    pub(crate) async fn open(&self) -> Result<Opened, BoxError> {
        match self {
            Self::Moka(capacity) => Ok(Opened::of(MokaStore::new(*capacity)?)),
            #[cfg(feature = "all-stores")]
            Self::Redis { url, roots } => {
                let mut store = tower_video_cache::RedisStore::new(url)?;
                if let Some(roots) = roots {
                    store = store.root_certificates(&tokio::fs::read(roots).await?)?;
                }
                Ok(Opened::of(store))
            }
            #[cfg(feature = "all-stores")]
            Self::RedisCluster(nodes) => Ok(Opened::of(tower_video_cache::RedisStore::cluster(nodes)?)),
            #[cfg(feature = "all-stores")]
            Self::S3 { bucket, settings } => {
                Ok(Opened::of(tower_video_cache::OpendalStore::new(objects::s3(bucket, settings)?)))
            }
            #[cfg(feature = "all-stores")]
            Self::Fs(directory) => {
                Ok(Opened::of(tower_video_cache::OpendalStore::new(objects::files(directory)?)))
            }
            #[cfg(feature = "all-stores")]
            Self::Foyer { directory, memory, disk } => {
                tokio::fs::create_dir_all(directory).await?;
                let store = tower_video_cache::FoyerStore::open(directory, *memory, *disk).await?;
                let store = std::sync::Arc::new(store);
                Ok(Opened { closes: Some(store.clone()), ..Opened::of(store) })
            }
            #[cfg(not(feature = "all-stores"))]
            _ => Err("this proxy was built without that store: build it with --features all-stores".into()),
        }
    }
}

/// A store, which must be closed once nothing uses it any more.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: BoxStore,
    #[cfg(feature = "all-stores")]
    closes: Option<std::sync::Arc<tower_video_cache::FoyerStore>>,
}

impl Opened {
    fn of(store: impl Store) -> Self {
        Self {
            store: BoxStore::new(store),
            #[cfg(feature = "all-stores")]
            closes: None,
        }
    }

    /// Makes a disk store write its pending values.
    pub(crate) async fn close(&self) -> Result<(), BoxError> {
        #[cfg(feature = "all-stores")]
        if let Some(store) = &self.closes {
            store.close().await?;
        }
        Ok(())
    }
}

/// A store that several proxies can share.
pub(crate) fn shared_store(text: &str) -> Result<StoreArg, String> {
    match text.parse()? {
        StoreArg::Moka(_) | StoreArg::Foyer { .. } => Err("no other proxy sees that store".to_owned()),
        shared => Ok(shared),
    }
}

#[cfg(feature = "all-stores")]
mod objects {
    //! The services that opendal speaks to.

    use std::{path::Path, time::Duration};

    use opendal::{
        Operator,
        layers::{ConcurrentLimitLayer, RetryLayer, TimeoutLayer},
        services::{Fs, S3},
    };
    use tower_video_cache::BoxError;

    /// Credentials come from the environment, as for Amazon's own tools.
    pub(super) fn s3(bucket: &str, settings: &[(String, String)]) -> Result<Operator, BoxError> {
        // Without this call, opendal has no HTTP client.
        opendal::install_default();
        let mut s3 = S3::default().bucket(bucket);
        for (name, value) in settings {
            s3 = match name.as_str() {
                "endpoint" => s3.endpoint(value),
                "region" => s3.region(value),
                _ => s3.root(value),
            };
        }
        Ok(patient(Operator::new(s3)?))
    }

    pub(super) fn files(directory: &Path) -> Result<Operator, BoxError> {
        let directory = directory.to_str().ok_or("the directory's name is no UTF-8")?;
        let (root, unfinished) = (format!("{directory}/values"), format!("{directory}/unfinished"));
        // Each file is written beside its place, and moved there once it is whole.
        let files = Fs::default().root(&root).atomic_write_dir(&unfinished);
        Ok(patient(Operator::new(files)?))
    }

    /// Limits the time of a call: a cache that waits for minutes is an outage.
    fn patient(operator: Operator) -> Operator {
        operator
            .layer(TimeoutLayer::new().with_timeout(LIMIT).with_io_timeout(LIMIT))
            .layer(RetryLayer::new().with_max_times(1).with_min_delay(Duration::from_millis(20)))
            .layer(ConcurrentLimitLayer::new(64))
    }

    const LIMIT: Duration = Duration::from_millis(1500);
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>().map(|size| size.as_u64())
}

fn known<'a>(names: impl IntoIterator<Item = &'a String>, all: &[&str]) -> Result<(), String> {
    match names.into_iter().find(|name| !all.contains(&name.as_str())) {
        Some(name) => Err(format!("no such setting: {name}; there are {}", all.join(", "))),
        None => Ok(()),
    }
}

const EXPECTED: &str = "expected moka:SIZE, redis://HOST:PORT, rediss://HOST:PORT?roots=FILE, redis-cluster://HOST:PORT,…, s3://BUCKET?endpoint=URL, fs:DIR or foyer:DIR";
