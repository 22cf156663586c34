//! Following the log: what it says is taken down, what it has lost is added again, and what nobody knows any more makes
//! everything stale that was stored before.
//!
//! Entries are a chain: each names the one before it. A break means that entries were trimmed before they were read, or
//! that a master went away and its replica, which lacked the last of them, took its place.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Fleet;
use super::breach::{self, Breach, Place};
use super::log::{Draft, Entry, LogError, Member, Muster, PAGE, State};
use super::notice::Notice;
use super::position::Position;
use crate::cache::ledger::{STRIDE, Stamp};

/// The first and the longest pause after the log could not be asked; half of each is left to chance, so that a fleet does
/// not come back all at once.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Time for adding an entry that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Purges that are added in one go: few round trips for many, and no long queue before what others ask.
const BATCH: usize = 64;

/// Where this node is in a log.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    era: u64,
    position: Position,
    /// The id of the entry that it stands behind; `None`: which one that is has to be seen.
    tail: Option<u64>,
}

pub(super) struct Follower<'a> {
    fleet: &'a Arc<Fleet>,
    cursor: Option<Cursor>,
    /// Whether the end of the log was seen: only there it is waited for more.
    is_at_end: bool,
    is_troubled: bool,
    /// What was heard of the nodes when the log had more than was read.
    unconfirmed: Option<Muster>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(fleet: &'a Arc<Fleet>) -> Self {
        Self { fleet, cursor: None, is_at_end: false, is_troubled: false, unconfirmed: None }
    }

    /// Follows for ever.
    pub(super) async fn follow(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.turn().await {
                Ok(()) => {
                    self.is_troubled = false;
                    pause = FIRST_PAUSE;
                }
                // Begun anew: the next turn takes it up.
                Err(LogError::OtherEra) => self.cursor = None,
                Err(error) => {
                    // Where Redis does not answer, its links have said so.
                    let is_said = self.is_troubled || matches!(error, LogError::Unasked | LogError::Unreachable(_));
                    if !is_said {
                        tracing::warn!("the log of purges is not followed: {error}");
                    }
                    self.is_troubled = true;
                    self.is_at_end = false;
                    tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Reads what has come, takes it down, and says so.
    pub(super) async fn turn(&mut self) -> Result<(), LogError> {
        if self.cursor.is_none() || self.is_troubled {
            // It may be another log, or a broken one: that is asked first.
            self.beat().await?;
        }
        self.hold_ledger();
        self.send_kept().await?;
        let Some(cursor) = self.cursor else { return Ok(()) };
        let moment = self.fleet.ledger.moment();
        let wait = if self.is_at_end { self.fleet.wait } else { Duration::ZERO };
        let entries = match self.fleet.log.read(cursor.position, wait).await {
            // Somebody else's entries, which no later one will make readable: another log has none of them.
            Err(LogError::Garbled(_)) => {
                self.give_up(cursor.era, self.fleet.recent.highest()).await?;
                return Ok(());
            }
            entries => entries?,
        };
        self.is_at_end = entries.len() < PAGE;
        for entry in entries {
            self.take(entry).await?;
        }
        let is_the_same = self.beat().await?;
        if self.is_at_end && is_the_same && self.fleet.ledger.era() == cursor.era {
            // Every entry that was there when it was asked for has been taken down.
            self.fleet.ledger.hear(moment);
            self.fleet.has_heard.send_if_modified(|has_heard| !std::mem::replace(has_heard, true));
        }
        Ok(())
    }

    /// Has the ledger follow the log that we do: it begins one of its own when it has no numbers left. The last one of
    /// those: what was stored under the others must not come behind what is purged from now on.
    fn hold_ledger(&self) {
        let Some(Cursor { era, position, .. }) = self.cursor else { return };
        if self.fleet.ledger.era() != era {
            let number = self.fleet.recent.highest().max(position).number() + (STRIDE - 1);
            self.fleet.ledger.adopt(Stamp { era, number });
        }
    }

    /// Adds what could not be added before, in its order.
    async fn send_kept(&mut self) -> Result<(), LogError> {
        let fleet = self.fleet;
        while let (Some(Cursor { era, .. }), false) = (self.cursor, fleet.outbox.is_empty()) {
            let drafts = fleet.outbox.oldest(BATCH);
            // Over one connection: they are added in the order in which they are asked for.
            let floor = fleet.recent.highest();
            let added = join_all(drafts.iter().map(|draft| fleet.log.append(era, floor, draft, PATIENCE))).await;
            let mut failure = None;
            for (draft, added) in drafts.into_iter().zip(added) {
                match added {
                    Ok(position) => self.sent(era, position, draft)?,
                    Err(error) => {
                        if error != LogError::Unasked {
                            fleet.outbox.may_be_there(draft.id);
                        }
                        failure.get_or_insert(error);
                    }
                }
            }
            failure.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Takes down what the log has taken at last: with the number that it gave it, it concerns all that other nodes stored
    /// without knowing of it.
    fn sent(&self, era: u64, position: Position, draft: Draft) -> Result<(), LogError> {
        let notice = Notice::decode(&draft.payload);
        self.act(Stamp { era, number: position.number() }, notice.as_ref().ok())?;
        self.fleet.recent.remember(Entry { position, id: draft.id, previous: 0, payload: draft.payload });
        self.fleet.outbox.done(draft.id);
        Ok(())
    }

    /// Says how far we are, and sees what the log is; `false`: it is another one, and was taken up.
    async fn beat(&mut self) -> Result<bool, LogError> {
        let fleet = self.fleet;
        let (era, position) = self.cursor.map_or_else(Default::default, |cursor| (cursor.era, cursor.position));
        let me = Member { name: fleet.name.clone(), era, position };
        // Before it is asked: what is added meanwhile is not missing from what it says.
        let (asked, highest) = (Instant::now(), fleet.recent.highest());
        let muster = fleet.log.beat(&me, highest).await?;
        let state = muster.state;
        fleet.roll.call(asked, muster.clone());
        match self.cursor {
            Some(cursor) if cursor.era == state.era => {
                let is_behind_us = state.last < highest
                    || (state.last == cursor.position && cursor.tail.is_some_and(|tail| tail != state.tail));
                if is_behind_us {
                    self.reconcile(state.tail, false).await?;
                } else {
                    self.unconfirmed = Some(muster);
                    self.confirm();
                }
                Ok(true)
            }
            // It would begin before purges that are known here: one of an era that was given up, and that a fail-over
            // has brought back, or one that a clock has begun that goes wrong.
            _ if state.base < highest => self.give_up(state.era, highest).await.map(|_| false),
            _ => {
                self.begin(state);
                Ok(false)
            }
        }
    }

    /// Takes down where the nodes were, once all that the log had then was read.
    fn confirm(&mut self) {
        let Some(cursor) = self.cursor else { return };
        let is_read =
            |muster: &mut Muster| muster.state.last == cursor.position && cursor.tail == Some(muster.state.tail);
        if let Some(muster) = self.unconfirmed.take_if(is_read) {
            self.fleet.roll.confirm(muster.members);
        }
    }

    /// Takes up a log at its beginning.
    fn begin(&mut self, state: State) {
        let fleet = self.fleet;
        self.unconfirmed = None;
        if fleet.place().is_some() {
            fleet.metrics.lost.inc();
            fleet.roll.is_incomplete_for(fleet.max_lag);
            tracing::warn!(
                "the log of purges is another one: everything stored so far is revalidated before it is used"
            );
        }
        fleet.ledger.adopt(Stamp { era: state.era, number: state.base.number() });
        fleet.recent.forget();
        fleet.recent.raise(state.base);
        self.cursor = Some(Cursor { era: state.era, position: state.base, tail: Some(0) });
        self.is_at_end = false;
        fleet.set_place(Some((state.era, state.base)));
    }

    /// Takes one entry down.
    async fn take(&mut self, entry: Entry) -> Result<(), LogError> {
        let fleet = self.fleet;
        let Some(cursor) = self.cursor else { return Err(LogError::OtherEra) };
        let stamp = Stamp { era: cursor.era, number: entry.position.number() };
        // What this node added since it read last must come before what stands behind it.
        let is_missing = fleet.recent.holds_between(cursor.position, entry.position);
        if (is_missing || cursor.tail.is_some_and(|tail| tail != entry.previous))
            && self.reconcile(entry.previous, true).await? == Break::Trimmed
        {
            fleet.metrics.trimmed.inc();
            tracing::warn!("the log of purges was trimmed before it was read: what was stored before is revalidated");
            fleet.ledger.doubt(stamp).map_err(|_| LogError::OtherEra)?;
        }
        if !fleet.recent.holds(&entry) {
            let notice = Notice::decode(&entry.payload);
            if let Err(error) = &notice {
                tracing::warn!("an entry of the log of purges cannot be read, and may name anything: {error}");
            }
            self.act(stamp, notice.as_ref().ok())?;
        }
        let (position, tail) = (entry.position, Some(entry.id));
        self.cursor = Some(Cursor { position, tail, ..cursor });
        fleet.recent.remember(entry);
        fleet.set_place(Some((cursor.era, position)));
        self.confirm();
        Ok(())
    }

    /// Takes down what an entry says; `None`: that cannot be read.
    fn act(&self, stamp: Stamp, notice: Option<&Notice>) -> Result<(), LogError> {
        let ledger = &self.fleet.ledger;
        let done = match notice {
            Some(notice) => self.fleet.take_down(stamp, notice),
            None => ledger.doubt(stamp),
        };
        // The ledger has begun an era of its own meanwhile: the next turn has it come back.
        done.map_err(|_| LogError::Garbled("its numbers while the ledger had none left"))
    }

    /// The log does not go on where we are: holds what it has against what we know. `previous`: the id that stands before
    /// what it has next; zero where that is its first. `is_read_on`: something stands behind where we are.
    ///
    /// # Errors
    ///
    /// It has something that we should have read and did not, or lacks more than we know: it is given up, and everybody
    /// takes up another one.
    async fn reconcile(&mut self, previous: u64, is_read_on: bool) -> Result<Break, LogError> {
        let fleet = self.fleet;
        let Some(cursor) = self.cursor else { return Err(LogError::OtherEra) };
        let (known, is_all) = fleet.recent.all();
        let highest = fleet.recent.highest().max(cursor.position);
        let first = known.first().map_or(cursor.position, |entry| entry.position.min(cursor.position));
        let stored = fleet.log.between(first, highest).await?;
        let is_anything_there = stored.first().is_some_and(|entry| entry.position <= cursor.position);
        let older = if is_anything_there { None } else { fleet.log.between(Position::default(), first).await?.pop() };
        let at = Place { position: cursor.position, previous, is_read_on };
        match breach::find((&known, is_all), older.as_ref(), &stored, at) {
            Breach::Trimmed => Ok(Break::Trimmed),
            Breach::Lost(lost) => {
                self.add_again(lost).await?;
                self.cursor = Some(Cursor { tail: None, ..cursor });
                Ok(Break::Mended)
            }
            Breach::Unknown => self.give_up(cursor.era, highest).await,
        }
    }

    async fn give_up(&self, era: u64, floor: Position) -> Result<Break, LogError> {
        self.fleet.log.renew(era, floor).await?;
        Err(LogError::OtherEra)
    }

    /// Adds what a fail-over took from the log, behind all that anybody knows. Others may do the same: each is added once.
    async fn add_again(&self, lost: Vec<Entry>) -> Result<(), LogError> {
        let (fleet, count) = (self.fleet, lost.len());
        tracing::warn!(count, "the log of purges has lost its end: what this node knows of it is added again");
        for entry in lost {
            let Some(Cursor { era, position, .. }) = self.cursor else { return Err(LogError::OtherEra) };
            let draft = Draft { id: entry.id, payload: entry.payload.clone(), again: true };
            let floor = fleet.recent.highest().max(position);
            let position = fleet.log.append(era, floor, &draft, PATIENCE).await?;
            // With its new number, too: where two masters took purges for a while, others may have numbers between the two
            // and know nothing of it.
            let notice = Notice::decode(&entry.payload);
            self.act(Stamp { era, number: position.number() }, notice.as_ref().ok())?;
            fleet.recent.remember(Entry { position, previous: 0, ..entry });
            fleet.metrics.readded.inc();
        }
        Ok(())
    }
}

/// Why the log did not go on where we were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// What stood there was trimmed before it was read.
    Trimmed,
    /// It had lost its end, and has it again.
    Mended,
}
