//! TLS and access control, as Zenoh gives them, and as `docs/bridge.md` shows them.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aether_bridge::{Endpoints, Event, InOptions, Incoming, Network, OutOptions, Outgoing, Result, Totals};
use aether_ipc::{Buffer, Observer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

const KEY: &str = "trading/quotes";
const WATCHDOG: Duration = Duration::from_secs(60);

/// A folder with the certificates of an authority and of those that it knows.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("authority.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for a machine and its bridge.
    fn certify(&self, name: &str) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(self.path(&format!("{name}.pem")), params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// The part of a configuration that is between these braces in the document, with the files of this folder.
    fn configure(&self, name: &str, access: &str) -> PathBuf {
        self.certify(name);
        let file = |ending: &str| self.path(&format!("{name}.{ending}")).display().to_string();
        let (certificate, key) = (file("pem"), file("key"));
        let text = format!(
            "{{
  transport: {{ link: {{ tls: {{
    root_ca_certificate: {:?},
    enable_mtls: true,
    listen_certificate: {certificate:?}, listen_private_key: {key:?},
    connect_certificate: {certificate:?}, connect_private_key: {key:?},
  }} }} }},
  {access}
}}",
            self.path("authority.pem").display().to_string()
        );
        let path = self.path(&format!("{name}.json5"));
        fs::write(&path, text).unwrap();
        path
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One half, in a thread.
struct Half {
    stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<Event>>>,
    thread: JoinHandle<Result<Totals>>,
    _network: Network,
}

impl Half {
    fn start(
        network: Network,
        run: impl FnOnce(&AtomicBool, Arc<Mutex<Vec<Event>>>) -> Result<Totals> + Send + 'static,
    ) -> Half {
        let (stop, events) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Event>>>::default());
        let (stopped, told) = (stop.clone(), events.clone());
        Half { stop, events, thread: thread::spawn(move || run(&stopped, told)), _network: network }
    }

    fn out(endpoints: &Endpoints, ring: &Path) -> Half {
        let network = Network::open(endpoints).unwrap();
        let half = Outgoing::new(&network, KEY, ring, OutOptions::default()).unwrap();
        Half::start(network, move |stop, events| half.run(stop, &move |_, event| events.lock().unwrap().push(event)))
    }

    fn incoming(endpoints: &Endpoints, ring: &Path) -> Half {
        let network = Network::open(endpoints).unwrap();
        let half = Incoming::new(&network, KEY, ring, InOptions::default()).unwrap();
        Half::start(network, move |stop, events| half.run(stop, &move |_, event| events.lock().unwrap().push(event)))
    }

    fn told(&self, event: &Event) -> bool {
        self.events.lock().unwrap().contains(event)
    }

    fn end(self) -> Totals {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap().unwrap()
    }
}

#[track_caller]
fn eventually(awaited: &str, mut look: impl FnMut() -> bool) {
    let started = Instant::now();
    while !look() {
        assert!(started.elapsed() < WATCHDOG, "waited in vain for {awaited}");
        thread::yield_now();
    }
}

fn waiting(ring: &Path) -> u64 {
    Observer::open(ring).unwrap().count_messages().unwrap()
}

struct Rings {
    _folder: TempDir,
    source: PathBuf,
    sink: PathBuf,
}

impl Rings {
    /// With one message to carry.
    fn new() -> Rings {
        let folder = tempfile::tempdir().unwrap();
        let (source, sink) = (folder.path().join("source"), folder.path().join("sink"));
        Buffer::create(&source, 4096).unwrap().producer().unwrap().offer(1, 2, b"secret").unwrap();
        Buffer::create(&sink, 4096).unwrap();
        Rings { _folder: folder, source, sink }
    }
}

fn endpoints(listen: Option<String>, connect: Option<String>, config: Option<PathBuf>) -> Endpoints {
    let list = |endpoint: Option<String>| endpoint.into_iter().collect();
    Endpoints { listen: list(listen), connect: list(connect), config }
}

/// Only who is called `copy` may listen to quotes, and acknowledge them.
const ACCESS: &str = r#"access_control: {
    enabled: true,
    default_permission: "deny",
    rules: [{
      id: "quotes", permission: "allow", flows: ["ingress", "egress"],
      messages: ["put", "declare_subscriber"],
      key_exprs: ["trading/quotes", "trading/quotes/@ack"],
    }],
    subjects: [{ id: "copy", cert_common_names: ["copy"] }],
    policies: [{ rules: ["quotes"], subjects: ["copy"] }],
  },"#;

/// Whether the message arrives at a half that calls itself `name`; if not, the other one says that nobody answers.
fn arrives(authority: &Authority, config: Option<PathBuf>, protocol: &str) -> bool {
    let rings = Rings::new();
    let port = port();
    let feed = authority.configure("feed", ACCESS);
    let out = Half::out(&endpoints(Some(format!("tls/127.0.0.1:{port}")), None, Some(feed)), &rings.source);
    let incoming = Half::incoming(&endpoints(None, Some(format!("{protocol}/127.0.0.1:{port}")), config), &rings.sink);
    eventually("a message, or the word that nobody answers", || {
        waiting(&rings.sink) > 0 && waiting(&rings.source) == 0 || out.told(&Event::Silent)
    });
    let arrived = waiting(&rings.sink) == 1;
    assert_eq!(waiting(&rings.source), u64::from(!arrived));
    assert_eq!(out.end().messages, u64::from(arrived));
    incoming.end();
    arrived
}

#[test]
fn messages_go_to_whom_the_authority_has_certified_and_the_rules_allow() {
    let authority = Authority::new();
    let copy = authority.configure("copy", "");
    assert!(arrives(&authority, Some(copy), "tls"));
}

#[test]
fn one_whom_the_rules_do_not_allow_gets_nothing() {
    let authority = Authority::new();
    let stranger = authority.configure("stranger", "");
    assert!(!arrives(&authority, Some(stranger), "tls"));
}

#[test]
fn one_without_a_certificate_of_this_authority_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let forged = other.configure("copy", "");
    assert!(!arrives(&authority, Some(forged), "tls"));
}

#[test]
fn one_who_speaks_without_encryption_gets_nothing() {
    assert!(!arrives(&Authority::new(), None, "tcp"));
}

#[test]
fn a_certificate_that_is_not_there_is_told() {
    let authority = Authority::new();
    let config = authority.configure("feed", "");
    fs::remove_file(authority.path("feed.pem")).unwrap();
    let place = format!("127.0.0.1:{}", port());
    let error = Network::open(&endpoints(Some(format!("tls/{place}")), None, Some(config))).unwrap_err().to_string();
    assert!(error.contains(&place) && error.contains("Invalid TLS certificate file"), "{error}");
    assert!(!error.contains(".rs:"), "where in Zenoh's sources is nobody's business: {error}");
}

#[test]
fn the_page_shows_these_rules() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bridge.md")).unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    assert!(squeeze(&page).contains(&squeeze(ACCESS)));
}
