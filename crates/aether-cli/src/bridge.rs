//! `aether bridge`: rings on different machines, joined over Zenoh.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use aether_bridge::{
    Endpoints, Event, InOptions, Incoming, MAX_WINDOW, MIN_WINDOW, Network, OutOptions, Outgoing, Totals,
};
use clap::{Args, Subcommand, error::ErrorKind};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;

use crate::{
    exit::{Exit, Failure, Result},
    frame::size_of_text,
    interrupt::Interrupt,
    output,
    progress::style,
};

const EXAMPLES: &str = "\
Examples:
  aether bridge out /dev/shm/quotes --key trading/quotes --listen tcp/192.0.2.7:7447
  aether bridge in /dev/shm/quotes --key trading/quotes --connect tcp/192.0.2.7:7447 --create 1MiB";

/// Join rings on different machines over Zenoh
///
/// `out` takes messages from a ring and publishes them; `in`, elsewhere, subscribes and puts them into a ring there. Id,
/// type, payload and lane stay as they are. Nothing is lost, nothing comes twice, and each lane is in order: a message
/// leaves the one ring when it is committed in the other. Either side, and the network between, may die at any time and
/// come back.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bridge {
    #[command(subcommand)]
    half: Half,
}

#[derive(Subcommand)]
enum Half {
    Out(Out),
    In(In),
}

const OUT_EXAMPLES: &str = "\
Examples:
  aether bridge out /dev/shm/quotes --key trading/quotes
  aether bridge out orders trades --key desk/orders --key desk/trades --connect tcp/192.0.2.9:7447
  aether bridge out samples --key lab/samples --best-effort";

/// Take messages from rings and publish them
///
/// A message is released when the other side has committed it, so a ring that nobody takes from fills up, and its
/// producers wait. In a ring for many consumers the bridge is one of them, with a name, and its place is kept.
///
/// Without --connect, --listen and --config it listens on tcp/127.0.0.1:7447, where `bridge in` looks for it.
#[derive(Args)]
#[command(after_help = OUT_EXAMPLES)]
struct Out {
    #[command(flatten)]
    joint: Joint,
    /// Bytes of each lane under way at most: no more than that pass in one round trip
    #[arg(long, value_name = "SIZE", value_parser = window, default_value = "8MiB")]
    window: u64,
    /// Be the durable consumer of this name, in a ring for many [default: bridge]
    #[arg(long)]
    name: Option<String>,
    /// Never hold the producers back: drop what the network does not take, and say how much
    #[arg(long)]
    best_effort: bool,
}

const IN_EXAMPLES: &str = "\
Examples:
  aether bridge in copy --key trading/quotes --create 1MiB
  aether bridge in /dev/shm/rings --key 'trading/**' --create 1MiB --listen tcp/192.0.2.9:7447";

/// Subscribe and put messages into rings
///
/// The file of the ring says how far it has come: started again, it goes on from there. It is the copy of one ring. What
/// comes from another one, such as a file made anew in the old one's place, is refused unless --rebind is given.
///
/// A key with wildcards is for a directory of rings: what comes under trading/quotes goes into the ring trading/quotes
/// in there.
///
/// Without --connect, --listen and --config it connects to tcp/127.0.0.1:7447.
#[derive(Args)]
#[command(after_help = IN_EXAMPLES)]
struct In {
    #[command(flatten)]
    joint: Joint,
    /// Make rings that are not there, with so many bytes of data in each lane: a power of two
    #[arg(long, value_name = "SIZE", value_parser = size_of_text)]
    create: Option<u64>,
    /// Begin anew with what comes, if the ring is the copy of another one, or is none any more
    #[arg(long)]
    rebind: bool,
    /// Take what `bridge out --best-effort` sends, which may have gaps; drop what finds the ring full, and say how much
    #[arg(long)]
    best_effort: bool,
    /// The most rings in a directory
    #[arg(long, value_name = "N", default_value_t = 64)]
    rings: usize,
}

#[derive(Args)]
struct Joint {
    /// The rings' files
    #[arg(required = true)]
    path: Vec<PathBuf>,
    /// The key of each ring, in the same order
    #[arg(long, required = true)]
    key: Vec<String>,
    /// Connect to there, such as tcp/192.0.2.7:7447; it is tried again and again
    #[arg(long, value_name = "ENDPOINT")]
    connect: Vec<String>,
    /// Listen there
    #[arg(long, value_name = "ENDPOINT")]
    listen: Vec<String>,
    /// Zenoh's configuration: TLS, users, access control, ...
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what happens as JSON objects, one a line: `event` and `key` in each; `progress` at most once a second; at the
    /// end of each ring `end`, with what was carried
    #[arg(long)]
    json: bool,
}

fn window(text: &str) -> Result<u64, String> {
    let size = size_of_text(text).map_err(|error| error.to_string())?;
    match (MIN_WINDOW..=MAX_WINDOW).contains(&size) {
        true => Ok(size),
        false => Err(format!("expected {MIN_WINDOW} to {MAX_WINDOW} bytes")),
    }
}

pub(crate) fn run(args: &Bridge) -> Result {
    let interrupt = Interrupt::catch()?;
    let stop = interrupt.flag();
    match &args.half {
        Half::Out(out) => {
            let network = Network::open(&out.joint.endpoints().or_listen())?;
            let halves = out.joint.halves(|key, path| {
                let mut options = OutOptions::default();
                options.window = out.window;
                options.name = out.name.clone();
                options.best_effort = out.best_effort;
                Outgoing::new(&network, key, path, options)
            })?;
            carry(&out.joint, &interrupt, halves, |half: Outgoing, report| {
                half.run(stop, &|key, event| report.tell(key, &event))
            })
        }
        Half::In(incoming) => {
            let network = Network::open(&incoming.joint.endpoints().or_connect())?;
            let halves = incoming.joint.halves(|key, path| {
                let mut options = InOptions::default();
                options.create = incoming.create;
                options.rebind = incoming.rebind;
                options.best_effort = incoming.best_effort;
                options.rings = incoming.rings;
                Incoming::new(&network, key, path, options)
            })?;
            carry(&incoming.joint, &interrupt, halves, |half: Incoming, report| {
                half.run(stop, &|key, event| report.tell(key, &event))
            })
        }
    }
}

impl Joint {
    fn endpoints(&self) -> Endpoints {
        let Joint { connect, listen, config, .. } = self;
        Endpoints { connect: connect.clone(), listen: listen.clone(), config: config.clone() }
    }

    /// All halves, or none.
    fn halves<H>(&self, open: impl Fn(&str, &PathBuf) -> aether_bridge::Result<H>) -> Result<Vec<H>> {
        if self.path.len() != self.key.len() {
            let (paths, keys) = (self.path.len(), self.key.len());
            let words = format!("{paths} paths and {keys} keys, where each path needs a key\n");
            clap::Error::raw(ErrorKind::WrongNumberOfValues, words).exit();
        }
        self.path.iter().zip(&self.key).map(|(path, key)| Ok(open(key, path)?)).collect()
    }
}

/// What people and programs hear while it goes on.
struct Report<'a> {
    json: bool,
    /// On a terminal only.
    bar: ProgressBar,
    carried: Mutex<HashMap<String, u64>>,
    interrupt: &'a Interrupt,
    /// Why nothing can be printed any more.
    broken: Mutex<Option<Failure>>,
}

impl<'a> Report<'a> {
    fn new(json: bool, interrupt: &'a Interrupt) -> Report<'a> {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("{spinner} {human_pos} messages were carried, {per_sec}"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Report { json, bar, carried: Mutex::default(), interrupt, broken: Mutex::default() }
    }

    fn tell(&self, key: &str, event: &Event) {
        let name = event.name();
        if let Event::Progress(Totals { messages, dropped }) = event {
            let mut carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner);
            carried.insert(key.to_owned(), *messages);
            self.bar.set_position(carried.values().sum());
            self.print(&json!({ "event": name, "key": key, "messages": messages, "dropped": dropped }));
        } else {
            self.say(&format!("{key}: {event}"));
            self.print(&json!({ "event": name, "key": key, "text": event.to_string() }));
        }
    }

    fn say(&self, words: &str) {
        self.bar.suspend(|| eprintln!("aether: {words}"));
    }

    /// Nobody reads any more: that ends it.
    fn print(&self, object: &serde_json::Value) {
        if self.json
            && let Err(failure) = output::json(object)
        {
            self.interrupt.flag().store(true, Relaxed);
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        }
    }
}

/// Each ring in a thread of its own. One that can't go on does not stop the others.
fn carry<H: Send>(
    joint: &Joint,
    interrupt: &Interrupt,
    halves: Vec<H>,
    run: impl Fn(H, &Report<'_>) -> aether_bridge::Result<Totals> + Sync,
) -> Result {
    let report = Report::new(joint.json, interrupt);
    let (run, report) = (&run, &report);
    let several = halves.len() > 1;
    let ended: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = halves
            .into_iter()
            .map(|half| {
                scope.spawn(move || {
                    let ended = run(half, report);
                    if let (true, Err(error)) = (several, &ended) {
                        report.say(&error.to_string());
                    }
                    ended
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    report.bar.finish_and_clear();
    if let Some(failure) = report.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    let mut carried = Totals::default();
    let mut failed = None;
    for ((path, key), ended) in joint.path.iter().zip(&joint.key).zip(ended) {
        let totals = match ended {
            Ok(Ok(totals)) => totals,
            Ok(Err(error)) => {
                failed = Some(Failure::from(error));
                continue;
            }
            Err(_) => {
                failed = Some(Failure::Words(format!("{key}: the thread of this ring has died")));
                continue;
            }
        };
        carried.messages += totals.messages;
        carried.dropped += totals.dropped;
        if joint.json {
            let Totals { messages, dropped } = totals;
            let end = json!({ "event": "end", "path": path, "key": key, "messages": messages, "dropped": dropped });
            output::json(&end)?;
        }
    }
    match failed {
        Some(_) if several => Ok(Exit::Failed),
        Some(failure) => Err(failure),
        None if interrupt.flag().load(Relaxed) => {
            let dropped =
                if carried.dropped > 0 { format!(", {} were dropped", carried.dropped) } else { String::new() };
            Err(Failure::Interrupted(format!("{} messages were carried{dropped}", carried.messages)))
        }
        None => Ok(Exit::Done),
    }
}
