//! What is promised to people and scripts: exit codes, help, completions, colour, progress.

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
};

use crate::common::{Place, Run, Terminal, aether, eventually, holds, input, numbers, run};

#[test]
fn success_is_0() {
    let place = Place::new();
    run(&mut place.aether("create", &["--capacity", "1KiB"])).with(0);
}

#[test]
fn failure_is_1() {
    let place = Place::new();
    for subcommand in ["send", "recv", "peek", "tail", "info", "consumers", "verify", "recover"] {
        let ended = run(&mut place.aether(subcommand, &[])).with(1).says(&["aether: ", place.name(), "no such file"]);
        assert_eq!(ended.text(), "", "what went wrong is no data");
    }
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    run(&mut aether(["no-such-subcommand"])).with(2).says(&["no-such-subcommand"]);
    run(&mut aether(["send"])).with(2).says(&["<PATH>"]);
    run(&mut place.aether("recv", &["--count", "many"])).with(2).says(&["many"]);
    run(&mut place.aether("create", &["--capacity", "1000"])).with(2).says(&["power of two", "1000"]);
    run(&mut place.aether("create", &["--capacity", "1KiB", "--classic", "--producers", "2"])).with(2);
    run(&mut place.aether("create", &["--capacity", "1KiB", "--mode", "888"])).with(2).says(&["octal"]);
    assert!(!place.ring.exists());
}

#[test]
fn a_corrupt_file_is_3() {
    let place = Place::new();
    fs::write(&place.ring, "no ring at all").unwrap();
    for subcommand in ["send", "recv", "peek", "tail", "info", "consumers", "verify", "recover"] {
        run(&mut place.aether(subcommand, &[])).with(3).says(&[place.name(), "not a ring"]);
    }
    let place = Place::with_capacity(1024);
    let cut = File::options().write(true).open(&place.ring).unwrap();
    cut.set_len(66_559).unwrap();
    run(&mut place.aether("info", &[])).with(3).says(&["cut short", "66559", "66560"]);
}

#[test]
fn an_empty_or_full_ring_is_4_where_waiting_was_not_wanted() {
    let place = Place::with_capacity(1024);
    run(&mut place.aether("recv", &["--until-idle", "0s"])).with(4);
    run(place.aether("send", &["--no-wait"]).stdin(input("12345678\n".repeat(100)))).with(4);
    let place = Place::with_capacity(1024);
    place.send(numbers(3));
    let few = run(&mut place.aether("recv", &["--count", "5", "--until-idle", "0s"])).with(4);
    assert_eq!(few.text(), "1\n2\n3\n");
}

#[test]
fn a_ring_that_nobody_makes_in_time_is_124() {
    let place = Place::new();
    run(&mut place.aether("recv", &["--wait", "30ms"])).with(124).says(&[place.name(), "no ring was made within 30ms"]);
}

#[test]
fn the_help_lists_the_exit_codes_that_the_tests_here_see() {
    let help = run(&mut aether(["--help"])).with(0);
    let (_, table) = help.text().split_once("Exit codes:\n").expect("a table of exit codes");
    // A line that goes on from the one above begins further right.
    let codes: Vec<i32> = table.lines().filter_map(|line| line.get(..5)?.trim().parse().ok()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 124, 130]);
}

fn subcommands() -> Vec<String> {
    let help = run(&mut aether(["--help"])).with(0);
    let (_, list) = help.text().split_once("Commands:\n").expect("a list of subcommands");
    list.lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap().into())
        .collect()
}

#[test]
fn the_help_of_every_subcommand_has_examples_of_it() {
    let subcommands = subcommands();
    for name in ["create", "send", "recv", "peek", "tail", "info", "consumers", "verify", "recover", "demo"] {
        assert!(subcommands.iter().any(|subcommand| subcommand == name), "{name} is not in {subcommands:?}");
    }
    for name in subcommands.iter().filter(|name| *name != "help") {
        for flag in ["-h", "--help"] {
            let help = run(&mut aether([name, flag])).with(0);
            let (_, examples) = help.text().split_once("Examples:\n").unwrap_or_else(|| panic!("no examples: {name}"));
            assert!(examples.contains(&format!("aether {name} ")) || examples.contains(&format!("aether {name}\n")));
        }
    }
}

#[test]
fn completions_know_every_subcommand_and_bash_can_read_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut aether(["completions", shell])).with(0);
        for name in subcommands() {
            assert!(script.text().contains(&name), "{name} is unknown in {shell}");
        }
        assert!(script.text().contains("until-idle"), "options are unknown in {shell}");
    }
    let script = run(&mut aether(["completions", "bash"])).with(0);
    let bash = run(Command::new("bash").arg("-n").stdin(input(&script.output)).stderr(Stdio::piped())).with(0);
    assert_eq!(bash.errors, "");
    run(&mut aether(["completions", "no-shell"])).with(2).says(&["bash", "zsh", "fish"]);
}

#[test]
fn colour_is_for_terminals_where_no_color_is_not_set() {
    let escape = "\u{1b}[";
    for (no_color, coloured) in [(None, true), (Some("1"), false)] {
        let Terminal { user: terminal, screen, .. } = Terminal::new();
        let mut command = aether(["no-such-subcommand"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR").env("TERM", "xterm");
        command.envs(no_color.map(|value| ("NO_COLOR", value)));
        run(command.stderr(terminal)).with(2);
        drop(command);
        eventually("the help to be mentioned", || holds(&screen, "--help"));
        assert_eq!(holds(&screen, escape), coloured, "NO_COLOR={no_color:?}");
    }
    let piped = run(aether(["no-such-subcommand"]).env_remove("NO_COLOR").env("TERM", "xterm")).with(2);
    assert!(!piped.errors.contains(escape), "{:?}", piped.errors);
}

#[test]
fn long_work_shows_its_progress_on_a_terminal() {
    let place = Place::with_capacity(1024);
    let Terminal { user: terminal, screen, .. } = Terminal::new();
    let mut sending = place.aether("send", &["--no-wait"]);
    let mut sender = Run::start(sending.env("TERM", "xterm").stdin(Stdio::piped()).stderr(terminal));
    drop(sending);
    let mut input = sender.input();
    eventually("progress", || {
        // More than fit.
        input.write_all(numbers(100).as_bytes()).unwrap();
        holds(&screen, "messages")
    });
    drop(input);
    sender.end().with(4);
}
