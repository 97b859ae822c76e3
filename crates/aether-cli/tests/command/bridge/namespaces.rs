//! Between network namespaces, over a wire that delays, loses and is cut.
//!
//! The wire is a thread that passes Ethernet frames between two interfaces: not every kernel has `netem`.

use std::{
    ffi::CString,
    io,
    mem::size_of,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::{Command, Stdio, id},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use aether_ipc::Buffer;

use super::{Rings, Worker, consume, produce};
use crate::common::{Run, eventually};

const DELAY: Duration = Duration::from_millis(25);
/// One frame of so many is lost, in each direction.
const LOSS: u64 = 100;

/// Two namespaces and the wire between them.
struct Wire {
    cut: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    let arguments = arguments.split(' ').map(|word| word.replace('#', &id().to_string()));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Wire {
    /// None where this process may not make namespaces. Where it may, `ip` has to be there.
    fn new() -> Option<Wire> {
        if !Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status().unwrap().success() {
            return None;
        }
        assert!(ip("netns add aether-a-#"), "`ip netns add` fails; is Debian's iproute2 installed?");
        let wire = Wire { cut: Arc::default(), lost: Arc::default(), end: Arc::default() };
        assert!(ip("netns add aether-b-#"));
        for (side, address) in [("a", "10.77.0.1/24"), ("b", "10.77.0.2/24")] {
            assert!(ip(&format!("link add ae{side}# type veth peer name in{side}# netns aether-{side}-#")));
            assert!(ip(&format!("-n aether-{side}-# addr add {address} dev in{side}#")));
            assert!(ip(&format!("-n aether-{side}-# link set in{side}# up")));
            assert!(ip(&format!("-n aether-{side}-# link set lo up")));
            assert!(ip(&format!("link set ae{side}# up")));
        }
        let socket = |side: &str| Arc::new(raw_socket(&format!("ae{side}{}", id())).unwrap());
        let (a, b) = (socket("a"), socket("b"));
        wire.pass(a.clone(), b.clone());
        wire.pass(b, a);
        Some(wire)
    }

    fn pass(&self, from: Arc<OwnedFd>, to: Arc<OwnedFd>) {
        let (sender, frames) = channel::<(Instant, Vec<u8>)>();
        let (cut, lost, end) = (self.cut.clone(), self.lost.clone(), self.end.clone());
        thread::spawn(move || {
            for (due, frame) in frames {
                thread::park_timeout(due.saturating_duration_since(Instant::now()));
                // SAFETY: an open socket, and a buffer of that length.
                unsafe { libc::send(to.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            }
        });
        thread::spawn(move || {
            let mut buffer = vec![0_u8; 128 << 10];
            let mut count = 0;
            while !end.load(Relaxed) {
                // SAFETY: an open socket, and a buffer of that length.
                let length = unsafe { libc::recv(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
                // None came for a while.
                let Ok(length) = usize::try_from(length) else { continue };
                count += 1;
                if cut.load(Relaxed) || count % LOSS == 0 {
                    lost.fetch_add(1, Relaxed);
                } else if sender.send((Instant::now() + DELAY, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
        });
    }

    /// Takes the interface of one side down, or up again.
    fn set_link(&self, side: &str, state: &str) {
        assert!(ip(&format!("-n aether-{side}-# link set in{side}# {state}")));
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, Relaxed);
    }

    fn run(&self, side: &str, command: &Command) -> Run {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &format!("aether-{side}-{}", id())]);
        inside.arg(command.get_program()).args(command.get_args());
        Run::start(inside.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
        // Their interfaces go with them.
        ip("netns del aether-a-#");
        ip("netns del aether-b-#");
    }
}

/// All frames of an interface, with what hardware would still have to compute.
fn raw_socket(interface: &str) -> io::Result<OwnedFd> {
    let check = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    let name = CString::new(interface)?;
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointer but to a string that ends.
    let (index, socket) = unsafe {
        (libc::if_nametoindex(name.as_ptr()), libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol)))
    };
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(check(socket)?) };
    const PACKET_IGNORE_OUTGOING: i32 = 23;
    let on = 1_i32;
    for option in [libc::PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING] {
        let size = size_of::<i32>() as u32;
        // SAFETY: a pointer to an integer of that size.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), size) };
        check(set)?;
    }
    let patience = libc::timeval { tv_sec: 0, tv_usec: 100_000 };
    let size = size_of::<libc::timeval>() as u32;
    // SAFETY: a pointer to a time of that size.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const patience).cast(), size)
    })?;
    // SAFETY: integers and an array of them, of which all zeros is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index as i32;
    let size = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: a pointer to an address of that size.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) })?;
    Ok(socket)
}

#[test]
fn between_machines_nothing_is_lost_over_a_wire_that_delays_loses_and_is_cut() {
    let Some(wire) = Wire::new() else {
        eprintln!("not shown here: network namespaces need root");
        return;
    };
    both_find_each_other_on_loopback_if_nothing_is_said(&wire);
    let rings = Rings::plain();
    let (source, sink) = (Buffer::open(&rings.source.ring).unwrap(), Buffer::open(&rings.sink.ring).unwrap());
    let endpoint = "tcp/10.77.0.1:7447";
    let start_out = || wire.run("a", &rings.out(&["--listen", endpoint]));
    let start_in = || wire.run("b", &rings.incoming(&["--connect", endpoint]));
    let (mut outgoing, mut incoming) = (start_out(), start_in());
    let producer = produce(&source);
    let consumer = consume(&sink, 1);
    let await_messages = |consumer: &Worker, count: u64| {
        let before = consumer.count();
        eventually("messages over the wire", || consumer.count() > before + count);
    };
    await_messages(&consumer, 500);
    for round in 0..4 {
        match round {
            3 => wire.set_link("b", "down"),
            _ => wire.cut(true),
        }
        let near = source.observer();
        eventually("the source to be full", || near.info().unwrap().available_bytes() > (64 << 10) - 400);
        match round {
            0 | 3 => {}
            1 => {
                outgoing.kill().killed();
                outgoing = start_out();
            }
            _ => {
                incoming.kill().killed();
                incoming = start_in();
            }
        }
        match round {
            3 => wire.set_link("b", "up"),
            _ => wire.cut(false),
        }
        await_messages(&consumer, 500);
    }
    let sent = producer.end();
    eventually("the last message", || consumer.count() >= sent && rings.source.waiting() == 0);
    assert_eq!(consumer.end(), sent);
    assert!(wire.lost.load(Relaxed) > 0, "nothing was lost on the way");
    outgoing.kill();
    incoming.kill();
}

/// The port is the same for all: only in a namespace is it sure to be free.
fn both_find_each_other_on_loopback_if_nothing_is_said(wire: &Wire) {
    let rings = Rings::plain();
    rings.source.send("1\n");
    let (outgoing, incoming) = (wire.run("a", &rings.out(&[])), wire.run("a", &rings.incoming(&[])));
    eventually("the message", || rings.sink.waiting() == 1 && rings.source.waiting() == 0);
    // From the other side of the wire there is nobody.
    let elsewhere = Rings::plain();
    let stranger = wire.run("b", &elsewhere.incoming(&["--connect", "tcp/10.77.0.1:7447"]));
    rings.source.send("2\n");
    eventually("the next one", || rings.sink.waiting() == 2);
    for run in [outgoing, incoming, stranger] {
        run.kill();
    }
    assert_eq!(elsewhere.sink.waiting(), 0);
}
