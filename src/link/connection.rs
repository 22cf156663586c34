//! How is Redis reached: a connection of whatever shape, ready to be asked?

use std::path::Path;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates, Value,
};

use socket2::TcpKeepalive;

use super::place::{Address, Login};

/// Time to connect to one server and be let in. More than a lost SYN takes to be sent again.
pub(super) const CONNECT: Duration = Duration::from_millis(1500);

/// Time to connect to a cluster: to one that does not answer, and then to the others.
const CONNECT_CLUSTER: Duration = Duration::from_secs(4);

/// A connection; a clone speaks over the same one.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// As whom, and how, connections are made.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) tls: bool,
    pub(super) ca_file: Option<&'a Path>,
    pub(super) login: Option<&'a Login>,
    /// The longest that a call may wait.
    pub(super) longest: Duration,
}

impl Means<'_> {
    /// Connects to one server.
    pub(super) async fn connect(&self, to: &Address, database: i64) -> Result<MultiplexedConnection, RedisError> {
        let connecting = async {
            let info = self.info(to, database)?;
            let client = match self.certificates().await? {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            // Each call has its own deadline, and so has connecting.
            let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
            client.get_multiplexed_async_connection_with_config(&config).await
        };
        in_time(CONNECT, connecting).await
    }

    /// Connects to a cluster, of which these are nodes.
    pub(super) async fn connect_cluster(&self, nodes: &[Address]) -> Result<ClusterConnection, RedisError> {
        let connecting = async {
            let nodes: Result<Vec<_>, _> = nodes.iter().map(|node| self.info(node, 0)).collect();
            // What it does on its own (asking a node for the topology, connecting anew) has no deadline of ours, and
            // holds up every call meanwhile. One retry, and at once: it takes one to follow MOVED and ASK.
            let builder = ClusterClientBuilder::new(nodes?)
                .retries(1)
                .min_retry_wait(1)
                .max_retry_wait(10)
                .tcp_settings(socket())
                .connection_timeout(CONNECT)
                .response_timeout(self.longest + Duration::from_millis(100))
                .overall_response_timeout(None);
            let builder = match self.certificates().await? {
                Some(certificates) => builder.certs(certificates),
                None => builder,
            };
            builder.build()?.get_async_connection().await
        };
        // A cluster of which half does not answer can take for ever to connect to.
        in_time(CONNECT_CLUSTER, connecting).await
    }

    fn info(&self, to: &Address, database: i64) -> Result<ConnectionInfo, RedisError> {
        let (host, port) = (to.host.clone(), to.port);
        let address = if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut redis =
            RedisConnectionInfo::default().set_db(database).set_lib_name("larder", env!("CARGO_PKG_VERSION"));
        if let Some(login) = self.login {
            redis = redis.set_password(&login.password);
            if let Some(user) = &login.user {
                redis = redis.set_username(user);
            }
        }
        Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(socket()))
    }

    /// The roots that `ca_file` holds now: a file that was replaced counts from the next connection on.
    async fn certificates(&self) -> Result<Option<TlsCertificates>, RedisError> {
        if !self.tls {
            return Ok(None);
        }
        // The library has none of its own, and panics without one. Where one is installed, that one stays.
        _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let root_cert = match self.ca_file {
            Some(path) => Some(tokio::fs::read(path).await?),
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls: None, root_cert }))
    }
}

/// How sockets are set up.
fn socket() -> TcpSettings {
    // Without it the end of a large value waits until its beginning is acknowledged: 40 ms, twice a usual deadline.
    let settings = TcpSettings::default().set_nodelay(true);
    // A connection over which one long answer is awaited is not asked anything else: the kernel finds out when the other
    // end has lost power, within about ten seconds.
    let (idle, interval) = (Duration::from_secs(5), Duration::from_secs(2));
    settings.set_keepalive(TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(3))
}

/// Fails as a connection that times out, when it takes longer.
pub(super) async fn in_time<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    match tokio::time::timeout(limit, what).await {
        Ok(done) => done,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}
