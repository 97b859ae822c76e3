//! `top`: on a terminal and off it.

use std::{fs, io::Write, thread};

use aether_ipc::{Buffer, Flow};
use rustix::{
    process::Signal,
    termios::{Winsize, tcgetattr, tcsetwinsize},
};

use crate::common::{Place, Run, Terminal, aether, eventually, holds, run};

#[test]
fn without_a_terminal_it_prints_a_line_for_each_ring_and_look() {
    let place = Place::with(&Buffer::options().capacity(1024).producers(2).consumers(2));
    let buffer = Buffer::open(&place.ring).unwrap();
    let mut audit = buffer.consumer_named("audit").unwrap();
    let mut producer = buffer.producer().unwrap();
    let all = || aether(["top", "--every", "20ms", "--count", "2", place.ring.parent().unwrap().to_str().unwrap()]);
    for _ in 0..4 {
        producer.offer(1, 0, &[0; 112]).unwrap();
    }
    let lines = run(&mut all()).with(0);
    let (pid, name) = (std::process::id(), place.name());
    let (start, end) = (
        format!("{name}: in 0 B/s, out 0 B/s, lag 512 B, fill 50%, oldest >="),
        format!("s, producers 1 of 2, slowest \"audit\" (process {pid})"),
    );
    let age = |line: &str| line.strip_prefix(&start)?.strip_suffix(&end)?.parse::<f64>().ok();
    let ages: Vec<f64> = lines.text().lines().map(|line| age(line).unwrap_or_else(|| panic!("{line}"))).collect();
    assert!(ages.len() == 2 && ages[0] <= ages[1], "{ages:?}");
    let json = run(all().arg("--json")).with(0).json();
    assert_eq!(json.len(), 2);
    assert_eq!(json[1]["path"], name);
    assert_eq!((&json[1]["lag"], &json[1]["fill"]), (&512.into(), &0.5.into()));
    assert_eq!(json[1]["producers"], serde_json::json!([pid, null]));
    let consumer = serde_json::json!({ "slot": 0, "name": "audit", "pid": pid, "lag": 512 });
    assert_eq!((&json[1]["consumers"], &json[1]["slowest"]), (&serde_json::json!([consumer]), &0.into()));
    let age = |n: usize| json[n]["oldest_age_seconds"].as_f64().unwrap();
    assert!(age(1) >= age(0) + 0.02, "{json:#?}");
    audit.drain(9, |_| Flow::Continue).unwrap();
    assert!(run(&mut all()).with(0).text().contains("lag 0 B, fill 0%, oldest -"));
}

#[test]
fn rates_are_those_of_the_traffic() {
    let place = Place::with_capacity(64 << 10);
    let buffer = Buffer::open(&place.ring).unwrap();
    let (mut producer, mut consumer) = (buffer.producer().unwrap(), buffer.consumer().unwrap());
    let top = Run::start(&mut aether(["top", "--json", "--every", "100ms", "--count", "5", place.name()]));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let traffic = thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            producer.offer(1, 0, &[0; 1008]).unwrap();
            consumer.drain(9, |_| Flow::Continue).unwrap();
        }
    });
    let looks = top.end().with(0).json();
    drop(stop);
    traffic.join().unwrap();
    // The last looks were at a time when it went on.
    for rate in ["bytes_in_per_second", "bytes_out_per_second"] {
        assert!(looks[4][rate].as_f64() >= Some(1024.0), "{looks:#?}");
    }
}

#[test]
fn rings_come_and_go_and_one_that_can_not_be_read_says_why() {
    let place = Place::new();
    let (file, path) = place.file("out");
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    let mut command = aether(["top", "--every", "10ms", folder.to_str().unwrap(), place.name()]);
    let mut top = Run::start(command.stdout(file));
    let last = |name: &str| {
        let lines = fs::read_to_string(&path).unwrap();
        lines.lines().rev().take(4).filter(|line| line.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    let all = |name: &str, text: &str| last(name).iter().any(|line| line.contains(text));
    eventually("the missing ring to be mentioned", || all("/ring: ", "no such file"));
    Buffer::create(folder.join("new"), 1024).unwrap();
    Buffer::create(&place.ring, 1024).unwrap();
    eventually("new rings to be seen", || all("/new: ", "lag 0 B") && all("/ring: ", "lag 0 B"));
    fs::remove_file(folder.join("new")).unwrap();
    eventually("the ring to be gone", || last("/new: ").is_empty() && !last("/ring: ").is_empty());
    top.signal(Signal::TERM);
    top.end().with(0);
}

/// Runs it on a terminal, ends it with `end`, and looks what it leaves behind.
fn on_a_terminal(end: impl FnOnce(&mut Run, &mut Terminal)) {
    let place = Place::with_capacity(1024);
    let buffer = Buffer::open(&place.ring).unwrap();
    let mut producer = buffer.producer().unwrap();
    producer.offer(1, 0, &[0; 496]).unwrap();
    let mut terminal = Terminal::new();
    tcsetwinsize(&terminal.user, Winsize { ws_row: 24, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let before = tcgetattr(&terminal.user).unwrap();
    let mut command = place.aether("top", &["--every", "10ms"]);
    command.env("TERM", "xterm").stdin(terminal.user.try_clone().unwrap()).stdout(terminal.user.try_clone().unwrap());
    let mut top = Run::start(&mut command);
    drop(command);
    eventually("the ring to be shown", || holds(&terminal.screen, "50%") && holds(&terminal.screen, "RING▲"));
    // Blanks are not drawn on a screen that is empty.
    eventually("the roles to be shown", || holds(&terminal.screen, "produced") && holds(&terminal.screen, "behind"));
    assert!(!format!("{:?}", tcgetattr(&terminal.user).unwrap().local_modes).contains("ICANON"), "keys come at once");
    // It goes on to look: what is new is drawn.
    producer.offer(2, 0, &[0; 240]).unwrap();
    eventually("the ring to be fuller", || holds(&terminal.screen, "75"));
    terminal.keyboard.write_all(b"\x1b[C").unwrap();
    eventually("another column to be sorted by", || holds(&terminal.screen, "▼"));
    assert!(!holds(&terminal.screen, "\x1b[?1049l"));
    end(&mut top, &mut terminal);
    let ended = top.end().with(0);
    assert_eq!(ended.errors, "");
    eventually("the screen of before to be back", || holds(&terminal.screen, "\x1b[?1049l"));
    let after = tcgetattr(&terminal.user).unwrap();
    assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes));
    assert_eq!(after.output_modes, before.output_modes);
}

#[test]
fn on_a_terminal_it_is_a_table_until_q_is_pressed() {
    on_a_terminal(|_, terminal| terminal.keyboard.write_all(b"q").unwrap());
}

#[test]
fn an_interrupt_leaves_the_terminal_as_it_was() {
    on_a_terminal(|top, _| top.signal(Signal::INT));
    on_a_terminal(|_, terminal| terminal.keyboard.write_all(b"\x03").unwrap());
}
