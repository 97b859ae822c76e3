//! `metrics`: what Prometheus reads, and what a browser shows.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use aether_ipc::{Buffer, Flow};
use rustix::process::Signal;

use crate::common::{Place, Run, WATCHDOG, aether, eventually, run};

/// `aether metrics` at a free port.
struct Exporter {
    run: Run,
    address: SocketAddr,
    /// Holds what it says.
    _place: Place,
}

impl Exporter {
    fn of(paths: &[&Path]) -> Exporter {
        let place = Place::new();
        let (errors, said) = place.file("errors");
        let mut command = aether(["metrics", "--listen", "127.0.0.1:0"]);
        let run = Run::start(command.args(paths).stderr(errors));
        let mut address = None;
        eventually("the address to be said", || {
            let said = fs::read_to_string(&said).unwrap();
            let line = said.strip_suffix("/\n").and_then(|said| said.rsplit_once("http://"));
            address = line.map(|(_, address)| address.parse().unwrap());
            address.is_some()
        });
        Exporter { run, address: address.unwrap(), _place: place }
    }

    /// The whole answer, with its head.
    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Samples: name and labels, and the value.
    fn samples(&self) -> BTreeMap<String, f64> {
        let answer = self.ask("GET", "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"), "{answer}");
        let lines = answer.lines().filter(|line| line.starts_with("aether_"));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        lines.map(sample).collect()
    }
}

fn folder(place: &Place) -> &Path {
    place.ring.parent().unwrap()
}

#[test]
fn metrics_say_how_each_ring_stands() {
    let place = Place::with(&Buffer::options().capacity(1024).producers(2).consumers(3));
    let name = place.name();
    let buffer = Buffer::open(&place.ring).unwrap();
    let mut audit = buffer.consumer_named("audit").unwrap();
    drop(buffer.consumer_named("billing").unwrap());
    let mut producer = buffer.producer().unwrap();
    for id in 0..4 {
        producer.offer(id, 0, &[0; 48]).unwrap();
    }
    audit.drain(3, |_| Flow::Continue).unwrap();
    let exporter = Exporter::of(&[folder(&place)]);
    let samples = exporter.samples();
    let expect = |metric: &str, labels: &str, value: f64| {
        let key = format!("aether_ring_{metric}{{ring=\"{name}\"{labels}}}");
        assert_eq!(samples.get(&key), Some(&value), "{key} in {samples:#?}");
    };
    expect("up", "", 1.0);
    expect("capacity_bytes", "", 1024.0);
    expect("fill_ratio", "", 0.25);
    expect("written_bytes_total", ",lane=\"0\"", 256.0);
    expect("written_bytes_total", ",lane=\"1\"", 0.0);
    expect("producer_present", ",lane=\"0\"", 1.0);
    expect("producer_present", ",lane=\"1\"", 0.0);
    for (labels, released, lag, present) in
        [(",slot=\"0\",name=\"audit\"", 192.0, 64.0, 1.0), (",slot=\"1\",name=\"billing\"", 0.0, 256.0, 0.0)]
    {
        expect("released_bytes_total", labels, released);
        expect("consumer_lag_bytes", labels, lag);
        expect("consumer_present", labels, present);
    }
    // The one value that grows by itself.
    let age = format!("aether_ring_oldest_message_age_seconds{{ring=\"{name}\"}}");
    let first = samples[&age];
    eventually("the oldest message to grow older", || exporter.samples()[&age] > first);
    buffer.consumer_named("billing").unwrap().drain(9, |_| Flow::Continue).unwrap();
    audit.drain(9, |_| Flow::Continue).unwrap();
    assert_eq!(exporter.samples()[&age], 0.0);
}

#[test]
fn rings_come_and_go() {
    let place = Place::new();
    let named = place.path("named");
    fs::create_dir(place.path("folder")).unwrap();
    let ring = place.path("folder/ring \"1\\\n");
    fs::write(place.path("folder/text"), "no ring").unwrap();
    let exporter = Exporter::of(&[&place.path("folder"), &named]);
    let up = || {
        let samples = exporter.samples();
        let mut up: Vec<_> = samples.into_iter().filter(|(name, _)| name.starts_with("aether_ring_up{")).collect();
        up.iter_mut().for_each(|(name, _)| *name = name.rsplit_once('/').unwrap().1.to_owned());
        up
    };
    let (ring_up, named_up) = ("ring \\\"1\\\\\\n\"}".to_owned(), "named\"}".to_owned());
    assert_eq!(up(), [(named_up.clone(), 0.0)]);
    Buffer::create(&ring, 1024).unwrap().producer().unwrap().offer(1, 0, b"").unwrap();
    Buffer::create(&named, 1024).unwrap();
    assert_eq!(up(), [(ring_up.clone(), 1.0), (named_up.clone(), 1.0)]);
    let written = || {
        let samples = exporter.samples();
        let is_written = |name: &str| name.starts_with("aether_ring_written") && name.contains("ring \\\"1");
        samples.into_iter().find(|(name, _)| is_written(name)).map(|(_, value)| value)
    };
    assert_eq!(written(), Some(16.0));
    // Another one under the same name.
    fs::remove_file(&ring).unwrap();
    Buffer::create(&ring, 1024).unwrap();
    assert_eq!(written(), Some(0.0));
    File::options().write(true).open(&ring).unwrap().set_len(66_000).unwrap();
    assert_eq!(up(), [(ring_up, 0.0), (named_up.clone(), 1.0)]);
    fs::remove_file(&ring).unwrap();
    fs::remove_file(&named).unwrap();
    assert_eq!(up(), [(named_up, 0.0)]);
    fs::remove_dir_all(place.path("folder")).unwrap();
    assert_eq!(up().len(), 2, "what was a folder is now the name of a ring that is missing");
}

#[test]
fn other_requests_are_refused_and_a_signal_is_the_proper_end() {
    let place = Place::with_capacity(1024);
    let mut exporter = Exporter::of(&[&place.ring]);
    assert!(exporter.ask("GET", "/other").starts_with("HTTP/1.1 404"));
    assert!(exporter.ask("POST", "/metrics").starts_with("HTTP/1.1 405"));
    let head = exporter.ask("HEAD", "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let page = exporter.ask("GET", "/");
    assert!(page.contains("content-security-policy: default-src 'none'") && page.contains("<title>"), "{page}");
    // Nothing of it comes from elsewhere.
    assert!(!page.contains("src=") && !page.contains("href=") && !page.contains("@import"));
    exporter.run.signal(Signal::TERM);
    exporter.run.end().with(0);
}

#[test]
fn one_that_asks_and_does_not_read_the_answers_holds_up_nobody_else() {
    let place = Place::with_capacity(1024);
    let mut exporter = Exporter::of(&[&place.ring]);
    let mut deaf = TcpStream::connect(exporter.address).unwrap();
    // More answers than fit into what the system keeps for a connection.
    deaf.write_all("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1500).as_bytes()).unwrap();
    for _ in 0..10 {
        assert!(!exporter.samples().is_empty());
    }
    exporter.run.signal(Signal::TERM);
    exporter.run.end().with(0);
}

/// Sends `request`, and gives what comes back until the other end closes the connection.
fn answer_to(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_request_that_is_none_or_too_long_is_refused_and_the_next_one_is_answered() {
    let place = Place::with_capacity(1024);
    let exporter = Exporter::of(&[&place.ring]);
    let long = "x".repeat(1 << 20);
    let fields: String = (0..1000).map(|n| format!("a{n}: b\r\n")).collect();
    for (request, status) in [
        ("\0\x01\x02\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "4"),
        (format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\n{fields}\r\n"), "431"),
        (format!("POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n{long}"), "405"),
    ] {
        let answer = answer_to(exporter.address, request.as_bytes());
        // Where bytes were left unread, the system may drop the answer with the connection.
        let is_refused =
            answer.is_empty() && request.len() > 16 << 10 || answer.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(is_refused, "{:?} was answered with {answer:?}", &request[..request.len().min(40)]);
        assert!(!exporter.samples().is_empty());
    }
}

#[test]
fn connections_that_are_held_without_a_request_lock_out_nobody_and_are_closed() {
    let place = Place::with_capacity(1024);
    let mut exporter = Exporter::of(&[&place.ring]);
    let held: Vec<TcpStream> = (0..400)
        .map(|n| {
            let mut stream = TcpStream::connect(exporter.address).unwrap();
            // Every other one has begun.
            if n % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: t").unwrap();
            }
            stream
        })
        .collect();
    assert!(!exporter.samples().is_empty());
    // Of those that came first, nothing is kept.
    let mut first = &held[0];
    first.set_read_timeout(Some(WATCHDOG)).unwrap();
    assert!(!matches!(first.read(&mut [0; 100]), Ok(1..)), "it was answered");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", exporter.run.pid())).map_or(0, Iterator::count);
    assert!(descriptors < 200, "{descriptors} descriptors are open");
    exporter.run.signal(Signal::TERM);
    exporter.run.end().with(0);
}

#[test]
fn an_address_for_other_machines_needs_to_be_asked_for() {
    let place = Place::with_capacity(1024);
    for address in ["0.0.0.0:0", "[::]:0"] {
        let mut command = aether(["metrics", "--listen", address]);
        run(command.arg(&place.ring)).with(2).says(&[address, "--allow-remote"]);
    }
    let (errors, said) = place.file("errors");
    let mut command = aether(["metrics", "--allow-remote", "--listen", "0.0.0.0:0"]);
    let mut exporter = Run::start(command.arg(&place.ring).stderr(errors));
    eventually("it to listen", || fs::read_to_string(&said).unwrap().contains("listening at http://0.0.0.0:"));
    exporter.signal(Signal::TERM);
    exporter.end().with(0);
}

#[test]
fn more_rings_than_a_process_may_open_files_by_default_are_all_watched() {
    let place = Place::new();
    fs::create_dir(place.path("folder")).unwrap();
    let first = place.path("folder/0");
    Buffer::create(&first, 1024).unwrap();
    let ring = fs::read(&first).unwrap();
    for n in 1..300 {
        fs::write(place.path(&format!("folder/{n}")), &ring).unwrap();
    }
    let mut command = Command::new("bash");
    let script = "ulimit -S -n 100; exec \"$0\" top --json --count 1 --every 10ms \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_aether")]).arg(place.path("folder"));
    let seen = run(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())).with(0).json();
    assert_eq!(seen.len(), 300);
    let broken: Vec<_> = seen.iter().filter(|ring| !ring["error"].is_null()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&mut aether(["metrics", "--listen", &address])).with(1).says(&["can't listen at", &address]);
}

#[test]
fn the_grafana_dashboard_asks_for_metrics_that_exist() {
    let place = Place::with_capacity(1024);
    let samples = Exporter::of(&[&place.ring]).samples();
    let names: Vec<&str> = samples.keys().map(|key| key.split('{').next().unwrap()).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    queries.extend(variables.iter().filter_map(|variable| variable["query"]["query"].as_str()));
    let mut asked = Vec::new();
    for query in queries {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<&str> = words.filter(|word| word.starts_with("aether_")).collect();
        assert!(!metrics.is_empty(), "no metric in {query}");
        for metric in metrics {
            assert!(names.contains(&metric), "{metric} is none of {names:?}");
            asked.push(metric);
        }
    }
    // Each but the capacity, which does not change.
    for name in names.iter().filter(|name| **name != "aether_ring_capacity_bytes") {
        assert!(asked.contains(name), "nobody asks for {name}");
    }
}

/// Debian has it as a package.
fn browser() -> &'static str {
    let is_there = |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    let found = ["chromium-headless-shell", "chromium", "google-chrome"].into_iter().find(is_there);
    found.expect("a browser is missing; get it with `apt-get install chromium-headless-shell`")
}

/// Stands between the browser and `exporter`: before each look at the metrics, there was traffic.
fn with_traffic_between(exporter: &Exporter, traffic: impl FnMut() + Send, browse: impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let traffic = Mutex::new(traffic);
    let stop = AtomicBool::new(false);
    let answer = |stream: TcpStream| {
        let mut head = BufReader::new(&stream).lines();
        // A browser opens connections that it may need later.
        let Some(Ok(line)) = head.next() else { return };
        head.take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty())).for_each(drop);
        let path = line.split(' ').nth(1).unwrap();
        if path == "/metrics" {
            traffic.lock().unwrap()();
        }
        // It may be gone.
        let _ = (&stream).write_all(exporter.ask("GET", path).as_bytes());
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming().take_while(|_| !stop.load(Relaxed)) {
                scope.spawn(|| answer(stream.unwrap()));
            }
        });
        browse(address);
        stop.store(true, Relaxed);
        TcpStream::connect(address).unwrap();
    });
}

#[test]
fn the_page_shows_rings_live_in_a_browser() {
    let place = Place::with(&Buffer::options().capacity(64 << 10).consumers(2));
    let buffer = Buffer::open(&place.ring).unwrap();
    let mut full = Buffer::create(place.path("<i>full"), 1024).unwrap().producer().unwrap();
    while full.offer(1, 0, &[0; 48]).is_ok() {}
    let mut audit = buffer.consumer_named("<b>audit</b>").unwrap();
    let mut producer = buffer.producer().unwrap();
    let traffic = || {
        // Eight of them always wait.
        audit.drain(24, |_| Flow::Continue).unwrap();
        while producer.lag() < 32 * 1024 {
            producer.offer(1, 0, &[0; 1008]).unwrap();
        }
    };
    let missing = place.path("missing");
    let exporter = Exporter::of(&[folder(&place), &missing]);
    let profile = place.path("profile");
    fs::create_dir(&profile).unwrap();
    let mut command = Command::new(browser());
    // Its clock goes on at once when nothing is under way.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--virtual-time-budget=4500",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display())).arg("--dump-dom");
    let mut shown = None;
    with_traffic_between(&exporter, traffic, |address| {
        command.arg(format!("http://{address}/"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shown = Some(run(&mut command).with(0));
    });
    let shown = shown.unwrap();

    let page = shown.text();
    assert!(page.contains(">3 rings</p>"), "{page}");
    let rows: Vec<&str> = page.split("<tr>").filter(|row| row.contains(folder(&place).to_str().unwrap())).collect();
    let row = |name: &str| {
        let row = rows.iter().find(|row| row.split("</td>").next().unwrap().ends_with(name));
        row.unwrap_or_else(|| panic!("{name} is not in {rows:#?}")).split("</td>").collect::<Vec<_>>()
    };
    let live = row("/ring");
    for rate in &live[1..=2] {
        assert!(rate.ends_with("iB/s") && !rate.contains(">0"), "no rate: {live:#?}");
    }
    assert!(live[4].contains("width: ") && live[4].ends_with(" %</span>") && live[6].ends_with(">1 of 1"), "{live:#?}");
    assert!(live[7].contains("&lt;b&gt;audit&lt;/b&gt; (") && !live[7].contains("<b>"), "{live:#?}");
    let full = row("/&lt;i&gt;full");
    assert!(full[4].contains("fill full") && full[4].ends_with("100 %</span>"), "{full:#?}");
    assert!(full[5].contains("≥ ") && full[7].contains("consumer 0 (away, 1.0 KiB behind)"), "{full:#?}");
    assert!(row("/missing")[1].contains("can't be read"));
}
