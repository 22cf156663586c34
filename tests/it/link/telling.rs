//! What operators are told: one line for each change of state, and no secret.

use std::io;
use std::sync::{Arc, Mutex};

use larder::link::state::State;
use tracing_subscriber::fmt::MakeWriter;

use super::{SHORT, run, within};
use crate::support::redis::Redis;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("no writer panics").clone();
        String::from_utf8(bytes).expect("a log is text").lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_change_of_state_is_one_line_without_the_password() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _for_this_thread = tracing::subscriber::set_default(subscriber);

    let mut server = Redis::start_with(&["--requirepass", "right"]);
    let running = run(&format!("redis://someone:hush@127.0.0.1:{}", server.port()));
    running.reaches(State::Denied).await;
    assert_eq!(server.cli(&["ACL", "SETUSER", "someone", "on", ">hush", "~*", "+@all"]), "OK");
    within("a link that is let in", running.link.up()).await;
    server.kill();
    running.reaches(State::Unreachable).await;
    for _ in 0..500 {
        _ = running.get("a", SHORT).await;
    }
    server.restart();
    running.reaches(State::Denied).await;

    let lines: Vec<_> = log.lines().into_iter().filter(|line| line.contains("Redis: ")).collect();
    let address = format!("127.0.0.1:{}", server.port());
    let want = [("WARN", "denied"), ("INFO", "up"), ("WARN", "unreachable"), ("WARN", "denied")];
    assert_eq!(lines.len(), want.len(), "{lines:#?}");
    for (line, (level, state)) in lines.iter().zip(want) {
        let told = line.contains(level) && line.contains(&format!("Redis: {state} "));
        assert!(told && line.contains("link=\"test\"") && line.contains(&address), "{line}");
    }
    let shown = format!("{:?} {:#?} {lines:?}", running.link, running.link);
    assert!(!shown.contains("hush") && !shown.contains("someone"), "{shown}");
}
