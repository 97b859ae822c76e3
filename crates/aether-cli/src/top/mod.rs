//! `aether top`: every ring, live.

mod screen;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::HumanBytes;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde::Serialize;

use self::screen::{Screen, What};
use crate::{
    exit::{Exit, Failure, Result},
    info::holder,
    interrupt::{Interrupt, LOOK},
    output, system,
    watch::{Standing, Watch},
};

const EXAMPLES: &str = "\
Examples:
  aether top
  aether top /dev/shm /srv/rings/bus --every 200ms
  aether top --json --count 1 | jq .fill";

/// Watch all rings: how fast, how full, how far behind, and who is there
///
/// On a terminal it is a table that can be sorted, scrolled and filtered; q ends it. Otherwise, and with --json, it prints a line
/// for each ring each time that it looks. Rings that are made in a folder appear, those that are removed disappear. It
/// only looks on: rings are opened for reading, and nobody is held back.
///
/// Rates count bytes with the 16 of each message's header. A ring's rate out, lag and fill are those of its slowest
/// consumer. Rings do not keep when a message was sent: the age of the oldest that waits is for how long it has been
/// seen waiting, at least.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    /// Files of rings, and folders that have some; without any, the folder where files live in memory
    paths: Vec<PathBuf>,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval_of_text)]
    every: Duration,
    /// End after so many looks
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print one JSON object for each ring each time
    #[arg(long)]
    json: bool,
}

fn interval_of_text(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_millis(10)..=Duration::from_secs(3600);
    range.contains(&interval).then_some(interval).ok_or_else(|| "expected from 10ms to 1h".to_owned())
}

/// A ring, in a line or a row.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Row {
    path: String,
    /// Why the ring can't be looked at; then nothing else is known.
    error: Option<String>,
    bytes_in_per_second: f64,
    bytes_out_per_second: f64,
    lag: u64,
    fill: f64,
    oldest_age_seconds: Option<f64>,
    /// By lane: the process that produces there.
    producers: Vec<Option<u32>>,
    consumers: Vec<Consumer>,
    /// The slot of the consumer that is furthest behind.
    slowest: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Consumer {
    slot: u32,
    name: Option<String>,
    pid: Option<u32>,
    lag: u64,
}

impl Row {
    fn new(path: &Path, standing: Result<&Standing, &str>) -> Row {
        let path = path.display().to_string();
        let standing = match standing {
            Ok(standing) => standing,
            Err(error) => {
                // Most say first which ring it is.
                let why = error.strip_prefix(&format!("{path}: ")).unwrap_or(error).to_owned();
                return Row { path, error: Some(why), ..Row::default() };
            }
        };
        let info = &standing.info;
        let consumer = |consumer: &aether_ipc::ConsumerInfo| Consumer {
            slot: consumer.slot,
            name: consumer.name.clone(),
            pid: consumer.holder,
            lag: consumer.lag,
        };
        Row {
            path,
            error: None,
            bytes_in_per_second: standing.rate_in,
            bytes_out_per_second: standing.rate_out,
            lag: info.available_bytes(),
            fill: standing.fill,
            oldest_age_seconds: standing.oldest_age.map(|age| age.as_secs_f64()),
            producers: info.lanes.iter().map(|lane| lane.producer).collect(),
            consumers: info.consumers.iter().map(consumer).collect(),
            slowest: standing.slowest().map(|consumer| consumer.slot),
        }
    }

    fn age(&self) -> String {
        self.oldest_age_seconds.map_or("-".to_owned(), |age| format!(">={age:.1}s"))
    }

    fn present(&self) -> usize {
        self.producers.iter().flatten().count()
    }

    /// Who is furthest behind, if anybody is there at all.
    fn slowest_in_words(&self) -> String {
        let slowest = self.consumers.iter().find(|consumer| Some(consumer.slot) == self.slowest);
        slowest.map_or("-".to_owned(), Consumer::in_words)
    }

    fn in_words(&self) -> String {
        let path = &self.path;
        if let Some(error) = &self.error {
            return format!("{path}: {error}\n");
        }
        format!(
            "{path}: in {}/s, out {}/s, lag {}, fill {:.0}%, oldest {}, producers {} of {}, slowest {}\n",
            HumanBytes(self.bytes_in_per_second as u64),
            HumanBytes(self.bytes_out_per_second as u64),
            HumanBytes(self.lag),
            100.0 * self.fill,
            self.age(),
            self.present(),
            self.producers.len(),
            self.slowest_in_words(),
        )
    }
}

impl Consumer {
    fn in_words(&self) -> String {
        let name = self.name.as_ref().map_or_else(|| format!("consumer {}", self.slot), |name| format!("{name:?}"));
        format!("{name} ({})", holder(self.pid))
    }
}

pub(crate) fn run(args: &Top) -> Result {
    let interrupt = Interrupt::catch()?;
    system::raise_file_limit();
    let mut looker = Looker { watch: Watch::new(&args.paths), every: args.every, left: args.count, interrupt };
    if args.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return looker.print(args.json);
    }
    let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
    let shown = looker.show(&mut terminal);
    let restored = ratatui::try_restore().map_err(Failure::Output);
    shown.and_then(|exit| restored.map(|()| exit))
}

struct Looker {
    watch: Watch,
    every: Duration,
    /// Looks still to do.
    left: Option<u64>,
    interrupt: Interrupt,
}

impl Looker {
    /// Whether there is another look to do.
    fn goes_on(&mut self) -> bool {
        let goes_on = self.left != Some(0) && !self.interrupt.is_set();
        self.left = self.left.map(|left| left.saturating_sub(1));
        goes_on
    }

    fn look(&mut self) -> Vec<Row> {
        self.watch.look();
        self.watch.rings().map(|(path, standing)| Row::new(path, standing)).collect()
    }

    fn print(&mut self, json: bool) -> Result {
        // The first look is what rates are measured from.
        self.watch.look();
        while self.goes_on() {
            let next = Instant::now() + self.every;
            while let Some(rest) = next.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
                if self.interrupt.is_set() {
                    return Ok(Exit::Done);
                }
                thread::sleep(rest.min(LOOK));
            }
            for row in self.look() {
                if json {
                    output::json(&row)?;
                } else {
                    output::text(&row.in_words())?;
                }
            }
        }
        Ok(Exit::Done)
    }

    fn show(&mut self, terminal: &mut ratatui::DefaultTerminal) -> Result {
        let mut screen = Screen::default();
        while self.goes_on() {
            screen.set_rows(self.look());
            let next = Instant::now() + self.every;
            let mut is_new = true;
            while !self.interrupt.is_set() {
                if is_new {
                    terminal.draw(|frame| screen.draw(frame)).map_err(Failure::Output)?;
                }
                let rest = next.saturating_duration_since(Instant::now());
                // A key, or another size of the screen. All of them come before the next look, however late that is.
                is_new = event::poll(rest.min(LOOK)).map_err(Failure::Input)?;
                if !is_new {
                    if rest.is_zero() {
                        break;
                    }
                    continue;
                }
                if let Event::Key(key) = event::read().map_err(Failure::Input)?
                    && key.kind != KeyEventKind::Release
                    && screen.key(key) == What::End
                {
                    return Ok(Exit::Done);
                }
            }
        }
        Ok(Exit::Done)
    }
}
