//! An origin that answers each question when the test says so, and clients that ask meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::edge::Edge;
use super::origin::{Asked, Origin, Told, status};
use super::reply::Reply;
use super::wire::{Connection, Fields, ask};
use super::{eventually, within};

/// Questions that may wait for the test to look at them: more than any test asks at once.
const QUESTIONS: usize = 64;

/// An origin that hands each question to the test.
pub(crate) struct HeldOrigin {
    origin: Origin,
    questions: Mutex<mpsc::Receiver<Question>>,
}

/// A question that waits for its answer.
pub(crate) struct Question {
    asked: Asked,
    answer: oneshot::Sender<Told>,
}

impl HeldOrigin {
    pub(crate) async fn start() -> Self {
        let (hand_over, questions) = mpsc::channel(QUESTIONS);
        let hand_over = Arc::new(hand_over);
        let origin = Origin::serve_with(move |asked| {
            let hand_over = Arc::clone(&hand_over);
            async move {
                let (answer, told) = oneshot::channel();
                let _ = hand_over.send(Question { asked, answer }).await;
                told.await.unwrap_or_else(|_| status(500, "the test has no answer"))
            }
        })
        .await;
        Self { origin, questions: Mutex::new(questions) }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.origin.address()
    }

    pub(crate) fn hits(&self) -> usize {
        self.origin.hits()
    }

    /// The next question.
    pub(crate) async fn next(&self) -> Question {
        let next = within("the next question to the origin", async { self.questions.lock().await.recv().await });
        next.await.expect("the origin lives as long as this")
    }

    /// Answers the next question with this, for a client that asks `target`.
    pub(crate) async fn answers(&self, edge: &Edge, target: &'static str, told: Told) -> Reply {
        let client = asks(edge, "GET", target, &[]);
        self.next().await.tell(told);
        got(client).await
    }
}

impl Question {
    pub(crate) fn tell(self, told: Told) {
        let _ = self.answer.send(told);
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.asked.field(name)
    }

    pub(crate) fn method(&self) -> &str {
        self.asked.method.as_str()
    }
}

/// A client that asks and waits, over a connection of its own.
pub(crate) type Client = AbortOnDropHandle<Reply>;

/// Has a client ask.
pub(crate) fn asks(edge: &Edge, method: &'static str, target: &'static str, fields: Fields) -> Client {
    let address = edge.address();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let request = fields.iter().fold(ask(method, target), |request, (name, value)| request.header(*name, *value));
        Connection::to(address).await.send(request, Bytes::new()).await
    }))
}

/// What the client got.
pub(crate) async fn got(client: Client) -> Reply {
    within("a client's answer", client).await.expect("the client's own checks hold")
}

/// Purges over the admin listener; the receipt.
pub(crate) async fn purge(edge: &Edge, order: Value) -> Value {
    let request = ask("POST", "/purge").header("content-type", "application/json");
    let reply = Connection::to(edge.admin_address()).await.send(request, order.to_string()).await;
    let receipt: Value = serde_json::from_slice(&reply.body).expect("a receipt is JSON");
    assert_eq!((reply.status.as_u16(), &receipt["status"]), (200, &json!("ok")), "{order}: {receipt}");
    receipt
}

/// The absolute URL of a target, as purges name it.
pub(crate) fn url(edge: &Edge, target: &str) -> String {
    format!("http://{}{target}", edge.address())
}

/// Waits until no fetch is under way that others could join.
pub(crate) async fn flights_end(edge: &Edge) {
    eventually("the end of all flights", async || (edge.metric("larder_flights").await < 0.5).then_some(())).await;
}
