//! Zenoh: what it is allowed to do, and how frames go in and out.

use std::path::PathBuf;

use zenoh::{
    Config, Session, Wait, key_expr::KeyExpr, pubsub::Publisher, pubsub::Subscriber, qos::CongestionControl,
    sample::Sample,
};

use crate::error::{Error, Result};

/// Where an outgoing side listens, and an incoming one connects to, if nothing else is said.
pub const LOOPBACK: &str = "tcp/127.0.0.1:7447";

/// Whom to talk to. Nothing but what is named here: no multicast, and no port that was not asked for.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// Where to connect to, as Zenoh writes it: `tcp/192.0.2.1:7447`, `tls/example.org:7447`. What can't be reached is
    /// tried again and again.
    pub connect: Vec<String>,
    /// Where to listen.
    pub listen: Vec<String>,
    /// A configuration file of Zenoh's, for TLS, users, access control and the rest. It counts where it says something;
    /// `connect` and `listen` come before its own.
    pub config: Option<PathBuf>,
}

impl Endpoints {
    /// As they are, or if they say nothing: listening on loopback.
    #[must_use]
    pub fn or_listen(mut self) -> Endpoints {
        if self.say_nothing() {
            self.listen.push(LOOPBACK.to_owned());
        }
        self
    }

    /// As they are, or if they say nothing: connecting to who listens on loopback.
    #[must_use]
    pub fn or_connect(mut self) -> Endpoints {
        if self.say_nothing() {
            self.connect.push(LOOPBACK.to_owned());
        }
        self
    }

    fn say_nothing(&self) -> bool {
        self.connect.is_empty() && self.listen.is_empty() && self.config.is_none()
    }

    fn config(&self) -> Result<Config> {
        let refused = |reason: String| Error::Config { file: self.config.clone(), reason };
        let mut config = match &self.config {
            Some(file) => Config::from_file(file).map_err(|error| refused(words(&error)))?,
            None => Config::default(),
        };
        let defaults = Config::default();
        let says = |key: &str| config.get_json(key).ok() != defaults.get_json(key).ok();
        let (listen, multicast) = (says("listen/endpoints"), says("scouting/multicast/enabled"));
        let (gossip, retry) = (says("scouting/gossip/enabled"), says("connect/retry"));
        let mut set = |key: &str, value: &str| {
            config.insert_json5(key, value).map_err(|error| refused(format!("{key} {value}: {}", words(&error))))
        };
        // Zenoh's own defaults listen on all interfaces, and call out to the whole network.
        if !self.listen.is_empty() || !listen {
            set("listen/endpoints", &format!("{:?}", self.listen))?;
        }
        if !self.connect.is_empty() {
            set("connect/endpoints", &format!("{:?}", self.connect))?;
        }
        if !multicast {
            set("scouting/multicast/enabled", "false")?;
        }
        if !gossip {
            set("scouting/gossip/enabled", "false")?;
        }
        if !retry {
            set("connect/retry", "{ period_init_ms: 100, period_max_ms: 1000, period_increase_factor: 2 }")?;
        }
        Ok(config)
    }
}

/// A session of Zenoh's. Many rings share one.
#[derive(Debug, Clone)]
pub struct Network {
    session: Session,
}

impl Network {
    /// Starts to listen and to connect.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], and [`Error::Network`] if it can't listen where it should.
    pub fn open(endpoints: &Endpoints) -> Result<Network> {
        let session = zenoh::open(endpoints.config()?).wait().map_err(network)?;
        Ok(Network { session })
    }

    /// Ends it; what was published before has been given to the system, if it takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Network`].
    pub fn close(self) -> Result<()> {
        self.session.close().wait().map_err(network)
    }

    pub(crate) fn publisher(&self, key: &str) -> Result<Publisher<'static>> {
        // It waits while the link is busy. What it drops all the same is sent again.
        let declared = self.session.declare_publisher(key.to_owned()).congestion_control(CongestionControl::Block);
        declared.wait().map_err(network)
    }

    pub(crate) fn subscriber(
        &self,
        key: &str,
        callback: impl Fn(Sample) + Send + Sync + 'static,
    ) -> Result<Subscriber<()>> {
        self.session.declare_subscriber(key.to_owned()).callback(callback).wait().map_err(network)
    }
}

pub(crate) fn network(error: zenoh::Error) -> Error {
    Error::Network { reason: words(&error) }
}

/// What Zenoh says, without where in its sources it says so.
fn words(error: &zenoh::Error) -> String {
    let text = error.to_string();
    let words: Vec<&str> = text.split(" at ").map(|part| part.split_once(".rs:").map_or(part, |_| "")).collect();
    words.join(" ").trim_end_matches([' ', '.']).to_owned()
}

/// Where acknowledgements for a key are published. Wildcards do not match what begins with `@`.
pub(crate) fn acknowledgements(key: &str) -> String {
    format!("{key}/@ack")
}

/// The key as Zenoh writes it; whether it has wildcards.
pub(crate) fn check_key(key: &str) -> Result<(String, bool)> {
    let invalid = |error: zenoh::Error| Error::Key { key: key.to_owned(), reason: words(&error) };
    let key = KeyExpr::autocanonize(key.to_owned()).map_err(invalid)?;
    Ok((key.to_string(), key.is_wild()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(endpoints: &Endpoints, key: &str) -> String {
        endpoints.config().unwrap().get_json(key).unwrap()
    }

    #[test]
    fn nothing_is_open_but_loopback_unless_somebody_says_so() {
        let outgoing = Endpoints::default().or_listen();
        assert_eq!(said(&outgoing, "listen/endpoints"), r#"["tcp/127.0.0.1:7447"]"#);
        assert_eq!(said(&outgoing, "connect/endpoints"), "[]");
        let incoming = Endpoints::default().or_connect();
        assert_eq!(said(&incoming, "listen/endpoints"), "[]");
        assert_eq!(said(&incoming, "connect/endpoints"), r#"["tcp/127.0.0.1:7447"]"#);
        for endpoints in [outgoing, incoming] {
            assert_eq!(said(&endpoints, "scouting/multicast/enabled"), "false");
            assert_eq!(said(&endpoints, "scouting/gossip/enabled"), "false");
        }
    }

    #[test]
    fn a_configuration_file_counts_where_it_says_something() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("zenoh.json5");
        let mut endpoints = Endpoints { config: Some(file.clone()), ..Endpoints::default() }.or_listen();
        std::fs::write(&file, "{ mode: 'client' }").unwrap();
        assert_eq!(said(&endpoints, "mode"), r#""client""#);
        assert_eq!(said(&endpoints, "listen/endpoints"), "[]");
        assert_eq!(said(&endpoints, "scouting/multicast/enabled"), "false");
        std::fs::write(
            &file,
            "{ listen: { endpoints: ['tcp/192.0.2.1:1'] }, scouting: { multicast: { enabled: true } } }",
        )
        .unwrap();
        assert_eq!(said(&endpoints, "listen/endpoints"), r#"["tcp/192.0.2.1:1"]"#);
        assert_eq!(said(&endpoints, "scouting/multicast/enabled"), "true");
        endpoints.listen.push("tcp/192.0.2.2:2".to_owned());
        assert_eq!(said(&endpoints, "listen/endpoints"), r#"["tcp/192.0.2.2:2"]"#);
    }
}
