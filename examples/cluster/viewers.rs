//! The viewers: all ask at once for the whole video and check it byte for byte.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    body::Bytes,
    http::{Request, StatusCode, header},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower_video_cache::BoxError;

use super::origin_server::{OriginServer, PATH};

/// This many viewers of each node at the same time.
pub(crate) struct Stampede<'a> {
    pub(crate) nodes: &'a [SocketAddr],
    pub(crate) origin: &'a OriginServer,
    pub(crate) viewers: usize,
}

impl Stampede<'_> {
    /// Prints how each node served its viewers, according to `Cache-Status`.
    ///
    /// # Errors
    ///
    /// A viewer got anything other than the origin's video.
    pub(crate) async fn run(&self, what: &str) -> Result<(), BoxError> {
        let (calls, video) = (self.origin.calls(), self.origin.video());
        let client = client();
        let mut viewers = JoinSet::new();
        for (node, address) in self.nodes.iter().enumerate() {
            for _ in 0..self.viewers {
                let (client, video, uri) = (client.clone(), video.clone(), format!("http://{address}{PATH}"));
                viewers.spawn(async move {
                    let request = Request::get(uri).header(header::HOST, SITE).body(Empty::new())?;
                    let response = client.request(request).await?;
                    let status = response.headers().get("cache-status").ok_or("no Cache-Status")?;
                    let status = status.to_str()?.to_owned();
                    if response.status() != StatusCode::OK {
                        return Err(format!("node-{}: {} ({status})", node + 1, response.status()).into());
                    }
                    let seen = response.into_body().collect().await?.to_bytes();
                    if seen != video {
                        return Err(format!("node-{} gave other bytes ({status})", node + 1).into());
                    }
                    Ok::<_, BoxError>((node, status))
                });
            }
        }
        let mut said: BTreeMap<_, usize> = BTreeMap::new();
        while let Some(viewer) = viewers.join_next().await {
            *said.entry(viewer??).or_default() += 1;
        }
        let all = self.nodes.len() * self.viewers;
        println!("\n{all} viewers of {what}: {} of the origin", times(self.origin.calls() - calls));
        for ((_, status), viewers) in said {
            println!("{viewers:>4} × {status}");
        }
        Ok(())
    }
}

/// Has the origin replace the video, through one node.
pub(crate) async fn replace(node: SocketAddr) -> Result<String, BoxError> {
    let request =
        Request::put(format!("http://{node}{PATH}")).header(header::HOST, SITE).body(Empty::new())?;
    Ok(client().request(request).await?.status().to_string())
}

fn client() -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn times(calls: u64) -> String {
    match calls {
        0 => "no call".to_owned(),
        1 => "1 call".to_owned(),
        calls => format!("{calls} calls"),
    }
}

/// Every node is asked for this site, because the authority is part of the cache key.
const SITE: &str = "movies.example";
