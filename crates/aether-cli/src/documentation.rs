//! `aether completions` and `aether man`: what packages install beside the command.

use std::io::{self, Write};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::{
    Cli,
    exit::{Exit, Failure, Result},
};

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  aether completions bash > ~/.local/share/bash-completion/completions/aether
  aether completions zsh > ~/.zfunc/_aether
  aether completions fish > ~/.config/fish/completions/aether.fish";

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or that of a subcommand
#[derive(Args)]
#[command(hide = true, after_help = "Examples:\n  aether man | man -l -\n  aether man send > aether-send.1")]
pub(crate) struct Man {
    /// A subcommand
    subcommand: Option<String>,
}

pub(crate) fn completions(args: &Completions) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "aether", &mut script);
    print(&script)
}

pub(crate) fn man(args: &Man) -> Result {
    let mut command = Cli::command();
    command.build();
    let command = match &args.subcommand {
        None => command,
        Some(name) => command
            .find_subcommand(name)
            .filter(|subcommand| !subcommand.is_hide_set())
            .cloned()
            .map(as_page)
            .ok_or_else(|| Failure::Words(format!("no subcommand {name:?}; `aether --help` lists them")))?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(Failure::Output)?;
    print(&page)
}

/// A page is named after the whole command, with a dash.
fn as_page(command: Command) -> Command {
    let name = format!("aether-{}", command.get_name());
    command.name(name.clone()).display_name(name)
}

fn print(bytes: &[u8]) -> Result {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(Failure::Output)?;
    Ok(Exit::Done)
}
