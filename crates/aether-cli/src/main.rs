//! The command `aether`: moves messages between processes through rings in files, looks into them and repairs them.

#[cfg(target_os = "linux")]
mod bench;
#[cfg(feature = "bridge")]
mod bridge;
mod consumers;
mod create;
mod demo;
mod documentation;
mod exit;
mod frame;
mod info;
mod interrupt;
#[cfg(feature = "operations")]
mod journal;
mod losses;
#[cfg(feature = "operations")]
mod metrics;
mod output;
mod peek;
mod progress;
mod recv;
mod send;
mod system;
#[cfg(feature = "operations")]
mod top;
mod verify;
#[cfg(feature = "operations")]
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use exit::{CODES, Exit, Result};

const EXAMPLES: &str = "\
Examples:
  aether demo
  aether create /dev/shm/quotes --capacity 1MiB
  aether send /dev/shm/quotes < quotes.csv &
  aether recv /dev/shm/quotes > copy.csv
  aether info /dev/shm/quotes";

/// What takes long to build.
const LEFT_OUT: &str = match cfg!(feature = "full") {
    true => "",
    false => {
        "\n\nReleased builds also have bridge, record, replay, journal, metrics and top: `cargo install --path \
         crates/aether-cli --features full`"
    }
};

/// Messages from one process to another through a ring in a memory-mapped file
///
/// No broker and no daemon: one process writes and moves a cursor, the other reads and moves another. What was sent is
/// still there after either process, or both, were killed.
#[derive(Parser)]
#[command(name = "aether", version, after_help = format!("{EXAMPLES}{LEFT_OUT}"), after_long_help = format!("{EXAMPLES}{LEFT_OUT}\n\n{CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(create::Create),
    Send(send::Send),
    Recv(recv::Recv),
    Peek(peek::Peek),
    Tail(peek::Tail),
    Info(info::Look),
    Consumers(consumers::Consumers),
    Verify(verify::Verify),
    Recover(verify::Recover),
    #[cfg(feature = "operations")]
    Record(journal::record::Record),
    #[cfg(feature = "operations")]
    Replay(journal::replay::Replay),
    #[cfg(feature = "operations")]
    Journal(journal::Journal),
    #[cfg(feature = "operations")]
    Metrics(metrics::Metrics),
    #[cfg(feature = "operations")]
    Top(top::Top),
    Demo(demo::Demo),
    #[cfg(target_os = "linux")]
    Bench(bench::Bench),
    #[cfg(feature = "bridge")]
    Bridge(bridge::Bridge),
    Completions(documentation::Completions),
    Man(documentation::Man),
    #[command(hide = true)]
    DemoPeer(demo::peer::Peer),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    BenchSide,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = run(&cli.command).unwrap_or_else(|failure| {
        if failure.is_closed_output() {
            return Exit::Done;
        }
        eprintln!("aether: {failure}");
        failure.exit()
    });
    exit.into()
}

fn run(command: &Command) -> Result {
    // A file cut short under its map becomes an error with a name, instead of the end of the process.
    aether_ipc::guard_bus_errors()?;
    match command {
        Command::Create(args) => create::run(args),
        Command::Send(args) => send::run(args),
        Command::Recv(args) => recv::run(args),
        Command::Peek(args) => peek::peek(args),
        Command::Tail(args) => peek::tail(args),
        Command::Info(args) => info::run(args),
        Command::Consumers(args) => consumers::run(args),
        Command::Verify(args) => verify::verify(args),
        Command::Recover(args) => verify::recover(args),
        #[cfg(feature = "operations")]
        Command::Record(args) => journal::record::run(args),
        #[cfg(feature = "operations")]
        Command::Replay(args) => journal::replay::run(args),
        #[cfg(feature = "operations")]
        Command::Journal(args) => journal::run(args),
        #[cfg(feature = "operations")]
        Command::Metrics(args) => metrics::run(args),
        #[cfg(feature = "operations")]
        Command::Top(args) => top::run(args),
        Command::Demo(args) => demo::run(args),
        #[cfg(target_os = "linux")]
        Command::Bench(args) => bench::run(args),
        #[cfg(feature = "bridge")]
        Command::Bridge(args) => bridge::run(args),
        Command::Completions(args) => documentation::completions(args),
        Command::Man(args) => documentation::man(args),
        Command::DemoPeer(peer) => demo::peer::run(peer),
        #[cfg(target_os = "linux")]
        Command::BenchSide => bench::side(),
    }
}
