//! The MQTT broker of `demo`: rumqttd in this process, on loopback, for as long as the process lives.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

use crate::exit::Failure;

/// Starts the broker; returns where it listens, once it does.
///
/// # Errors
/// `Unavailable` if it does not listen within some seconds.
pub fn start() -> Result<SocketAddr, Failure> {
    let listen = free_port()?;
    let config = Config {
        router: RouterConfig {
            max_connections: 32,
            max_outgoing_packet_count: 200,
            max_segment_size: 1 << 20,
            max_segment_count: 8,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("demo".to_owned(), server(listen))])),
        ..Config::default()
    };
    // rumqttd has no way to be told to stop: its threads end with the process. Hence `demo` only.
    let spawned = thread::Builder::new().name("demo-broker".into()).spawn(move || {
        if let Err(error) = Broker::new(config).start() {
            tracing::error!(%error, "The demo's broker has ended.");
        }
    });
    spawned.map_err(|e| Failure::Unavailable(format!("cannot start the demo's broker: {e}")))?;
    for _ in 0..500 {
        if TcpStream::connect(listen).is_ok() {
            return Ok(listen);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(Failure::Unavailable(format!(
        "the demo's broker does not listen on {listen}; give --broker mqtt://…"
    )))
}

fn server(listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: "demo".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: 1 << 20,
            max_inflight_count: 200,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

/// The usual port if it is free, else any.
fn free_port() -> Result<SocketAddr, Failure> {
    let at = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|l| l.local_addr());
    at(1883)
        .or_else(|_| at(0))
        .map_err(|e| Failure::Unavailable(format!("no port for the demo's broker: {e}")))
}
