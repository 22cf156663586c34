//! Which changes of the configuration need a restart?

use super::settings::Settings;

/// The keys whose new value has no effect before a restart, as the file writes them; empty: all of it may act at once.
///
/// Sockets are opened, threads started, the memory tier is sized and Redis is joined once.
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changes = [
        ("server.listen", old.server.listen != new.server.listen),
        ("server.threads", old.server.threads != new.server.threads),
        ("server.tls.listen", tls_listen(old) != tls_listen(new)),
        ("admin.listen", old.admin.listen != new.admin.listen),
        ("memory.capacity", old.memory.capacity != new.memory.capacity),
        ("redis", old.redis != new.redis),
    ];
    changes.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

fn tls_listen(settings: &Settings) -> &[std::net::SocketAddr] {
    settings.tls.as_ref().map_or(&[], |tls| &tls.listen)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::Redis;
    use crate::config::{from_origin, parse_origin_url};

    #[test]
    fn only_what_is_made_once_needs_a_restart() {
        type Change = fn(&mut Settings);
        let cases: [(Change, &[&str], &str); 8] = [
            (|_| {}, &[], "nothing changed"),
            (|it| it.server.listen.clear(), &["server.listen"], "sockets are opened once"),
            (|it| it.server.threads = 3, &["server.threads"], "threads are started once"),
            (|it| it.admin.listen.set_port(1), &["admin.listen"], "sockets are opened once"),
            (|it| it.memory.capacity = 5, &["memory.capacity"], "the tier is sized once"),
            (|it| it.redis = None, &["redis"], "connections are made once"),
            (|it| it.admin.token = "new".to_owned(), &[], "compared at each request"),
            (|it| it.origins.clear(), &[], "origins are replaced as a whole"),
        ];
        let mut old = from_origin(parse_origin_url("http://127.0.0.1:3000").expect("a URL"));
        old.redis = Some(Redis {
            url: "redis://127.0.0.1".to_owned(),
            ca_file: None,
            namespace: "larder".to_owned(),
            timeout: Duration::from_millis(20),
            max_object: 1,
            max_lag: Duration::from_secs(5),
        });
        for (change, want, why) in cases {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(needs_restart(&old, &new), want, "{why}");
        }
    }
}
