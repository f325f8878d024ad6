//! A relay between a client and its server, which delays questions or cuts them, and answers likewise, or holds them back.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// Hands on what comes, as it is told to at that moment.
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

    /// How long each question is on its way from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.manner.send_modify(|manner| manner.delay = delay);
    }

    /// Keeps answers back until it is healed.
    pub(crate) fn hold(&self) {
        self.manner.send_modify(|manner| manner.held = true);
    }

    /// Lets so many bytes of answers through, and then closes the connection that has more of them; so many times.
    pub(crate) fn cut(&self, after: usize, times: u32) {
        self.manner.send_modify(|manner| manner.answers = Cuts { after, left: after, times });
    }

    /// The same of questions.
    pub(crate) fn cut_questions(&self, after: usize, times: u32) {
        self.manner.send_modify(|manner| manner.questions = Cuts { after, left: after, times });
    }

    /// How often it is still to cut answers.
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
    /// How many bytes pass before each, and how many before the next.
    after: usize,
    left: usize,
    times: u32,
}

impl Cuts {
    /// How many of so many bytes pass: if not all, the connection ends.
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
    // A client that says no more may still listen; once there is no more to hear, both ends are closed.
    tokio::pin!(answers);
    tokio::select! {
        () = &mut answers => {}
        is_cut = questions => if !is_cut { answers.await },
    }
}
