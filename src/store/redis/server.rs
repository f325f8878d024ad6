//! The address of the server, and how a connection to it begins.

use std::time::Duration;

#[cfg(feature = "redis-tls")]
use redis::TlsCertificates;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisError, RedisResult, TlsMode,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

use crate::error::Error;

/// The contents of the application's URLs.
pub(super) enum Server {
    One(ConnectionInfo),
    Cluster {
        nodes: Vec<ConnectionInfo>,
        #[cfg(feature = "redis-tls")]
        trusted: Option<TlsCertificates>,
    },
    Sentinels {
        urls: Vec<ConnectionInfo>,
        name: String,
        node: SentinelNodeConnectionInfo,
    },
}

impl Server {
    pub(super) fn one(url: &str) -> Result<Self, Error> {
        Ok(Self::One(parsed(url)?))
    }

    pub(super) fn cluster(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, Error> {
        let nodes = all_parsed(urls)?;
        // This also refuses nodes that do not fit together: different passwords, or a socket of the file system.
        ClusterClient::builder(nodes.clone()).build().map_err(refused)?;
        Ok(Self::Cluster {
            nodes,
            #[cfg(feature = "redis-tls")]
            trusted: None,
        })
    }

    pub(super) fn sentinels(
        urls: impl IntoIterator<Item = impl AsRef<str>>,
        master: &str,
    ) -> Result<Self, Error> {
        let urls = all_parsed(urls)?;
        let node = SentinelNodeConnectionInfo::default();
        if !master.contains("://") {
            return Ok(Self::Sentinels { urls, name: master.to_owned(), node });
        }
        let url = parsed(master)?;
        let node = node.set_redis_connection_info(url.redis_settings().clone());
        let (name, node) = match url.addr() {
            ConnectionAddr::Tcp(name, _) => (name, node),
            ConnectionAddr::TcpTls { host, insecure: false, .. } => {
                (host, node.set_tls_mode(TlsMode::Secure))
            }
            ConnectionAddr::TcpTls { host, insecure: true, .. } => {
                (host, node.set_tls_mode(TlsMode::Insecure))
            }
            _ => return Err(Error::config("the url of a master must have its name as the host")),
        };
        Ok(Self::Sentinels { urls, name: name.clone(), node })
    }

    /// Trusts only certificates that one of these authorities has signed.
    #[cfg(feature = "redis-tls")]
    pub(super) fn trust(&mut self, pem: &[u8]) -> Result<(), Error> {
        let roots = TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) };
        // The client would accept other text, without a word, and trust no certificate.
        if !pem.windows(CERTIFICATE.len()).any(|text| text == CERTIFICATE) {
            return Err(Error::config("the root certificates for redis have no certificate in pem"));
        }
        let trusting = |info: &ConnectionInfo| {
            // The client would trust any certificate.
            if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
                return Err(Error::config("redis checks no certificate if a url says #insecure"));
            }
            let client = Client::build_with_tls(info.clone(), roots.clone());
            let not_so = |error: RedisError| {
                Error::refused_config("redis takes no such root certificates for this url", error.into())
            };
            Ok(client.map_err(not_so)?.get_connection_info().clone())
        };
        match self {
            Self::One(info) => *info = trusting(info)?,
            Self::Cluster { nodes, trusted } => {
                for node in nodes {
                    trusting(node)?;
                }
                *trusted = Some(roots);
            }
            // The client has a builder that takes certificates, but it takes one user and password for all sentinels,
            // and no URLs.
            Self::Sentinels { .. } => {
                return Err(Error::config("redis takes no root certificates with sentinels"));
            }
        }
        Ok(())
    }

    /// Whether one connection leads to several servers, each of which may fail alone.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }

    /// Makes a new connection within `timeout`.
    pub(super) async fn connect(&self, timeout: Duration) -> RedisResult<Link> {
        // Each call has its own deadline, which includes the time to connect.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(None);
        match self {
            Self::One(info) => {
                let client = Client::open(info.clone().set_tcp_settings(tcp(timeout)))?;
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::One)
            }
            Self::Sentinels { urls, name, node } => {
                let node = node.clone().set_tcp_settings(tcp(timeout));
                let of_master = SentinelServerType::Master;
                let mut client = SentinelClient::build(urls.clone(), name.clone(), Some(node), of_master)?;
                client.get_async_connection_with_config(&config).await.map(Link::One)
            }
            Self::Cluster {
                nodes,
                #[cfg(feature = "redis-tls")]
                trusted,
            } => {
                let client = ClusterClient::builder(nodes.clone());
                #[cfg(feature = "redis-tls")]
                let client = match trusted {
                    Some(trusted) => client.certs(trusted.clone()),
                    None => client,
                };
                let client = client
                    .tcp_settings(tcp(timeout))
                    // The client waits for a node that hangs twice: to connect, and to ask for the slots. The rest of
                    // the time is for the other nodes.
                    .connection_timeout(timeout / 4)
                    .response_timeout(timeout)
                    .overall_response_timeout(None)
                    // The default is 16 retries and minutes. Each redirection counts.
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(RETRY_WAIT_MILLISECONDS)
                    .max_retry_wait(RETRY_WAIT_MILLISECONDS * 4)
                    .build()?;
                client.get_async_connection().await.map(Link::Cluster)
            }
        }
    }
}

/// A connection that many calls share.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

fn all_parsed(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<ConnectionInfo>, Error> {
    let urls = urls.into_iter().map(|url| parsed(url.as_ref())).collect::<Result<Vec<_>, _>>()?;
    if urls.is_empty() {
        return Err(Error::config("redis needs at least one url"));
    }
    Ok(urls)
}

fn parsed(url: &str) -> Result<ConnectionInfo, Error> {
    url.into_connection_info().map_err(refused)
}

fn refused(error: RedisError) -> Error {
    Error::refused_config("the url is not one of redis", error.into())
}

fn tcp(timeout: Duration) -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    // Without this, the kernel waits a quarter of an hour for a host that has gone silent.
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    let settings = settings.set_user_timeout((timeout * 2).max(LEAST_USER_TIMEOUT));
    let _ = timeout;
    settings
}

#[cfg(feature = "redis-tls")]
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

const CLUSTER_RETRIES: u32 = 3;
const RETRY_WAIT_MILLISECONDS: u64 = 5;

#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const LEAST_USER_TIMEOUT: Duration = Duration::from_secs(1);
