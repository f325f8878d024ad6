//! A wire between a client and a server that can be cut, or made long.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// Hands on what comes, as it is told to at that moment.
pub(crate) struct Relay {
    pub(crate) port: u16,
    manner: Arc<Mutex<Manner>>,
}

#[derive(Clone, Copy, Default)]
struct Manner {
    /// How long each question is on its way.
    delay: Duration,
    /// After so many bytes of an answer the connection ends, so many times.
    cut: Option<(usize, u32)>,
}

impl Relay {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manner = Arc::default();
        let shared = Arc::clone(&manner);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let manner = Arc::clone(&shared);
                tokio::spawn(async move { relay(client, server, &manner).await });
            }
        });
        Self { port, manner }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.manner.lock().unwrap().delay = delay;
    }

    /// Cuts the connection in the midst of the next large answers, after so many bytes.
    pub(crate) fn cut(&self, after: usize, times: u32) {
        self.manner.lock().unwrap().cut = Some((after, times));
    }

    /// How often it is still to cut.
    pub(crate) fn cuts_left(&self) -> u32 {
        self.manner.lock().unwrap().cut.map_or(0, |(_, times)| times)
    }
}

/// Both directions, until either ends; dropping the sockets is the cut.
async fn relay(client: TcpStream, server: u16, manner: &Mutex<Manner>) -> Option<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.ok()?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let questions = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            let delay = manner.lock().unwrap().delay;
            sleep(delay).await;
            to_server.write_all(buffer.get(..length)?).await.ok()?;
        }
        Some(())
    };
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        let mut handed_on = 0;
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            let cut =
                manner.lock().unwrap().cut.filter(|(after, times)| *times > 0 && handed_on + length > *after);
            if let Some((after, times)) = cut {
                manner.lock().unwrap().cut = Some((after, times - 1));
                to_client.write_all(buffer.get(..after.saturating_sub(handed_on))?).await.ok()?;
                return None;
            }
            to_client.write_all(buffer.get(..length)?).await.ok()?;
            handed_on += length;
        }
        Some(())
    };
    tokio::select! {
        ended = questions => ended,
        ended = answers => ended,
    }
}
