//! One ring, its producers and consumers, and the parent that kills them and checks what is left.

use std::collections::{BTreeSet, VecDeque};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use aether_ipc::{Buffer, Error, Info, Observer, recovery};
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Kind, Ring};
use crate::journal::{self, Entry};
use crate::ledger::Ledger;

/// No wait here ends by it unless something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rings: u64,
    pub(crate) producer_kills: u64,
    pub(crate) consumer_kills: u64,
    /// Kills among those above, before the process had its role.
    pub(crate) early_kills: u64,
    pub(crate) pauses: u64,
    /// Attempts to take a role that was held.
    pub(crate) refusals: u64,
    pub(crate) committed: u64,
    pub(crate) bytes: u64,
    pub(crate) laps: u64,
    /// Messages under way when their producer was killed.
    pub(crate) survived: u64,
    pub(crate) vanished: u64,
    pub(crate) redelivered: u64,
    /// Messages overwritten in rings that drop the oldest, and reported.
    pub(crate) dropped: u64,
}

impl Figures {
    pub(crate) fn kills(&self) -> u64 {
        self.producer_kills + self.consumer_kills
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    /// By its number in the ledger.
    Consumer(usize),
}

pub(crate) struct Trial<'a> {
    ring: Ring,
    payload_max: u64,
    seed: u64,
    rng: Rng,
    /// Serial numbers are unique over all trials.
    serial: &'a mut u32,
    figures: &'a mut Figures,
    ledger: Ledger,
    running: Vec<Running>,
    /// Lanes of dead producers, of which it is not known yet how much they had committed.
    open: BTreeSet<u32>,
    /// Consumers that have had their role once: from then on their places are kept.
    established: Vec<bool>,
    /// Whether consumers merge lanes by id. Without a shared sequence, such a consumer waits for the producer of an
    /// empty lane; with others beside it, that one may in turn wait for a consumer that waits for this one's lanes.
    by_id: bool,
    /// Whether every wait sleeps, and so has to be woken; otherwise each process waits in a way of its own.
    pub(crate) park: bool,
    sender: SyncSender<(u32, Event)>,
    events: Receiver<(u32, Event)>,
}

enum Event {
    Entries(Vec<Entry>),
    End(Result<(), String>),
}

struct Running {
    serial: u32,
    role: Role,
    process: Child,
    /// A living producer's, once it has one.
    lane: Option<u32>,
    ready: bool,
    /// Has committed or received something.
    active: bool,
    pending: VecDeque<Entry>,
    ended: bool,
    /// Is meant to die.
    doomed: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it is dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        ring: Ring,
        payload_max: u64,
        seed: u64,
        serial: &'a mut u32,
        figures: &'a mut Figures,
    ) -> Trial<'a> {
        let (sender, events) = sync_channel(64);
        let durable = durable(&ring);
        figures.rings += 1;
        let mut rng = Rng::with_seed(seed ^ u64::from(*serial));
        let by_id = rng.bool() && (ring.consumers == 1 || ring.kind == Kind::Sequence);
        Trial {
            ledger: Ledger::new(ring.producers, durable, ring.kind == Kind::Checksums),
            rng,
            by_id,
            park: false,
            established: vec![false; durable],
            running: Vec::new(),
            open: BTreeSet::new(),
            ring,
            payload_max,
            seed,
            serial,
            figures,
            sender,
            events,
        }
    }

    /// Kills about `kills` times, then lets everything that was committed be received.
    pub(crate) fn run(&mut self, kills: u64) -> Result<()> {
        let last = self.figures.kills() + kills;
        self.be_born()?;
        while self.figures.kills() < last {
            self.revive()?;
            self.round()?;
        }
        self.finish()
    }

    /// The consumers that keep their places come first, so that every message is meant for all of them. The ring is
    /// made meanwhile, by whoever is first, and some die of that too.
    fn be_born(&mut self) -> Result<()> {
        for _ in 0..self.rng.u8(..3) {
            for consumer in 0..self.established.len() {
                self.spawn(Role::Consumer(consumer), None)?;
            }
            self.pump_at_most(4_000)?;
            self.kill(|_| true)?;
        }
        self.settle_in()
    }

    pub(crate) fn settle_in(&mut self) -> Result<()> {
        for consumer in 0..self.established.len() {
            if !self.running.iter().any(|child| child.role == Role::Consumer(consumer)) {
                self.spawn(Role::Consumer(consumer), None)?;
            }
        }
        self.pump_until("a role", |trial| trial.running.iter().all(|child| child.ready))
    }

    /// Whoever is missing comes back.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let mut wanted = vec![(Role::Producer, self.ring.producers as usize)];
        // More than the durable ones: the last place is for a passing consumer.
        wanted.extend((0..self.ring.consumers as usize).map(|consumer| (Role::Consumer(consumer), 1)));
        for (role, wanted) in wanted {
            let there = self.running.iter().filter(|child| child.role == role).count();
            for _ in there..wanted {
                self.spawn(role, None)?;
            }
        }
        Ok(())
    }

    #[cfg(feature = "aimed")]
    pub(crate) fn kill_all_of(&mut self, role: Role) -> Result<()> {
        self.kill(|child| child.role == role)
    }

    /// One of that role is replaced by one that dies at a step of the protocol. Whether it came as far as that.
    #[cfg(feature = "aimed")]
    pub(crate) fn aim(&mut self, role: Role, step: &str, passes: u64) -> Result<bool> {
        if let Some(old) = self.running.iter().find(|child| child.role == role).map(|child| child.serial) {
            self.kill(|child| child.serial == old)?;
        }
        let serial = self.spawn(role, Some(&format!("{step}:{passes}")))?;
        let ended = |trial: &Trial<'_>| trial.running.iter().any(|child| child.serial == serial && child.ended);
        if self.pump_within(Duration::from_secs(1), ended)? {
            self.bury(|child| child.serial == serial)?;
            return Ok(true);
        }
        self.kill(|child| child.serial == serial)?;
        Ok(false)
    }

    /// Everybody has a role, and messages pass.
    pub(crate) fn flow(&mut self) -> Result<()> {
        self.pump_until("a role for everybody, at once after the last holder's death", |trial| {
            trial.running.iter().all(|child| child.ready)
        })?;
        self.pump_until("messages to pass again", |trial| {
            let active = |child: &Running| child.active;
            // With many lanes, consumers that take the smallest ids first may well leave all but one waiting.
            trial.running.iter().any(|child| child.role == Role::Producer && active(child))
                && trial.running.iter().filter(|child| child.role != Role::Producer).all(active)
        })
    }

    fn round(&mut self) -> Result<()> {
        if self.rng.u8(..4) == 0 {
            // While they open the file, or take their roles.
            self.pump_at_most(3_000)?;
        } else {
            self.flow()?;
            if self.rng.u8(..8) == 0 {
                self.try_held_roles()?;
            }
            self.pump_at_most(25_000)?;
        }
        let stopped = if self.rng.u8(..4) == 0 { Some(self.pause()?) } else { None };
        let one = self.running[self.rng.usize(..self.running.len())].serial;
        let other = self.running[self.rng.usize(..self.running.len())].serial;
        match self.rng.u8(..8) {
            0 => self.kill(|_| true)?,
            1 | 2 => self.kill(|child| child.serial == one || child.serial == other)?,
            _ => self.kill(|child| child.serial == one)?,
        }
        match self.running.iter().find(|child| Some(child.serial) == stopped) {
            Some(child) => Ok(kill_process(Pid::from_child(&child.process), Signal::CONT)?),
            None => Ok(()),
        }
    }

    /// Stops one for a while. Half of the time it goes on; otherwise others may be killed while it stands, or itself.
    fn pause(&mut self) -> Result<u32> {
        let child = &self.running[self.rng.usize(..self.running.len())];
        let (serial, pid) = (child.serial, Pid::from_child(&child.process));
        kill_process(pid, Signal::STOP)?;
        self.figures.pauses += 1;
        self.pump_at_most(10_000)?;
        if self.rng.bool() {
            kill_process(pid, Signal::CONT)?;
            self.flow()?;
        }
        Ok(serial)
    }

    /// Roles that are held are refused, with the holder's process id.
    fn try_held_roles(&mut self) -> Result<()> {
        let buffer = Buffer::open(&self.ring.path)?;
        let pids = |role: fn(Role) -> bool| -> Vec<u32> {
            let of = self.running.iter().filter(|child| role(child.role));
            of.map(|child| child.process.id()).collect()
        };
        let mut attempts = vec![("producer", buffer.producer().err(), pids(|role| role == Role::Producer))];
        if self.ring.consumers == 1 {
            attempts.push(("consumer", buffer.consumer().err(), pids(|role| role != Role::Producer)));
        }
        for (role, error, mut pids) in attempts {
            let Some(Error::RoleTaken { mut holders, .. }) = error else {
                bail!("a second {role} was let in, or refused for another reason: {error:?}");
            };
            holders.sort_unstable();
            pids.sort_unstable();
            if holders != pids {
                bail!("the {role} role is held by processes {pids:?}, and the error names {holders:?}");
            }
            self.figures.refusals += 1;
        }
        Ok(())
    }

    /// Producers are killed, the rest is received; the ring is then empty and sound.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let before = (self.figures.producer_kills, self.figures.consumer_kills, self.figures.early_kills);
        let durable = self.established.len();
        self.kill(|child| child.role == Role::Producer || child.role == Role::Consumer(durable))?;
        self.settle_in()?;
        self.pump_until("every message that was committed to be received", |trial| trial.ledger.waiting() == 0)?;
        self.kill(|_| true)?;
        // These were no random moments.
        (self.figures.producer_kills, self.figures.consumer_kills, self.figures.early_kills) = before;
        self.figures.committed += self.ledger.total();
        self.figures.bytes += self.ledger.bytes();
        self.figures.laps += self.ledger.bytes() / self.ring.capacity / u64::from(self.ring.producers);
        Ok(())
    }

    fn spawn(&mut self, role: Role, die_at: Option<&str>) -> Result<u32> {
        *self.serial += 1;
        let serial = *self.serial;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(if role == Role::Producer { "produce" } else { "consume" });
        command.args(self.ring.arguments());
        command.arg(format!("--serial={serial}"));
        command.arg(format!("--seed={}", self.seed));
        command.arg(format!("--payload-max={}", self.payload_max));
        if self.park {
            command.arg("--park");
        }
        if let Role::Consumer(consumer) = role {
            if self.by_id {
                command.arg("--by-id");
            }
            if consumer == self.established.len() {
                self.ledger.joins(consumer);
            } else if self.ring.consumers > 1 {
                command.arg(format!("--name={}", name(consumer)));
            }
        }
        command.env_remove("AETHER_DIE_AT");
        if let Some(die_at) = die_at {
            command.env("AETHER_DIE_AT", die_at);
        }
        // The child ends when its standard input does.
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting a child")?;
        let pipe = process.stdout.take().context("a child has no output")?;
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let end = journal::read(pipe, |entries| {
                // Fails when the trial is over, and nobody wants to know.
                let _ = sender.send((serial, Event::Entries(entries)));
            });
            let _ = sender.send((serial, Event::End(end)));
        });
        self.running.push(Running {
            serial,
            role,
            process,
            lane: None,
            ready: false,
            active: false,
            pending: VecDeque::new(),
            ended: false,
            doomed: die_at.is_some(),
        });
        Ok(serial)
    }

    /// Kills those chosen at once, reads what they had to say, and checks what they left.
    fn kill(&mut self, chosen: impl Fn(&Running) -> bool) -> Result<()> {
        for child in self.running.iter_mut().filter(|child| chosen(child)) {
            child.doomed = true;
            child.process.kill()?;
        }
        self.bury(chosen)
    }

    fn bury(&mut self, chosen: impl Fn(&Running) -> bool) -> Result<()> {
        self.pump_until("the journals of the dead", |trial| {
            trial.running.iter().filter(|child| chosen(child)).all(|child| child.ended && child.pending.is_empty())
        })?;
        let (mut dead, living): (Vec<_>, Vec<_>) = self.running.drain(..).partition(&chosen);
        self.running = living;
        for child in &mut dead {
            killed(child.process.wait()?)?;
            match child.role {
                Role::Producer => self.figures.producer_kills += 1,
                Role::Consumer(_) => self.figures.consumer_kills += 1,
            }
            self.figures.early_kills += u64::from(!child.ready);
        }
        self.look_at(&dead)
    }

    fn look_at(&mut self, dead: &[Running]) -> Result<()> {
        let observer = match Observer::open(&self.ring.path) {
            Ok(observer) => observer,
            Err(Error::NotFound { .. }) if !self.established.contains(&true) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let info = observer.info()?;
        for lane in self.open.clone() {
            let found = &info.lanes[lane as usize];
            match found.producer {
                None => self.cut(lane, found.write_cursor)?,
                // One that was about to start may have it already, and will say where it found the cursor.
                Some(_) if self.running.iter().any(|child| child.role == Role::Producer && !child.ready) => {}
                Some(pid) => bail!("the producer of lane {lane} is dead, and its role is held by process {pid}"),
            }
        }
        for child in dead {
            if let Role::Consumer(consumer) = child.role {
                self.consumer_died(consumer, &info)?;
            }
        }
        if self.running.is_empty() {
            self.verify(&observer)?;
        }
        Ok(())
    }

    /// The write cursor as the last producer of the lane left it.
    fn cut(&mut self, lane: u32, write_cursor: u64) -> Result<()> {
        let cut = self.ledger.producer_died(lane, write_cursor)?;
        self.figures.survived += cut.survived;
        self.figures.vanished += cut.vanished;
        self.open.remove(&lane);
        Ok(())
    }

    fn consumer_died(&mut self, consumer: usize, info: &Info) -> Result<()> {
        if consumer == self.established.len() {
            self.ledger.left(consumer);
            return Ok(());
        }
        if !self.established[consumer] {
            return Ok(());
        }
        let mine = |found: &&aether_ipc::ConsumerInfo| {
            self.ring.consumers == 1 || found.name.as_deref() == Some(name(consumer).as_str())
        };
        let found = info.consumers.iter().find(mine).with_context(|| format!("consumer {consumer} lost its place"))?;
        if let Some(pid) = found.holder {
            bail!("consumer {consumer} is dead, and its role is held by process {pid}");
        }
        self.figures.redelivered += self.ledger.consumer_died(consumer, &found.read_cursors)?;
        Ok(())
    }

    /// With everybody dead, the file is sound, and holds what is to come.
    fn verify(&mut self, observer: &Observer) -> Result<()> {
        let report = recovery::verify(&self.ring.path)?;
        if !report.problems.is_empty() {
            bail!("the file is not sound: {:?}", report.problems);
        }
        // A passing consumer's place, and what was overwritten, make for another count.
        if self.ring.consumers == self.established.len() as u32 && self.ring.kind != Kind::Lossy {
            let waiting = self.ledger.waiting();
            let counted = observer.count_messages()?;
            if [counted, report.messages] != [waiting; 2] {
                bail!("{waiting} messages wait; the observer counts {counted}, and verify {}", report.messages);
            }
        }
        Ok(())
    }

    /// For a random time.
    fn pump_at_most(&mut self, micros: u64) -> Result<()> {
        let end = Instant::now() + Duration::from_micros(self.rng.u64(..micros));
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.pump(left)?;
        }
        Ok(())
    }

    fn pump_until(&mut self, what: &str, done: impl Fn(&Trial<'_>) -> bool) -> Result<()> {
        if !self.pump_within(PATIENCE, done)? {
            bail!("waited {PATIENCE:?} for {what}");
        }
        Ok(())
    }

    /// Whether it came about in time.
    fn pump_within(&mut self, time: Duration, done: impl Fn(&Trial<'_>) -> bool) -> Result<bool> {
        let end = Instant::now() + time;
        while !done(self) {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return Ok(false) };
            self.pump(left)?;
        }
        Ok(true)
    }

    /// Who is there, and where the cursors are.
    pub(crate) fn standing(&self) -> String {
        let mut text = String::new();
        for Running { serial, role, lane, ready, active, ended, pending, .. } in &self.running {
            text += &format!(
                "\n  {serial} {role:?}, lane {lane:?}, ready {ready}, active {active}, ended {ended}, next {:?}",
                pending.front()
            );
        }
        match Observer::open(&self.ring.path).and_then(|observer| observer.info()) {
            Ok(info) => text + &format!("\n  {:?}\n  {:?}", info.lanes, info.consumers),
            Err(error) => text + &format!("\n  {error}"),
        }
    }

    /// Waits for one more piece of a journal and checks what it says.
    fn pump(&mut self, longest: Duration) -> Result<()> {
        let (serial, event) = match self.events.recv_timeout(longest) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("the journals are closed"),
        };
        let Some(child) = self.running.iter_mut().find(|child| child.serial == serial) else { return Ok(()) };
        match event {
            Event::Entries(entries) => child.pending.extend(entries),
            Event::End(end) => {
                end.map_err(anyhow::Error::msg)?;
                child.ended = true;
                if !child.doomed {
                    let status = child.process.wait()?;
                    bail!("{:?} ended by itself: {status}", child.role);
                }
            }
        }
        self.check()
    }

    /// Judges all entries that can be: some wait for what another journal tells.
    fn check(&mut self) -> Result<()> {
        let mut progress = true;
        while progress {
            progress = false;
            for index in 0..self.running.len() {
                progress |= self.check_one(index)?;
            }
        }
        Ok(())
    }

    fn check_one(&mut self, index: usize) -> Result<bool> {
        let Running { serial, role, .. } = self.running[index];
        let mut progress = false;
        while let Some(&entry) = self.running[index].pending.front() {
            let judged = self.apply(index, entry);
            if !judged.with_context(|| format!("{role:?} {serial} wrote {entry:?}"))? {
                return Ok(progress);
            }
            self.running[index].pending.pop_front();
            progress = true;
        }
        let child = &mut self.running[index];
        if child.ended
            && let Some(lane) = child.lane.take()
        {
            self.open.insert(lane);
            progress = true;
        }
        Ok(progress)
    }

    /// Whether the entry could be judged yet.
    fn apply(&mut self, index: usize, entry: Entry) -> Result<bool> {
        let child = &mut self.running[index];
        match (child.role, entry) {
            (Role::Producer, Entry::Ready { lane, position }) => {
                if self.running.iter().any(|other| other.lane == Some(lane)) {
                    // Just killed, and its journal is still to be read; if it lives, this entry waits in vain.
                    return Ok(false);
                }
                if self.open.contains(&lane) {
                    self.cut(lane, position)?;
                }
                self.ledger.resumed(lane, position)?;
                let child = &mut self.running[index];
                (child.ready, child.lane) = (true, Some(lane));
            }
            (Role::Producer, Entry::Intended { message, joined }) => {
                self.ledger.intended(child.lane.context("a message before a lane")?, message, joined);
            }
            (Role::Producer, Entry::Committed { position }) => {
                self.ledger.committed(child.lane.context("a message before a lane")?, position)?;
                child.active = true;
            }
            (Role::Consumer(consumer), Entry::Ready { position, .. }) => {
                if let Some(established) = self.established.get_mut(consumer) {
                    *established = true;
                    self.ledger.taken_over(consumer, position)?;
                }
                child.ready = true;
            }
            (Role::Consumer(consumer), Entry::Received { lane, position, message, kept }) => {
                child.active = true;
                return Ok(self.ledger.received(consumer, lane, position, message, kept)?.is_some());
            }
            (Role::Consumer(consumer), Entry::Released { count }) => self.ledger.released(consumer, count)?,
            (Role::Consumer(consumer), Entry::Kept) => self.ledger.kept(consumer),
            (Role::Consumer(consumer), Entry::Lagged { bytes }) => {
                match self.ledger.lagged(consumer, 0, bytes)? {
                    Some(lost) => self.figures.dropped += lost,
                    None => return Ok(false),
                }
                child.active = true;
            }
            (role, entry) => bail!("{role:?} wrote {entry:?} into its journal"),
        }
        Ok(true)
    }
}

/// With one consumer, or with two and more of which the last one is passing.
fn durable(ring: &Ring) -> usize {
    (ring.consumers as usize - 1).max(1)
}

fn name(consumer: usize) -> String {
    format!("consumer-{consumer}")
}

fn killed(status: ExitStatus) -> Result<()> {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(signal) if signal == Signal::KILL.as_raw() => Ok(()),
        _ => bail!("a process that was killed ended by itself first: {status}"),
    }
}
