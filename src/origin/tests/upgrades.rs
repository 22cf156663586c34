//! Connections that become tunnels.

use super::*;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n";

async fn echo() -> Scripted {
    Scripted::origin(|_, mut connection| async move {
        let head = connection.head().await.unwrap();
        assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: echo\r\n"), "{head}");
        connection.send(&format!("{SWITCH}hello")).await;
        let said = connection.until("marco").await;
        connection.send(&said.replace("marco", "polo")).await;
        connection.ended().await;
    })
    .await
}

fn upgrade() -> Outbound<'static> {
    let asked = with(with(get(), "connection", "upgrade"), "upgrade", "echo");
    Outbound { upgrade: true, ..asked }
}

#[tokio::test]
async fn a_switch_of_protocols_gives_the_connection_away() {
    let origin = echo().await;
    let context = context();
    let spec = Spec { max_connections: 1, first_byte_timeout: Duration::from_millis(300), ..spec(&[origin.address]) };
    let origins = Origins::start(&[spec], None, &context).await.unwrap();
    let answer = ask(&origins, upgrade()).await.unwrap();
    assert_eq!(answer.status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(
        (&answer.headers["upgrade"], &answer.headers["connection"]),
        (&"echo".parse().unwrap(), &"upgrade".parse().unwrap())
    );
    let Upgraded { first, stream: mut tunnel } = *answer.upgraded.unwrap();
    tunnel.write_all(b"marco").await.unwrap();
    let mut said = [0; 9];
    within((&*first).chain(&mut tunnel).read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"hellopolo", "what came with the head is not lost");
    // The tunnel counts as a connection until it ends.
    let busy = ask(&origins, upgrade()).await.unwrap_err();
    assert!(matches!(busy, OriginError::QueueTimeout { .. }), "{busy}");
    drop(tunnel);
    assert_eq!(ask(&origins, upgrade()).await.unwrap().status, StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(origin.connections(), 2, "a tunnel is never used again");
}

#[tokio::test]
async fn an_origin_may_decline_to_switch() {
    let origin = Scripted::answering(OK).await;
    let origins = start(spec(&[origin.address])).await;
    let answer = ask(&origins, upgrade()).await.unwrap();
    assert!(answer.upgraded.is_none());
    assert_eq!(read(answer).await.1.unwrap(), "ok");
}
