//! A TCP link that can be cut and held.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Forwards connections to another endpoint.
#[derive(Clone)]
pub(crate) struct Link {
    state: Arc<(Mutex<State>, Condvar)>,
    endpoint: String,
}

#[derive(Default)]
struct State {
    held: bool,
    streams: Vec<TcpStream>,
    /// How long a byte is on its way.
    delay: Duration,
}

impl Link {
    pub(crate) fn to(endpoint: &str, delay: Duration) -> Link {
        let target = endpoint.trim_start_matches("tcp/").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp/{}", listener.local_addr().unwrap());
        let link = Link { state: Arc::default(), endpoint };
        link.state.0.lock().unwrap().delay = delay;
        let accepting = link.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // Nobody there: the connection is closed at once.
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let clone = |stream: &TcpStream| stream.try_clone().unwrap();
                let mut state = accepting.state.0.lock().unwrap();
                state.streams.retain(|stream| stream.peer_addr().is_ok());
                state.streams.extend([clone(&near), clone(&far)]);
                drop(state);
                for (from, to) in [(clone(&near), clone(&far)), (far, near)] {
                    let link = accepting.clone();
                    thread::spawn(move || link.forward(from, to));
                }
            }
        });
        link
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What is on its way is lost; the next connection is a new one.
    pub(crate) fn cut(&self) {
        for stream in self.state.0.lock().unwrap().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Nothing goes through, and nobody is told.
    pub(crate) fn hold(&self, held: bool) {
        self.state.0.lock().unwrap().held = held;
        self.state.1.notify_all();
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<(Instant, Vec<u8>)>(1 << 16);
        let link = self.clone();
        let delay = self.state.0.lock().unwrap().delay;
        thread::spawn(move || {
            for (due, bytes) in receiver {
                let (state, changed) = &*link.state;
                let mut state = state.lock().unwrap();
                loop {
                    let now = Instant::now();
                    if state.held {
                        state = changed.wait(state).unwrap();
                    } else if now < due {
                        state = changed.wait_timeout(state, due - now).unwrap().0;
                    } else {
                        break;
                    }
                }
                drop(state);
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
        drop(sender);
        let _ = from.shutdown(Shutdown::Both);
    }
}
