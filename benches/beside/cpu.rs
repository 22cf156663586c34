//! Which cores are whose, and what has a process used of its own?

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use crate::Failure;

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, 100 on every Linux that Larder runs on.
const TICKS: f64 = 100.0;

/// Which cores servers and load have.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    /// The one core of whoever is measured.
    pub(crate) server: usize,
    /// That of the load generator, of the origin, and of this process.
    pub(crate) load: usize,
    /// A second one for the server, where there are three.
    pub(crate) second: Option<usize>,
}

impl Cores {
    /// The first of the cores that we may use for the server, the last for the load.
    pub(crate) fn divide() -> Result<Self, Failure> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).ok_or("no list of cores")?;
        let mut cores = Vec::new();
        for range in list.trim().split(',') {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            cores.extend(from.parse::<usize>()?..=to.parse()?);
        }
        let (Some(&server), Some(&load)) = (cores.first(), cores.last()) else { return Err("no cores".into()) };
        let second = (cores.len() > 2).then(|| cores[1]);
        Ok(Self { server, load, second })
    }

    /// Moves this process to the core of the load; threads and programs that it starts are born there.
    pub(crate) fn take_the_load(self) -> Result<(), Failure> {
        let (core, own) = (self.load.to_string(), std::process::id().to_string());
        let moved = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &core, &own]).output()?;
        if moved.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&moved.stderr).into()) }
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

/// A line of `/proc/PID/stat`; the name in parentheses may hold anything.
fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    // utime, stime, and those of children that have ended and were waited for.
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}

/// The process, and all that descend from it, with what each has used.
fn family(root: u32) -> HashMap<u32, u64> {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: HashMap<u32, Stat> = ids
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, stat(id)?)))
        .collect();
    let belongs = |mut id: u32| loop {
        if id == root {
            return true;
        }
        match all.get(&id) {
            Some(stat) => id = stat.parent,
            None => return false,
        }
    };
    all.iter().filter(|(id, _)| belongs(**id)).map(|(id, stat)| (*id, stat.ticks)).collect()
}

/// The process and its descendants.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    family(root).into_keys().collect()
}

/// Processor seconds of a process and its descendants so far.
pub(crate) fn seconds(root: u32) -> f64 {
    family(root).into_values().sum::<u64>() as f64 / TICKS
}

/// Resident bytes of a process.
pub(crate) fn resident(id: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("the process has ended")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
