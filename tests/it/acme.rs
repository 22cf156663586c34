//! Certificates by ACME, from a real authority: are they obtained, kept and renewed, and what do clients notice of it?

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use crate::support::edge::{Edge, Setup, before};
use crate::support::eventually;
use crate::support::origin::{Origin, ok};
use crate::support::pebble::{authority, folder_in};
use crate::support::redis::Redis;
use crate::support::tls::{Authority, Session, Tls, asked};

const ISSUED: &str = "larder_acme_orders_total{result=\"issued\"";
const FAILED: &str = "larder_acme_orders_total{result=\"failed\"";

/// What the edge says when it has one.
fn obtained(host: &str) -> String {
    format!("a certificate for {host} was obtained")
}

fn nobody() -> Setup {
    before("127.0.0.1:1".parse().expect("an address"))
}

/// The certificate that a client gets to see who names `host` and believes what is issued.
async fn shown(edge: &Edge, client: &Tls, host: &str) -> Result<Vec<u8>, std::io::Error> {
    Session::begin(edge.tls_address().await, host, &client.config()).await.map(|session| session.shown())
}

#[tokio::test]
async fn a_certificate_is_obtained_by_tls_and_kept_for_the_next_start() {
    let mut pebble = authority().without_http().start().await;
    let origin = Origin::serve(|_| ok("body")).await;
    let cache = tempfile::tempdir().expect("there is room");
    let folder = cache.path().join("deep/acme");
    let setup = || pebble.edge(before(origin.address()), &["a.example"], &folder);
    let mut edge = setup().start().await;
    edge.says(&obtained("a.example")).await;
    let client = pebble.client().await;
    let first = shown(&edge, &client, "a.example").await.expect("the client believes it");
    for protocols in [&["http/1.1"][..], &["h2"]] {
        let session = client.clone().offering(protocols).to(&edge, "a.example").await;
        let reply = match protocols {
            ["h2"] => session.http2().await.send("GET", "/x", "").await,
            _ => session.http1().await.send(asked("/x"), "").await,
        };
        assert_eq!(reply.brief(), (200, "body"), "{protocols:?}");
    }
    assert!(shown(&edge, &client, "b.example").await.is_err(), "there is none for another host");
    assert!(
        origin.asked().iter().all(|it| it.field("host").is_some()) && origin.hits() == 2,
        "the origin heard nothing"
    );
    let lies = "larder_tls_handshakes_total{result=\"challenge\"";
    assert!(edge.metric(ISSUED).await > 0.9 && edge.metric(FAILED).await < 0.1 && edge.metric(lies).await > 0.9);
    let end = edge.metric("larder_tls_certificate_not_after_seconds{names=\"a.example\"").await;
    assert!((1.0e9..1.0e10).contains(&end), "{end}");
    assert_private(&folder);
    let alone = client.clone().offering(&["acme-tls/1"]);
    assert!(shown(&edge, &alone, "a.example").await.is_err(), "no challenge is under way");

    let again = setup();
    pebble.stop();
    edge.signal("TERM");
    assert_eq!(edge.exit_code().await, 0);
    let edge = again.start().await;
    assert_eq!(shown(&edge, &client, "a.example").await.expect("it was kept"), first, "at once, and the same");
    assert!(edge.metric(ISSUED).await + edge.metric(FAILED).await < 0.1, "nobody was asked");
    let said = edge.stderr();
    assert!(!said.contains("PRIVATE KEY") && !said.contains("WARN larder::acme"), "{said}");
}

/// Folders are for their owner alone, and so is every file.
fn assert_private(cache: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let folder = folder_in(cache);
    assert_eq!((mode(cache), mode(&folder)), (0o700, 0o700));
    let mut names = Vec::new();
    for file in fs::read_dir(folder).expect("it is a folder") {
        let path = file.expect("it can be read").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["a.example.pem", "account.json"], "and nothing half done");
}

#[tokio::test]
async fn where_tls_is_not_found_it_goes_by_http_and_the_origin_has_its_own_tokens() {
    let pebble = authority().without_tls().start().await;
    let origin = Origin::serve(|_| ok("the origin's")).await;
    let cache = tempfile::tempdir().expect("there is room");
    let hosts = ["a.example", "b.example"];
    let edge = pebble.edge(before(origin.address()), &hosts, cache.path()).start().await;
    for host in hosts {
        edge.says(&obtained(host)).await;
    }
    let client = pebble.client().await;
    let [a, b] = [shown(&edge, &client, "a.example").await, shown(&edge, &client, "b.example").await];
    assert_ne!(a.expect("the client believes it"), b.expect("and the other"), "each its own");
    edge.says("now by http-01").await;
    assert_eq!(origin.hits(), 0, "the authority was answered before it");
    assert!(edge.metric("larder_requests_total").await > 1.9, "and was counted");
    let reply = edge.get_with("/.well-known/acme-challenge/other", &[("host", "a.example")]).await;
    assert_eq!((reply.text(), origin.hits()), ("the origin's", 1), "a token of nobody");
}

#[tokio::test]
async fn an_authority_is_shown_the_challenge_and_others_see_nothing_of_it() {
    let pebble = authority().hesitating(15).start().await;
    let own = Authority::new();
    own.put("own", &["own.example"]);
    let origin = Origin::serve(|_| ok("body")).await;
    let cache = tempfile::tempdir().expect("there is room");
    // Clients need certificates; the authority has none.
    let pairs = own.table(&["own"]).replace("[server.tls]\nlisten = [\"127.0.0.1:0\"]\n", "") + "\n" + &own.client_ca();
    let table = pebble.table(&["a.example"], cache.path(), &pairs);
    let edge = before(origin.address()).table(&table).start().await;
    let stranger = Tls::believing_everybody();
    let alone = stranger.clone().offering(&["acme-tls/1"]);
    let address = edge.tls_address().await;
    let mut session =
        eventually("a challenge", async || Session::begin(address, "a.example", &alone.config()).await.ok()).await;
    assert_eq!(session.agreed().1, Some("acme-tls/1"));
    assert!(is_critical(&session.shown(), "1.3.6.1.5.5.7.1.31"), "what the authority looks for");
    assert_eq!(session.rest().await.0, b"", "and then it is over");
    assert!(Session::begin(address, "own.example", &alone.config()).await.is_err(), "another host");
    assert!(Session::begin(address, "A.Example", &alone.config()).await.is_ok(), "names have no case");
    let issued = own.issue(&["client"]);
    let both = stranger.offering(&["acme-tls/1", "http/1.1"]).showing(&issued);
    let session = Session::begin(address, "a.example", &both.config()).await.expect("an ordinary handshake");
    assert_eq!(session.agreed().1, Some("http/1.1"), "who offers more is no authority");
    assert!(!is_critical(&session.shown(), "1.3.6.1.5.5.7.1.31"));
    assert_eq!(session.http1().await.send(asked("/x"), "").await.brief(), (200, "body"));
}

/// Whether a certificate has an extension that must be known.
fn is_critical(certificate: &[u8], oid: &str) -> bool {
    use x509_parser::prelude::FromDer;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).expect("a certificate");
    certificate.extensions().iter().any(|it| it.critical && it.oid.to_id_string() == oid)
}

#[tokio::test]
async fn a_certificate_is_renewed_in_time_while_connections_go_on() {
    let pebble = authority().lasting(9).start().await;
    let origin = Origin::serve(|_| ok("body")).await;
    let cache = tempfile::tempdir().expect("there is room");
    let edge = pebble.edge(before(origin.address()), &["a.example"], cache.path()).start().await;
    edge.says(&obtained("a.example")).await;
    let client = pebble.client().await;
    let session = client.to(&edge, "a.example").await;
    let first = session.shown();
    let mut connection = session.http1().await;
    let second = eventually("another certificate", async || {
        shown(&edge, &client, "a.example").await.ok().filter(|it| *it != first)
    })
    .await;
    assert_eq!(connection.send(asked("/x"), "").await.brief(), (200, "body"), "the old connection goes on");
    assert_ne!(public_key(&first), public_key(&second), "with a new key");
    assert!(edge.metric(ISSUED).await > 1.9 && edge.metric(FAILED).await < 0.1);
}

fn public_key(certificate: &[u8]) -> Vec<u8> {
    use x509_parser::prelude::FromDer;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).expect("a certificate");
    certificate.public_key().raw.to_vec()
}

#[tokio::test]
async fn while_the_authority_is_down_everything_else_is_served() {
    let mut pebble = authority().prepare().await;
    let origin = Origin::serve(|_| ok("body")).await;
    let cache = tempfile::tempdir().expect("there is room");
    let edge = pebble.edge(before(origin.address()), &["a.example"], cache.path()).start().await;
    let line = edge.says("no certificate for a.example was obtained (there is none)").await;
    assert!(line.contains("cannot be reached") && line.contains("the next attempt is in"), "{line}");
    assert_eq!(edge.get("/x").await.brief(), (200, "body"), "in the clear");
    let anybody = Tls::believing_everybody();
    assert!(shown(&edge, &anybody, "a.example").await.is_err(), "there is no certificate to show");
    assert!(edge.metric(FAILED).await > 0.9);
    // Another process with the same folder, at which no authority looks.
    let free = |listen: &str| listen.rsplit_once(':').map_or(String::new(), |(host, _)| format!("{host}:0"));
    let table = pebble.table(&["a.example"], cache.path(), "");
    let listen = table.split('"').nth(1).expect("an address");
    let other = nobody().table(&table.replacen(listen, &free(listen), 1)).start().await;
    other.says("no certificate for a.example").await;
    pebble.start().await;
    edge.signal("HUP");
    edge.says(&obtained("a.example")).await;
    let client = pebble.client().await;
    let first = shown(&edge, &client, "a.example").await.expect("there is one now");
    other.signal("HUP");
    other.says("was found in acme.cache").await;
    assert_eq!(shown(&other, &client, "a.example").await.expect("the same"), first);
    assert!(other.metric(ISSUED).await < 0.1, "it has not asked for another");
}

#[tokio::test]
async fn an_authority_that_wants_to_be_left_alone_is() {
    let pebble = authority().prepare().await;
    let busy = pebble.busy("Retry-After: 7200\r\n");
    let cache = tempfile::tempdir().expect("there is room");
    let table = pebble.table(&["a.example"], cache.path(), "");
    let edge = nobody().table(&table).start().await;
    let line = edge.says("no certificate for a.example").await;
    assert!(line.contains("too many accounts (urn:ietf:params:acme:error:rateLimited)"), "{line}");
    assert!(line.contains("the next attempt is in 7200s"), "{line}");
    drop(busy);
}

#[tokio::test]
async fn nonces_that_are_refused_for_no_reason_cost_nothing() {
    let pebble = authority().refusing(50).start().await;
    let cache = tempfile::tempdir().expect("there is room");
    let edge = pebble.edge(nobody(), &["a.example"], cache.path()).start().await;
    edge.says(&obtained("a.example")).await;
    assert!(edge.metric(FAILED).await < 0.1);
}

#[tokio::test]
async fn a_host_that_is_refused_is_said_with_the_authoritys_words() {
    let pebble = authority().start().await;
    let cache = tempfile::tempdir().expect("there is room");
    let edge = pebble.edge(nobody(), &["blocked.example", "a.example"], cache.path()).start().await;
    let line = edge.says("no certificate for blocked.example").await;
    assert_eq!(line.matches("rejectedIdentifier").count(), 1, "once: {line}");
    assert!(line.contains("the next attempt is in"), "{line}");
    edge.says(&obtained("a.example")).await;
}

#[tokio::test]
async fn what_is_broken_in_the_folder_is_set_aside_and_obtained_anew() {
    let mut pebble = authority().start().await;
    let cache = tempfile::tempdir().expect("there is room");
    let setup = || pebble.edge(nobody(), &["a.example", "b.example"], cache.path());
    let edge = setup().start().await;
    edge.says(&obtained("a.example")).await;
    edge.says(&obtained("b.example")).await;
    drop(edge);
    let folder = folder_in(cache.path());
    let whole = fs::read_to_string(folder.join("a.example.pem")).expect("it was kept");
    fs::write(folder.join("a.example.pem"), &whole[..whole.len() / 2]).expect("the folder is ours");
    // Another host's, as a slip of a hand may leave it.
    fs::copy(folder.join("b.example.pem"), folder.join("c.example.pem")).expect("the folder is ours");
    fs::write(folder.join("account.json"), "{\"id\": 5").expect("the folder is ours");
    let edge = pebble.edge(nobody(), &["a.example", "b.example", "c.example"], cache.path()).start().await;
    for (file, why) in
        [("a.example.pem", "is set aside"), ("c.example.pem", "it is for b.example"), ("account.json", "line 1")]
    {
        let line = edge.says(&format!("{file} is set aside")).await;
        assert!(line.contains(why), "{line}");
        assert!(folder.join(format!("{file}.bad")).exists());
    }
    edge.says(&obtained("a.example")).await;
    edge.says(&obtained("c.example")).await;
    assert!(!edge.stderr().contains(&obtained("b.example")), "what is sound is used");
    drop(edge);

    // An authority that has forgotten everything gets a new account.
    fs::remove_file(folder.join("a.example.pem")).expect("it was kept");
    pebble.stop();
    pebble.start().await;
    let edge = pebble.edge(nobody(), &["a.example"], cache.path()).start().await;
    edge.says("the authority does not know the account").await;
    edge.says(&obtained("a.example")).await;
}

#[tokio::test]
async fn hosts_come_and_go_with_the_file_and_the_operators_own_pair_is_shown_first() {
    let pebble = authority().start().await;
    let own = Authority::new();
    own.put("own", &["own.example"]);
    let cache = tempfile::tempdir().expect("there is room");
    let pairs = own.table(&["own"]).replace("[server.tls]\nlisten = [\"127.0.0.1:0\"]\n", "");
    let setup = |hosts: &[&str]| nobody().table(&pebble.table(hosts, cache.path(), &pairs));
    let edge = setup(&["own.example", "a.example"]).start().await;
    edge.says(&obtained("own.example")).await;
    edge.says(&obtained("a.example")).await;
    let (client, operators) = (pebble.client().await, own.client());
    assert!(shown(&edge, &operators, "own.example").await.is_ok(), "the operator's own");
    let a: CertificateDer<'_> = shown(&edge, &client, "a.example").await.expect("the other").into();
    edge.rewrite(&setup(&["a.example", "b.example"]).text());
    edge.says(&obtained("b.example")).await;
    assert_eq!(shown(&edge, &client, "a.example").await.expect("as before"), a.as_ref(), "it was not obtained again");
    edge.rewrite(&setup(&["b.example"]).text());
    eventually("a host that is gone", async || shown(&edge, &client, "a.example").await.is_err().then_some(())).await;
    assert!(shown(&edge, &client, "b.example").await.is_ok(), "the others stay");
}

#[tokio::test]
async fn nodes_obtain_together_what_one_of_them_orders() {
    const SECRET: &str = "of these nodes alone, and of nobody else";
    let redis = Redis::start();
    // The authority looks at the first one alone; who orders is settled by chance, but for the first host.
    let pebble = authority().start().await;
    let caches = [(); 3].map(|()| tempfile::tempdir().expect("there is room"));
    let table = |hosts: &[&str], at: usize, secret: &str| {
        format!("{}secret = {secret:?}\n[redis]\nurl = {:?}\n", pebble.table(hosts, caches[at].path(), ""), redis.url())
    };
    let elsewhere = |text: String| {
        let listen = text.find("listen = [\"").expect("it is there");
        let end = listen + text[listen..].find('\n').expect("a line");
        format!("{}listen = [\"127.0.0.1:0\"]{}", &text[..listen], &text[end..])
    };
    let hosts = ["a.example"];
    let looked_at = pebble.edge_of(nobody(), &table(&[], 0, SECRET).replace("hosts = []", "hosts = [\"z.example\"]"));
    let first = looked_at.start().await;
    first.says(&obtained("z.example")).await;
    // Now the second one orders: it is not where the authority looks, and the first has to answer.
    let second = nobody().table(&elsewhere(table(&hosts, 1, SECRET))).start().await;
    let is_shown = async || (redis.cli(&["EXISTS", "{larder:acme}:proof"]) == "1").then_some(());
    eventually("something to be shown", is_shown).await;
    first.rewrite(&pebble.edge_of(nobody(), &table(&["z.example", "a.example"], 0, SECRET)).text());
    let client = pebble.client().await;
    let [one, two] = [&first, &second].map(|edge| {
        let client = client.clone();
        async move { eventually("a certificate", async || shown(edge, &client, "a.example").await.ok()).await }
    });
    let (one, two) = tokio::join!(one, two);
    assert_eq!(one, two, "both show the one that was issued");
    let orders = (first.metric(ISSUED).await, second.metric(ISSUED).await);
    assert!((0.9..1.1).contains(&orders.0) && (0.9..1.1).contains(&orders.1), "one for each host: {orders:?}");
    let stored = redis.cli(&["KEYS", "*pair:*"]);
    for host in ["a.example", "z.example"] {
        assert!(stored.contains(host), "{stored}");
        let sealed = redis.cli(&["GET", &format!("{{larder:acme}}:pair:{host}")]);
        assert!(!sealed.contains("PRIVATE KEY") && !sealed.contains("CERTIFICATE"), "{sealed}");
    }
    // Without the secret, what Redis has is of no use; and what Redis makes up is not believed.
    redis.cli(&["SET", "{larder:acme}:pair:z.example", "-----BEGIN PRIVATE KEY-----"]);
    let third = nobody().table(&elsewhere(table(&["z.example"], 2, SECRET))).start().await;
    third.says("was not sealed by acme.secret").await;
    assert!(!third.stderr().contains(SECRET) && !first.stderr().contains(SECRET));
}

#[tokio::test]
async fn the_end_does_not_wait_for_an_authority() {
    let pebble = authority().prepare().await;
    // Somebody takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let cache = tempfile::tempdir().expect("there is room");
    let table = pebble.table(&["a.example"], cache.path(), "");
    let at = table.find("directory = \"https://").expect("it is there") + "directory = \"https://".len();
    let end = at + table[at..].find('/').expect("a path");
    let table = format!("{}{}{}", &table[..at], silent.local_addr().expect("it is bound"), &table[end..]);
    let telemetry = "access_log = \"off\"\nlog = \"larder=debug\"";
    let mut edge = nobody().telemetry(telemetry).table(&table).start().await;
    let _held = silent.accept().await.expect("the edge asks");
    edge.signal("TERM");
    assert_eq!(edge.exit_code().await, 0);
    assert!(!edge.stderr().contains("given up"), "it ended by itself");
}
