//! When is the configuration to be read again?
//!
//! On SIGHUP, and when the text of the file is another one. Who watches folders misses changes (network file systems,
//! bind mounts, a folder that is itself replaced), so we look at the file every two seconds, too: the events of the
//! system only make it quicker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Loaded, Source, bytes_of, fingerprint};

/// How often the file is looked at without being told: with what follows, well within the 5 s that are promised.
const POLL: Duration = Duration::from_secs(2);
/// How long nothing must happen before the file is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// How long we wait for quiet at most: somebody may write into the folder all the time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Links that are followed from the file's name to the file.
const HOPS: usize = 8;

/// Why the configuration is to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// The file has another text.
    Changed,
}

/// Tells when the configuration is to be read again. Whoever has it reads and applies.
#[derive(Debug)]
pub struct Watcher {
    triggers: mpsc::Receiver<Trigger>,
}

impl Watcher {
    /// Begins to watch what `loaded` was read from. The task ends with `stop`, or when the watcher is dropped.
    ///
    /// # Errors
    ///
    /// When SIGHUP cannot be taken. A folder that cannot be watched is no error: the file is looked at regularly.
    pub fn start(
        source: &Source,
        loaded: &Loaded,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        Self::start_with(source, loaded, tasks, stop, System { poll: POLL, events: true, signal: SignalKind::hangup() })
    }

    fn start_with(
        source: &Source,
        loaded: &Loaded,
        tasks: &TaskTracker,
        stop: CancellationToken,
        system: System,
    ) -> std::io::Result<Self> {
        let hangup = signal(system.signal)?;
        // One: a trigger that waits to be taken stands for all that come after it, for the file is read when it is.
        let (sender, triggers) = mpsc::channel(1);
        // One: to be woken twice is to be woken.
        let (wake, woken) = mpsc::channel(1);
        let watching = source.file.as_deref().filter(|_| system.events).and_then(|file| watch(file, wake.clone()));
        let watch = Watch { file: source.file.clone(), seen: Some(loaded.fingerprint), sender };
        tasks.spawn(async move {
            // What watches, and one sender so that the channel stays open without it, live as long as the task.
            let _held = (watching, wake);
            watch.run(hangup, woken, system.poll, stop).await;
        });
        Ok(Self { triggers })
    }

    /// Waits for the next reason to read the configuration again; `None`: watching has ended. Safe to cancel.
    pub async fn next(&mut self) -> Option<Trigger> {
        self.triggers.recv().await
    }
}

/// How the file is watched.
#[derive(Debug, Clone, Copy)]
struct System {
    /// Time between two looks.
    poll: Duration,
    /// Whether the system's events are asked for.
    events: bool,
    /// The signal that asks for a reload.
    signal: SignalKind,
}

/// The task behind a watcher.
struct Watch {
    file: Option<PathBuf>,
    /// What the file's text was when it was last read or told of.
    seen: Option<u64>,
    sender: mpsc::Sender<Trigger>,
}

impl Watch {
    async fn run(mut self, mut hangup: Signal, mut woken: mpsc::Receiver<()>, poll: Duration, stop: CancellationToken) {
        let mut looks = interval_at(Instant::now() + poll, poll);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sender.closed() => return,
                Some(()) = hangup.recv() => {
                    self.seen = self.look().await.or(self.seen);
                    self.tell(Trigger::Signal);
                }
                Some(()) = woken.recv() => {
                    settle(&mut woken).await;
                    self.compare().await;
                }
                _ = looks.tick() => self.compare().await,
            }
        }
    }

    /// Tells of another text. A file that is not there for a moment, while it is replaced, is no change.
    async fn compare(&mut self) {
        let found = self.look().await;
        if found.is_some() && found != self.seen {
            self.seen = found;
            self.tell(Trigger::Changed);
        }
    }

    fn tell(&self, trigger: Trigger) {
        // Full: one waits already, and reads what is there when it is taken.
        let _ = self.sender.try_send(trigger);
    }

    async fn look(&self) -> Option<u64> {
        let file = self.file.clone()?;
        // In one go: each step of a file that is read bit by bit is a thread's.
        let bytes = tokio::task::spawn_blocking(move || bytes_of(&file)).await.ok()?.ok()?;
        Some(fingerprint(&bytes))
    }
}

/// Waits until nothing has happened for a while, but not for ever.
async fn settle(woken: &mut mpsc::Receiver<()>) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && timeout(QUIET, woken.recv()).await.is_ok() {}
}

/// Asks the system for events in every folder on the way to the file; `None`: it cannot.
///
/// Folders, not the file: editors and configuration maps replace the file, and a watch would stay with the old one.
fn watch(file: &Path, wake: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event| {
        if may_be_a_change(&event) {
            let _ = wake.try_send(());
        }
    })
    .ok()?;
    for folder in folders(file) {
        notify::Watcher::watch(&mut watcher, &folder, RecursiveMode::NonRecursive).ok()?;
    }
    Some(watcher)
}

/// Whether something may have changed. Of reading there are events, too: to wake for our own would have no end.
fn may_be_a_change(event: &notify::Result<Event>) -> bool {
    let kind = event.as_ref().map_or(EventKind::Any, |event| event.kind);
    !kind.is_access() || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// The folders that hold the file's name, and those of what it links to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut name = file.to_path_buf();
    for _ in 0..HOPS {
        let folder = match name.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let target = std::fs::read_link(&name).ok().map(|target| folder.join(target));
        folders.push(folder);
        match target {
            Some(target) => name = target,
            None => break,
        }
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use std::os::unix::fs::symlink;

    /// Far longer than anything takes; only a failure waits for it.
    const DEADLINE: Duration = Duration::from_secs(20);
    const EVENTS: System = System { poll: Duration::from_hours(1), events: true, signal: SignalKind::hangup() };
    const POLLING: System = System { poll: Duration::from_millis(20), events: false, signal: SignalKind::hangup() };

    fn text(port: u16) -> String {
        format!("[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:{port}\"]\n")
    }

    struct Watched {
        watcher: Watcher,
        tasks: TaskTracker,
        stop: CancellationToken,
    }

    fn watched(file: &Path, system: System) -> Watched {
        let source = Source { file: Some(file.to_owned()), ..Source::default() };
        let loaded = source.load().expect("a valid file");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let watcher = Watcher::start_with(&source, &loaded, &tasks, stop.clone(), system).expect("SIGHUP can be taken");
        Watched { watcher, tasks, stop }
    }

    impl Watched {
        async fn next(&mut self) -> Option<Trigger> {
            timeout(DEADLINE, self.watcher.next()).await.expect("told within the deadline")
        }

        async fn end(self) {
            self.stop.cancel();
            self.tasks.close();
            timeout(DEADLINE, self.tasks.wait()).await.expect("the task ends with the token");
        }
    }

    #[tokio::test]
    async fn whoever_reads_a_file_wakes_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, text(1)).expect("a file");
        let (wake, mut woken) = mpsc::channel(1);
        let _watching = watch(&file, wake).expect("events");
        for _ in 0..3 {
            std::fs::read(&file).expect("the file");
        }
        timeout(QUIET, woken.recv()).await.expect_err("nothing has changed");
        std::fs::write(&file, text(2)).expect("the file");
        timeout(DEADLINE, woken.recv()).await.expect("woken by the writing");
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_noticed() {
        type Change = fn(&Path, &Path);
        let cases: [(Change, &str); 3] = [
            (|_, file| std::fs::write(file, text(2)).unwrap(), "written in place"),
            (
                |folder, file| {
                    std::fs::write(folder.join("new"), text(2)).unwrap();
                    std::fs::rename(folder.join("new"), file).unwrap();
                },
                "replaced by another file, as editors do",
            ),
            (
                |folder, file| {
                    std::fs::remove_file(file).unwrap();
                    std::fs::write(folder.join("real"), text(2)).unwrap();
                    symlink("real", file).unwrap();
                },
                "replaced by a link",
            ),
        ];
        for (change, why) in cases {
            for system in [EVENTS, POLLING] {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("proxy.toml");
                std::fs::write(&file, text(1)).unwrap();
                let mut watched = watched(&file, system);
                change(folder.path(), &file);
                assert_eq!(watched.next().await, Some(Trigger::Changed), "{why}, {system:?}");
                let port =
                    load(&file, &crate::config::Environment::default()).unwrap().settings.origins[0].urls[0].port;
                assert_eq!(port, 2, "{why}, {system:?}: the new text is there when we are told");
                watched.end().await;
            }
        }
    }

    #[tokio::test]
    async fn a_configuration_map_is_swapped_by_its_folder() {
        // As Kubernetes does: proxy.toml -> ..data/proxy.toml, ..data -> ..1, and ..data is renamed over.
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (version, port) in [("..1", 1), ("..2", 2)] {
            std::fs::create_dir(root.join(version)).unwrap();
            std::fs::write(root.join(version).join("proxy.toml"), text(port)).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/proxy.toml", root.join("proxy.toml")).unwrap();
        let mut watched = watched(&root.join("proxy.toml"), EVENTS);
        symlink("..2", root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        assert_eq!(watched.next().await, Some(Trigger::Changed));
        watched.end().await;
    }

    #[tokio::test]
    async fn the_signal_asks_for_a_reload_though_nothing_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, text(1)).unwrap();
        // Another signal stands in: a real SIGHUP would reach the watchers of all tests in this process.
        let mut watched = watched(&file, System { signal: SignalKind::user_defined2(), ..EVENTS });
        let kill = format!("kill -USR2 {}", std::process::id());
        let sent = std::process::Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("kill runs").success());
        assert_eq!(watched.next().await, Some(Trigger::Signal));
        watched.end().await;
    }

    #[tokio::test]
    async fn a_file_that_was_only_touched_or_is_missing_for_a_moment_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, text(1)).unwrap();
        let (sender, mut triggers) = mpsc::channel(1);
        let seen = Some(fingerprint(text(1).as_bytes()));
        let mut watch = Watch { file: Some(file.clone()), seen, sender };
        let mut told = async |step: &str| {
            watch.compare().await;
            (triggers.try_recv().ok(), step.to_owned())
        };
        std::fs::write(&file, text(1)).unwrap();
        assert_eq!(told("touched").await, (None, "touched".to_owned()));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(told("missing").await, (None, "missing".to_owned()));
        std::fs::write(&file, text(1)).unwrap();
        assert_eq!(told("back").await, (None, "back".to_owned()));
        std::fs::write(&file, text(2)).unwrap();
        assert_eq!(told("changed").await, (Some(Trigger::Changed), "changed".to_owned()));
    }
}
