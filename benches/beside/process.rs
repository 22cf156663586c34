//! How are programs started on a core of their own, and how do all of them end, whatever happens?

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Failure, cpu};

/// How long a server gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// What has to end and go if we are told to end: process ids, and folders.
static HELD: Mutex<(Vec<u32>, Vec<PathBuf>)> = Mutex::new((Vec::new(), Vec::new()));

fn held(change: impl FnOnce(&mut Vec<u32>, &mut Vec<PathBuf>)) {
    let mut held = HELD.lock().expect("nobody panics in here");
    let (ids, folders) = &mut *held;
    change(ids, folders);
}

/// Ends everything that we started, by its id, when a signal ends us.
pub(crate) fn end_with_signals() {
    thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let take = |kind| signal(kind).expect("signals can be taken");
            let mut kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(take);
            let [interrupt, terminate, hangup] = &mut kinds;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        held(|ids, folders| {
            for id in ids.iter() {
                end(*id);
            }
            for folder in folders.iter() {
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(130);
        });
    });
}

/// A folder of ours, gone when dropped, or when a signal ends us.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// In memory where the machine has a file system for that: no peer is to wait for a disk.
    pub(crate) fn new() -> Result<Self, Failure> {
        let shared = Path::new("/dev/shm");
        let parent = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("larder-beside-").tempdir_in(parent)?;
        held(|_, folders| folders.push(folder.path().to_owned()));
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A server; ended when dropped.
pub(crate) struct Running {
    child: Child,
}

/// A command whose program runs on these cores, and ends when we do, however we end.
fn on_cores(cores: &str, program: &OsStr) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores, "setpriv", "--pdeathsig", "TERM"]).arg(program);
    command
}

impl Running {
    /// Starts `program` on these cores; `prepare` adds arguments and says where its output goes.
    pub(crate) fn start(cores: &str, program: &OsStr, prepare: impl FnOnce(&mut Command)) -> Result<Self, Failure> {
        let mut command = on_cores(cores, program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        prepare(&mut command);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        held(|ids, _| ids.push(child.id()));
        Ok(Self { child })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.child.id();
        if !self.has_ended() {
            end(id);
        }
        let _ = self.child.wait();
        held(|ids, _| ids.retain(|held| *held != id));
    }
}

/// Asks a process to end, and ends it and its descendants where it does not.
fn end(id: u32) {
    let family = cpu::descendants(id);
    send(id, Signal::TERM);
    let begun = Instant::now();
    while family.iter().any(|id| is_alive(*id)) && begun.elapsed() < GRACE {
        thread::sleep(Duration::from_millis(5));
    }
    family.iter().filter(|id| is_alive(**id)).for_each(|id| send(*id, Signal::KILL));
}

fn send(id: u32, signal: Signal) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended in between.
        let _ = kill_process(id, signal);
    }
}

/// Whether it runs; one that has ended and was not waited for does not.
fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Runs a program on a core until it ends; what it wrote.
pub(crate) fn output(core: usize, program: &str, arguments: &[String]) -> Result<String, Failure> {
    let mut command = on_cores(&core.to_string(), OsStr::new(program));
    let child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let id = child.id();
    held(|ids, _| ids.push(id));
    let ended = child.wait_with_output();
    held(|ids, _| ids.retain(|held| *held != id));
    let Output { status, stdout, stderr } = ended?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(text);
    }
    Err(format!("{program} {} ended with {status}:\n{text}{}", arguments.join(" "), String::from_utf8_lossy(&stderr))
        .into())
}

/// Whether a program is there.
pub(crate) fn is_installed(program: &str) -> bool {
    // Where servers are, and the paths of users often lead not.
    let places = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    std::env::split_paths(&places).any(|place| place.join(program).is_file())
}
