//! `larder serve`: runs the proxy until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use clap::Args;
use rustix::thread::disable_transparent_huge_pages;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{UNUSABLE, has_colour, say};
use crate::batch;
use crate::config::settings::OriginUrl;
use crate::config::{self, Environment, Loaded, Source};
use crate::telemetry::diagnostics;

/// Runs the proxy.
///
/// SIGTERM and Ctrl-C let requests under way end (`server.drain_timeout`); a second one does not. SIGHUP, or a change of
/// the file, reads the configuration again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder serve                                       by proxy.toml of this folder
  larder serve --config /etc/larder/proxy.toml
  larder serve --origin http://127.0.0.1:3000        without a file: on 127.0.0.1:8080, admin on 127.0.0.1:9080
  larder serve --origin https://api.example --listen 0.0.0.0:80")]
pub(super) struct Arguments {
    /// The configuration [default: proxy.toml, or none with --origin]
    #[arg(short, long, value_name = "FILE", env = "LARDER_CONFIG")]
    config: Option<PathBuf>,
    /// The origin to put the cache in front of, over the only one of the file
    #[arg(long, value_name = "URL", env = "LARDER_ORIGIN", value_parser = config::parse_origin_url)]
    origin: Option<OriginUrl>,
    /// An address for clients, over server.listen; may be repeated
    #[arg(long, value_name = "ADDR", env = "LARDER_LISTEN", value_delimiter = ',', value_parser = config::parse_address)]
    listen: Vec<SocketAddr>,
}

impl Arguments {
    fn source(self, environment: Environment) -> Source {
        let default = || self.origin.is_none().then(|| PathBuf::from("proxy.toml"));
        Source { file: self.config.clone().or_else(default), origin: self.origin, listen: self.listen, environment }
    }
}

/// Runs the proxy; returns when it has ended.
pub(super) fn serve(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let source = arguments.source(Environment::of_process());
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(findings) => {
            say(&findings.render(has_colour()));
            return Ok(ExitCode::from(UNUSABLE));
        }
    };
    say(&loaded.warnings.render(has_colour()));
    diagnostics::init(&loaded.settings.telemetry.log).context("telemetry.log cannot be used")?;
    keep_pages_small();
    let runtime = runtime(loaded.settings.server.threads).context("the threads cannot be started")?;
    runtime.block_on(until_stopped(source, loaded))
}

/// Has the system give us memory in small pages only. It clears a large one, and may have to move others for it, while somebody
/// waits for an answer: where responses come and go, one request in a hundred took three times as long and more.
fn keep_pages_small() {
    // A kernel that cannot has no large pages, or is too old to be asked.
    let _ = disable_transparent_huge_pages(true);
}

/// A runtime of so many threads; none: as many as there are processors for us.
fn runtime(threads: usize) -> io::Result<Runtime> {
    let threads = if threads > 0 { threads } else { thread::available_parallelism().map_or(1, NonZero::get) };
    // A thread that is alone has nobody to share its tasks with: what that takes is a thirtieth of a hit.
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads).enable_all().on_thread_park(batch::rest).thread_name("larder").build()
}

async fn until_stopped(source: Source, loaded: Loaded) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::take().context("signals cannot be taken")?;
    let stop = CancellationToken::new();
    let impatient = {
        let stop = stop.clone();
        async move {
            signals.next().await;
            stop.cancel();
            signals.next().await;
        }
    };
    tokio::select! {
        ended = crate::node::run(source, loaded, stop) => match ended {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                let code = ExitCode::from(error.exit_code());
                say(&format!("error: {:#}\n", anyhow::Error::from(error)));
                Ok(code)
            }
        },
        () = impatient => {
            say("error: told to stop twice; requests under way are cut\n");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use tokio::runtime::RuntimeFlavor;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn source(line: &[&str]) -> Source {
        Line::try_parse_from(line).expect("valid").arguments.source(Environment::default())
    }

    #[test]
    fn one_thread_shares_its_tasks_with_nobody() {
        for (threads, flavor) in [(1, RuntimeFlavor::CurrentThread), (2, RuntimeFlavor::MultiThread)] {
            let runtime = runtime(threads).expect("threads");
            let found = (runtime.handle().runtime_flavor(), runtime.metrics().num_workers());
            assert_eq!(found, (flavor, threads));
        }
    }

    #[test]
    fn an_origin_alone_needs_no_file() {
        let cases: [(&[&str], Option<&str>, &str); 4] = [
            (&["serve"], Some("proxy.toml"), "the file of this folder"),
            (&["serve", "--config", "x.toml"], Some("x.toml"), "the file that is named"),
            (&["serve", "--origin", "http://h"], None, "no file, whatever lies in this folder"),
            (&["serve", "--origin", "http://h", "--config", "x.toml"], Some("x.toml"), "both: the flag over the file"),
        ];
        for (line, file, why) in cases {
            assert_eq!(source(line).file.as_deref().and_then(|path| path.to_str()), file, "{why}");
        }
    }

    #[test]
    fn flags_count_more_than_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let text =
            "[server]\nlisten = [\"127.0.0.1:1\"]\nthreads = 3\n[[origins]]\nname = \"a\"\nurls = [\"http://a\"]\n";
        std::fs::write(&file, text).unwrap();
        let line = ["serve", "--config", file.to_str().unwrap(), "--origin", "http://b", "--listen", "[::1]:2"];
        let settings = source(&line).load().expect("valid").settings;
        assert_eq!(settings.server.listen, ["[::1]:2".parse().unwrap()], "the flag");
        assert_eq!(settings.origins[0].urls[0].host, "b", "the flag");
        assert_eq!((settings.origins[0].name.as_str(), settings.server.threads), ("a", 3), "the file");
    }

    #[test]
    fn a_flag_cannot_stand_for_one_of_several_origins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let one =
            |name: &str| format!("[[origins]]\nname = \"{name}\"\nurls = [\"http://{name}\"]\nhosts = [\"{name}\"]\n");
        std::fs::write(&file, one("a") + &one("b")).unwrap();
        let line = ["serve", "--config", file.to_str().unwrap(), "--origin", "http://c"];
        let findings = source(&line).load().expect_err("which one?");
        assert!(findings.to_string().contains("2 origins"), "{findings}");
    }
}
