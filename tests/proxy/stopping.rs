//! The graceful stop.

use bytes::Bytes;
use http::Request;
use http_body_util::{Empty, channel::Channel};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tower_video_cache::BoxError;

use super::{
    rig::{Rig, SHORT, answer_once, boxed, page_of, whole},
    server::Stopped,
};

#[tokio::test]
async fn a_stop_lets_a_running_download_finish() {
    for http2 in [false, true] {
        let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
        let rig = Rig::once(page_of(page)).await;
        let idle = TcpStream::connect(rig.proxy).await.unwrap();
        let request = Request::get("/");
        let response = rig.send_as(http2, request, boxed(Empty::new())).await;
        sender.send_data(Bytes::from_static(b"one ")).await.unwrap();
        let (proxy, served) = rig.stop();
        until_refused(proxy, idle).await;
        assert!(!served.is_finished());
        sender.send_data(Bytes::from_static(b"two")).await.unwrap();
        drop(sender);
        assert_eq!(whole(response).await, "one two");
        assert_eq!(served.await.unwrap(), Stopped::Finished);
    }
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_grace() {
    let (_sender, page) = Channel::<Bytes, BoxError>::new(1);
    let rig = Rig::with(&["--grace", SHORT], answer_once(page_of(page))).await;
    let response = rig.get("/").await;
    let (_, served) = rig.stop();
    assert_eq!(served.await.unwrap(), Stopped::CutOff);
    drop(response);
}

/// Returns once `proxy` has let go of an `idle` connection and takes no new one.
async fn until_refused(proxy: std::net::SocketAddr, mut idle: TcpStream) {
    // The proxy closes the connection before or after it accepts it.
    let _ = idle.read(&mut [0]).await;
    while TcpStream::connect(proxy).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
