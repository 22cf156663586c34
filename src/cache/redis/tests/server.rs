//! A Redis of a test's own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

/// For what should take no time at all, on a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A server that ends with this.
pub(super) struct Server {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts one on a port that is free.
    pub(super) async fn start() -> Self {
        // Between our looking for a port and its use somebody else may take it.
        for _ in 0..5 {
            if let Some(server) = Self::try_start().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    async fn try_start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir", folder.path().to_str().unwrap()])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let mut server = Self { process, port, _folder: folder };
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && server.process.try_wait().unwrap().is_none() {
            if let Some(mut raw) = server.connect().await
                && redis::cmd("PING").query_async::<String>(&mut raw).await.is_ok()
            {
                return Some(server);
            }
            tokio::task::yield_now().await;
        }
        None
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A connection that knows nothing of the tier.
    pub(super) async fn raw(&self) -> MultiplexedConnection {
        self.connect().await.expect("it answers")
    }

    async fn connect(&self) -> Option<MultiplexedConnection> {
        redis::Client::open(self.url()).ok()?.get_multiplexed_async_connection().await.ok()
    }

    /// Stops it so that it neither answers nor hangs up; or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
