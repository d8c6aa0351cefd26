//! A TCP proxy that fails on command: between the agent and a broker or a camera on loopback.
//!
//! The behaviour can be changed at any time and holds for connections that are open, too, unless it says otherwise.

mod carry;
mod packets;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::carry::{Way, carry};
pub use self::packets::Pictures;
use crate::eventually;
use crate::ports::free_port;

/// What the proxy does to traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Nothing listens: connections are refused. Open ones go on; see [`Proxy::cut`].
    pub refuse: bool,
    /// New connections are accepted and never answered; the target does not learn of them.
    pub silent: bool,
    /// Bytes are read and discarded in both directions.
    pub black_hole: bool,
    /// Each portion waits so long before it goes on.
    pub delay: Duration,
    /// Each direction carries at most so much.
    pub bytes_per_second: Option<u32>,
    /// MQTT PUBACK packets from the broker to the client vanish.
    pub drop_pubacks: bool,
    /// A connection is cut after so many bytes from client to broker, wherever in a packet that is.
    pub cut_after_bytes: Option<u64>,
    /// The target is a camera that sends its pictures within the RTSP connection: what becomes of them.
    pub pictures: Option<Pictures>,
}

impl Behaviour {
    /// How much is read at once: a tenth of a second's worth if the way is slow.
    fn portion(&self, most: usize) -> usize {
        self.bytes_per_second.map_or(most, |rate| (rate as usize / 10).clamp(1, most))
    }

    /// How long a portion is on its way.
    fn wait_for(&self, bytes: usize) -> Duration {
        let slow = self.bytes_per_second.map_or(0.0, |rate| bytes as f64 / f64::from(rate.max(1)));
        self.delay + Duration::from_secs_f64(slow)
    }
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    dropped_pubacks: AtomicU64,
    cuts: AtomicU64,
}

/// A running proxy; ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    behaviour: watch::Sender<Behaviour>,
    cuts: watch::Sender<u64>,
    halves: watch::Sender<u64>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback and leads to another one.
    pub async fn to(target: u16) -> Proxy {
        let port = free_port();
        let (behaviour, cuts, halves) =
            (watch::Sender::new(Behaviour::default()), watch::Sender::new(0), watch::Sender::new(0));
        let counters = Arc::new(Counters::default());
        let way = Way {
            target,
            behaviour: behaviour.subscribe(),
            cuts: cuts.subscribe(),
            halves: halves.subscribe(),
            counters: counters.clone(),
        };
        let task = tokio::spawn(serve(port, way));
        let proxy = Proxy { port, behaviour, cuts, halves, counters, task };
        proxy.wait_for_listener(true).await;
        proxy
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Changes the behaviour; with `refuse`, returns once connections are refused (or accepted again).
    pub async fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        self.behaviour.send_modify(change);
        let refuse = self.behaviour.borrow().refuse;
        self.wait_for_listener(!refuse).await;
    }

    /// Cuts all connections now, with a reset.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// Ends the target's side of all connections now; the clients never learn of it: their bytes are taken and
    /// never answered. New connections pass.
    pub fn half_open(&self) {
        self.halves.send_modify(|n| *n += 1);
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// PUBACKs that vanished so far.
    pub fn dropped_pubacks(&self) -> u64 {
        self.counters.dropped_pubacks.load(Ordering::Relaxed)
    }

    /// Connections that were cut so far, on command or by the byte limit.
    pub fn cuts(&self) -> u64 {
        self.counters.cuts.load(Ordering::Relaxed)
    }

    async fn wait_for_listener(&self, listening: bool) {
        let port = self.port;
        eventually("the proxy opens or closes its door", Duration::from_secs(20), async || {
            // A failing bind detects a listener without connecting to it.
            let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            (free != listening).then_some(())
        })
        .await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn serve(port: u16, way: Way) {
    let mut behaviour = way.behaviour.clone();
    loop {
        if behaviour.wait_for(|b| !b.refuse).await.is_err() {
            return;
        }
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        loop {
            tokio::select! {
                changed = behaviour.wait_for(|b| b.refuse) => {
                    if changed.is_err() { return; }
                    break;
                }
                accepted = listener.accept() => {
                    let Ok((client, _)) = accepted else { continue };
                    way.counters.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(carry(client, way.clone()));
                }
            }
        }
    }
}
