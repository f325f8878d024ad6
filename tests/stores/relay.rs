//! A relay between a store and its server, which breaks answers off, or holds them back.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

pub(crate) struct Relay {
    pub(crate) port: u16,
    left: Arc<AtomicU64>,
    held: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (left, held) = (Arc::new(AtomicU64::new(u64::MAX)), watch::Sender::new(false));
        let (of_all, waiting) = (Arc::clone(&left), held.subscribe());
        let listening = tokio::spawn(async move {
            while let Ok((viewer, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await;
                if let Ok(server) = server {
                    tokio::spawn(pass(viewer, server, Arc::clone(&of_all), waiting.clone()));
                }
            }
        });
        Self { port: own, left, held, listening }
    }

    /// Lets so many bytes of answers through, and then closes each connection that has more of them.
    pub(crate) fn break_off_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub(crate) fn heal(&self) {
        self.left.store(u64::MAX, Ordering::SeqCst);
        self.held.send_replace(false);
    }

    /// How many bytes of answers it still lets through.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    /// Keeps answers back until it is healed.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(viewer: TcpStream, server: TcpStream, left: Arc<AtomicU64>, mut held: watch::Receiver<bool>) {
    let (mut asking, mut answering) = viewer.into_split();
    let (mut answers, mut asked) = server.into_split();
    let requests = async {
        let _ = tokio::io::copy(&mut asking, &mut asked).await;
        let _ = asked.shutdown().await;
    };
    let responses = async {
        let mut bytes = vec![0; 4096];
        loop {
            let read = answers.read(&mut bytes).await.unwrap_or(0);
            if held.wait_for(|held| !held).await.is_err() {
                return;
            }
            let now = left.load(Ordering::SeqCst);
            let passed = read.min(usize::try_from(now).unwrap_or(usize::MAX));
            if now != u64::MAX {
                left.store(now - u64::try_from(passed).unwrap(), Ordering::SeqCst);
            }
            if passed == 0 || answering.write_all(&bytes[..passed]).await.is_err() || passed < read {
                return;
            }
        }
    };
    // A viewer that says no more may still listen; once there is no more to hear, both ends are closed.
    tokio::pin!(responses);
    tokio::select! {
        () = &mut responses => {}
        () = requests => responses.await,
    }
}
