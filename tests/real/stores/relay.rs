//! A relay between a client and its server. The relay delays or cuts questions, and delays, cuts or holds answers.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// Forwards all bytes, in the way that is set at that moment.
pub(crate) struct Relay {
    pub(crate) port: u16,
    manner: watch::Sender<Manner>,
    listening: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manner = watch::Sender::new(Manner::default());
        let shared = manner.clone();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, server, shared.clone()));
            }
        });
        Self { port, manner, listening }
    }

    /// Delays each question by this time from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.manner.send_modify(|manner| manner.delay = delay);
    }

    /// Holds answers until it is healed.
    pub(crate) fn hold(&self) {
        self.manner.send_modify(|manner| manner.held = true);
    }

    /// Lets this many bytes of answers through, and then closes the connection with more of them. Does so this many
    /// times.
    pub(crate) fn cut(&self, after: usize, times: u32) {
        self.manner.send_modify(|manner| manner.answers = Cuts { after, left: after, times });
    }

    /// As [`cut`](Self::cut), for questions.
    pub(crate) fn cut_questions(&self, after: usize, times: u32) {
        self.manner.send_modify(|manner| manner.questions = Cuts { after, left: after, times });
    }

    /// The number of cuts of answers that are still to come.
    pub(crate) fn cuts_left(&self) -> u32 {
        self.manner.borrow().answers.times
    }

    /// Lets everything through again, at once.
    pub(crate) fn heal(&self) {
        self.manner.send_replace(Manner::default());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[derive(Default)]
struct Manner {
    delay: Duration,
    held: bool,
    answers: Cuts,
    questions: Cuts,
}

#[derive(Default)]
struct Cuts {
    /// The number of bytes that pass before each cut. `left` counts those before the next.
    after: usize,
    left: usize,
    times: u32,
}

impl Cuts {
    /// The number of bytes that pass, of this many. If not all pass, the connection ends.
    fn passes(&mut self, bytes: usize) -> usize {
        if self.times == 0 {
            return bytes;
        }
        let passed = bytes.min(self.left);
        self.left -= passed;
        if passed < bytes {
            self.left = self.after;
            self.times -= 1;
        }
        passed
    }
}

async fn relay(client: TcpStream, server: u16, manner: watch::Sender<Manner>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let questions = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            let delay = manner.borrow().delay;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let mut passed = 0;
            manner.send_modify(|manner| passed = manner.questions.passes(read));
            if to_server.write_all(&bytes[..passed]).await.is_err() {
                break;
            }
            if passed < read {
                return true;
            }
        }
        let _ = to_server.shutdown().await;
        false
    };
    let answers = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let read = from_server.read(&mut bytes).await.unwrap_or(0);
            let _ = manner.subscribe().wait_for(|manner| !manner.held).await;
            let mut passed = 0;
            manner.send_modify(|manner| passed = manner.answers.passes(read));
            if passed == 0 || to_client.write_all(&bytes[..passed]).await.is_err() || passed < read {
                return;
            }
        }
    };
    // A client that sends no more may still read. Once the server sends no more either, both ends are closed.
    tokio::pin!(answers);
    tokio::select! {
        () = &mut answers => {}
        is_cut = questions => if !is_cut { answers.await },
    }
}
