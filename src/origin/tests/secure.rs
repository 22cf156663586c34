//! TLS: whom do we believe, and do we notice a cut?

use std::path::Path;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;

/// An origin that speaks TLS as `name`; each answer is followed by a clean end, or a cut.
async fn tls_origin(name: &str, is_clean: bool, directory: &Path) -> (SocketAddr, Spec) {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let ca_file = directory.join("ca.pem");
    std::fs::write(&ca_file, cert.pem()).unwrap();
    let acceptor = acceptor(&cert, &signing_key);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let sni = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{sni}").as_bytes()).await;
            let _ = stream.flush().await;
            if is_clean {
                let _ = stream.shutdown().await;
            }
        }
    });
    let url = OriginUrl { https: true, host: name.to_owned(), port: address.port() };
    (address, Spec { urls: vec![url], ca_file: Some(ca_file), ..spec(&[]) })
}

fn acceptor(cert: &rcgen::Certificate, key: &KeyPair) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config).into()
}

#[tokio::test]
async fn a_name_and_an_address_are_verified_and_the_name_is_announced() {
    for (name, sni) in [("localhost", "localhost"), ("127.0.0.1", "none")] {
        let directory = tempfile::tempdir().unwrap();
        let (_, spec) = tls_origin(name, true, directory.path()).await;
        let origins = start(spec).await;
        assert_eq!(ask_and_read(&origins, get()).await, (200, sni.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn an_end_without_notice_is_a_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (_, spec) = tls_origin("localhost", false, directory.path()).await;
    let origins = start(spec).await;
    let (status, body) = read(ask(&origins, get()).await.unwrap()).await;
    assert_eq!(status, 200);
    let error = body.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(AnswerBodyError::Cut { .. })), "{error}");
}

#[tokio::test]
async fn certificates_that_are_not_trusted_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (address, trusted) = tls_origin("localhost", true, directory.path()).await;
    let other = tempfile::tempdir().unwrap();
    let (_, unrelated) = tls_origin("localhost", true, other.path()).await;
    let by_address = OriginUrl { https: true, host: "127.0.0.1".to_owned(), port: address.port() };
    let cases = [
        (Spec { ca_file: unrelated.ca_file, ..trusted.clone() }, "signed by somebody else"),
        (Spec { urls: vec![by_address], ..trusted }, "for another name"),
    ];
    for (spec, why) in cases {
        let origins = start(spec).await;
        let error = ask(&origins, get()).await.unwrap_err();
        assert_eq!(told(&error), (502, "tls_certificate_error"), "{why}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_said_to_be_none_and_a_handshake_that_hangs_ends() {
    let plain = Scripted::origin(|_, mut connection| async move {
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection.ended().await;
    })
    .await;
    let silent = Scripted::origin(|_, mut connection| async move { connection.ended().await }).await;
    let cases = [
        (plain.address, PATIENCE, (502, "tls_protocol_error")),
        (silent.address, Duration::from_millis(50), (504, "connection_timeout")),
    ];
    for (address, connect_timeout, want) in cases {
        let directory = tempfile::tempdir().unwrap();
        let (_, trusted) = tls_origin("localhost", true, directory.path()).await;
        let url = OriginUrl { https: true, host: "127.0.0.1".to_owned(), port: address.port() };
        let origins = start(Spec { urls: vec![url], connect_timeout, ..trusted }).await;
        let error = ask(&origins, get()).await.unwrap_err();
        assert_eq!(told(&error), want, "{error:?}");
    }
}
