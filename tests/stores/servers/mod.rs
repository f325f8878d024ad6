//! What the servers of all stores have in common.

pub(crate) mod authority;
pub(crate) mod memcached;
pub(crate) mod redis;
pub(crate) mod s3;

use std::{
    env,
    ffi::OsStr,
    future::Future,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tower_video_cache::Store;

use crate::{folder::Folder, trials::Programs};

/// A server that can fail, and a store over it.
pub(crate) trait Server: Sized {
    type Store: Store;

    const PROGRAMS: Programs;

    /// An empty one. Behind a relay, it must listen at a port.
    fn begin(at_a_port: bool) -> impl Future<Output = Self>;

    /// A store of its own, as another node has, each of whose calls takes no longer than the limit.
    fn store(&self, relay: Option<u16>, limit: Duration) -> Self::Store;

    fn port(&self) -> u16;

    fn process(&mut self) -> &mut Process;

    /// At the same place.
    fn begin_again(&mut self) -> impl Future<Output = ()>;
}

/// A server, or a test in a process of its own, that is killed when the test is over, however it ends.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it in `folder`, where it may write what it likes.
    pub(crate) fn start(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        folder: &Folder,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Starts this program once more, for one of its tests, with a variable of the environment.
    pub(crate) fn of_test(test: &str, variable: &str, value: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--include-ignored", "--nocapture"]).env(variable, value);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// The lines that a test says, from where it is now.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> + '_ {
        let said = self.0.stdout.as_mut().expect("what servers say is not kept");
        BufReader::new(said).lines().map_while(Result::ok)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended of itself: most likely since another program took its port.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// As the power cord would.
    pub(crate) fn kill(&mut self) {
        // Already ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody listens at, below those that the system hands out by itself.
///
/// One that the system chooses is for who keeps it. A server gives its port up when it is killed, and wants it back: until
/// then any socket could have it, even that of a client who tries to connect to it, and so meets itself.
pub(crate) fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Another process begins elsewhere.
        let number = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_add(process::id().wrapping_mul(101));
        let port = PORTS.start + u16::try_from(number % u32::from(PORTS.end - PORTS.start)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A process that is up; none if it ended first, most likely since another program has its port.
pub(crate) async fn up<F: Future<Output = bool>>(
    mut process: Process,
    is_up: impl Fn() -> F,
) -> Option<Process> {
    let is_up = soon("the server answers", || {
        let (ended, is_up) = (process.has_ended().then_some(false), is_up());
        async move {
            if ended.is_some() {
                ended
            } else {
                is_up.await.then_some(true)
            }
        }
    })
    .await;
    // Else another had the port, and answered.
    (is_up && !process.has_ended()).then_some(process)
}

/// Whether who listens at `port` says what is expected.
pub(crate) async fn says(port: u16, question: &str, expected: &str) -> bool {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(server) => answers(server, question, expected).await,
        Err(_) => false,
    }
}

/// Whether who is at the other end says what is expected.
pub(crate) async fn answers(
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    question: &str,
    expected: &str,
) -> bool {
    let answer = async {
        server.write_all(question.as_bytes()).await?;
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(expected) {
            if server.read_buf(&mut said).await? == 0 {
                return Ok(false);
            }
        }
        Ok::<_, io::Error>(true)
    };
    matches!(timeout(Duration::from_secs(1), answer).await, Ok(Ok(true)))
}

/// Tries until there is something: real servers take their time, though never for long.
pub(crate) async fn soon<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "not within 30 seconds: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Systems choose ports above these.
const PORTS: Range<u16> = 10_000..32_000;
