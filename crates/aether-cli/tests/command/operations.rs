//! What the page for operators says is so.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aether_ipc::{Buffer, Error};

use crate::common::{Place, aether, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands in the blocks of a page, in order.
fn commands(page: &str) -> String {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let mut commands = String::new();
    let mut within = false;
    for line in page.lines().map(str::trim_start) {
        match line {
            "```sh" => within = true,
            "```" => within = false,
            line if within => commands += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(commands.lines().count() > 3, "no commands in it");
    commands
}

#[test]
fn the_commands_on_the_pages_work() {
    for page in ["docs/operations.md", "docs/journal.md"] {
        let place = Place::new();
        let memory = place.path("shm");
        fs::create_dir_all(memory.join("aether")).unwrap();
        // As released builds are installed.
        let bin = Path::new(env!("CARGO_BIN_EXE_aether")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let script = commands(page).replace("/dev/shm", memory.to_str().unwrap());
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &script]).env("PATH", path).current_dir(memory.join("aether"));
        run(shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).with(0);
    }
}

#[test]
fn a_message_takes_its_payload_and_its_header_rounded_up() {
    for (checksums, size) in [(false, 80), (true, 88)] {
        let place = Place::with(&Buffer::options().capacity(1024).checksums(checksums));
        Buffer::open(&place.ring).unwrap().producer().unwrap().offer(1, 0, &[0; 64]).unwrap();
        assert_eq!(place.info()["available_bytes"], size);
    }
}

#[test]
fn looking_on_needs_to_read_only() {
    let place = Place::with_capacity(1024);
    place.send("hello\n");
    fs::set_permissions(&place.ring, Permissions::from_mode(0o444)).unwrap();
    // The superuser may write to whatever it may read.
    let is_root = fs::File::options().write(true).open(&place.ring).is_ok();
    let folder = place.path("");
    if is_root {
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    }
    let as_user = |arguments: &[&str]| {
        let mut command = aether(arguments);
        if is_root {
            std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        }
        command
    };
    let journal = folder.join("journal");
    let name = place.name();
    for arguments in [
        vec!["peek", name],
        vec!["tail", name, "--from-oldest", "--count", "1"],
        vec!["info", name],
        vec!["consumers", name],
        vec!["verify", name],
        vec!["top", name, "--count", "1", "--every", "10ms"],
        vec!["record", name, "--tail", "--until-idle", "0s", "-o", journal.to_str().unwrap()],
    ] {
        run(&mut as_user(&arguments)).with(0);
    }
    for subcommand in ["send", "recv"] {
        run(&mut as_user(&[subcommand, name])).with(1).says(&["ermission"]);
    }
}

#[test]
fn a_file_of_another_version_is_refused_and_not_changed() {
    let place = Place::with_capacity(1024);
    let mut bytes = fs::read(&place.ring).unwrap();
    bytes[0x108] = 2;
    fs::write(&place.ring, &bytes).unwrap();
    assert!(matches!(Buffer::open(&place.ring), Err(Error::Version { .. })));
    run(&mut place.aether("send", &[])).with(1).says(&["version 2", "1"]);
    assert_eq!(fs::read(&place.ring).unwrap(), bytes);

    let journal = place.path("journal");
    let mut bytes = fs::read(root().join("testdata/plain.journal")).unwrap();
    bytes[8] = 2;
    fs::write(&journal, &bytes).unwrap();
    let journal_name = journal.to_str().unwrap();
    run(&mut aether(["journal", "info", journal_name])).with(1).says(&["version 2", "1"]);
    assert_eq!(fs::read(&journal).unwrap(), bytes);
}

#[test]
fn the_queries_on_the_page_name_metrics_that_exist() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let source = fs::read_to_string(root().join("crates/aether-cli/src/metrics/mod.rs")).unwrap();
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: Vec<&str> = words.filter(|word| word.starts_with("aether_ring_")).collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        assert!(source.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_units_for_systemd_are_sound() {
    let place = Place::new();
    let folder = root().join("packaging/systemd");
    let mut units = Vec::new();
    for name in ["aether-metrics.service", "aether-record@.service"] {
        // The command is not installed where the test runs.
        let unit = fs::read_to_string(folder.join(name)).unwrap();
        let installed = unit.replace("/usr/bin/aether", env!("CARGO_BIN_EXE_aether"));
        assert_ne!(installed, unit, "{name} does not start the command");
        let arguments = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/aether ")).unwrap();
        let arguments: Vec<&str> = arguments.split(' ').chain(["--help"]).collect();
        run(&mut aether(&arguments)).with(0);
        let path = place.path(&name.replace('@', "@quotes"));
        fs::write(&path, installed).unwrap();
        units.push(path);
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]).args(&units);
    let ended = run(verify.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).with(0);
    let about_ours = |line: &&str| line.contains("aether");
    assert_eq!(ended.errors.lines().filter(about_ours).collect::<Vec<_>>(), Vec::<&str>::new());
    let scratch = place.path("machine");
    fs::create_dir_all(scratch.join("etc")).unwrap();
    for (program, arguments, file) in [
        ("systemd-sysusers", vec![], "aether.sysusers.conf"),
        ("systemd-tmpfiles", vec!["--create"], "aether.tmpfiles.conf"),
    ] {
        let mut make = Command::new(program);
        make.args(arguments).arg(format!("--root={}", scratch.display())).arg(folder.join(file));
        run(make.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).with(0);
    }
    assert!(fs::read_to_string(scratch.join("etc/passwd")).unwrap().starts_with("aether:"));
    let rings = fs::metadata(scratch.join("dev/shm/aether")).unwrap();
    assert_eq!(rings.permissions().mode() & 0o7777, 0o2770);
}
