//! Programs that tests start and end.

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

use crate::folder::Folder;

/// A server, or a test in a process of its own, that is killed when the test ends, whatever the result.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it in `folder`, in which it may write any files.
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

    /// Starts this program once more, for one of its tests, with an environment variable.
    pub(crate) fn of_test(test: &str, variable: &str, value: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--include-ignored", "--nocapture"]).env(variable, value);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// The lines that a test prints from now on.
    pub(crate) fn lines(&mut self) -> impl Iterator<Item = String> + '_ {
        let said = self.0.stdout.as_mut().expect("the output of servers is not kept");
        BufReader::new(said).lines().map_while(Result::ok)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself, most likely because another program took its port.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Kills it abruptly, like a power cut.
    pub(crate) fn kill(&mut self) {
        // An error means that it has already ended.
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

/// A port without a listener, below those that the system hands out by itself.
///
/// A port that the system chooses belongs to the socket that keeps it. A server gives its port up when it is killed,
/// and wants it back. Until then any socket could get the port. Even a client that tries to connect to it could, and
/// would then connect to itself.
pub(crate) fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Another process begins at another number.
        let number = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_add(process::id().wrapping_mul(101));
        let port = PORTS.start + u16::try_from(number % u32::from(PORTS.end - PORTS.start)).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Returns a process that is ready; `None` if it ended first, most likely because another program has its port.
pub(crate) async fn up<F: Future<Output = bool>>(
    mut process: Process,
    is_up: impl Fn() -> F,
) -> Option<Process> {
    let is_up = soon("the server answers", || {
        let (ended, is_up) = (process.has_ended().then_some(false), is_up());
        async move { if ended.is_some() { ended } else { is_up.await.then_some(true) } }
    })
    .await;
    // Otherwise another program had the port, and answered.
    (is_up && !process.has_ended()).then_some(process)
}

/// Whether the listener at `port` answers as expected.
pub(crate) async fn says(port: u16, question: &str, expected: &str) -> bool {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(server) => answers(server, question, expected).await,
        Err(_) => false,
    }
}

/// Whether the other end of the connection answers as expected.
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

/// Tries until there is a result. Real servers take some time, though never long.
pub(crate) async fn soon<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Systems choose their ports above these.
const PORTS: Range<u16> = 10_000..32_000;
