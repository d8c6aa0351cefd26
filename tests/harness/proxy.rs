//! A TCP proxy that fails on command: between the agent and a broker (or anything else on loopback).
//!
//! The behaviour can be changed at any time and holds for connections that are open, too.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::eventually;
use crate::ports::free_port;

/// What the proxy does to traffic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// Nothing listens: connections are refused. Open ones go on; see [`Proxy::cut`].
    pub refuse: bool,
    /// Bytes are read and thrown away in both directions; nobody is told.
    pub black_hole: bool,
    /// Each portion waits so long before it goes on.
    pub delay: Duration,
    /// MQTT PUBACK packets from the broker to the client vanish.
    pub drop_pubacks: bool,
    /// A connection is cut after so many bytes from client to broker.
    pub cut_after_bytes: Option<u64>,
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
    epoch: watch::Sender<u64>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback and leads to another one.
    pub async fn to(target_port: u16) -> Proxy {
        let port = free_port();
        let behaviour = watch::Sender::new(Behaviour::default());
        let epoch = watch::Sender::new(0);
        let counters = Arc::new(Counters::default());
        let task = tokio::spawn(serve(
            port,
            target_port,
            behaviour.subscribe(),
            epoch.subscribe(),
            counters.clone(),
        ));
        let proxy = Proxy { port, behaviour, epoch, counters, task };
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
        self.epoch.send_modify(|epoch| *epoch += 1);
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
            // A bind that fails tells a listener without connecting to it.
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

async fn serve(
    port: u16,
    target: u16,
    mut behaviour: watch::Receiver<Behaviour>,
    epoch: watch::Receiver<u64>,
    counters: Arc<Counters>,
) {
    let shared = behaviour.clone();
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
                    counters.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(carry(client, target, shared.clone(), epoch.clone(), counters.clone()));
                }
            }
        }
    }
}

async fn carry(
    mut client: TcpStream,
    target: u16,
    behaviour: watch::Receiver<Behaviour>,
    mut epoch: watch::Receiver<u64>,
    counters: Arc<Counters>,
) {
    epoch.mark_unchanged();
    let Ok(mut broker) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, target))).await else {
        return;
    };
    let cut = {
        let (mut client_in, mut client_out) = client.split();
        let (mut broker_in, mut broker_out) = broker.split();
        let up = async {
            let mut buffer = [0; 16 * 1024];
            let mut carried = 0;
            loop {
                let n = client_in.read(&mut buffer).await.unwrap_or(0);
                if n == 0 {
                    return false;
                }
                let now = behaviour.borrow().clone();
                if !now.delay.is_zero() {
                    tokio::time::sleep(now.delay).await;
                }
                if now.black_hole {
                    continue;
                }
                let allowed =
                    now.cut_after_bytes.map_or(n, |most| n.min(most.saturating_sub(carried) as usize));
                carried += allowed as u64;
                if broker_out.write_all(&buffer[..allowed]).await.is_err() {
                    return false;
                }
                if allowed < n {
                    return true;
                }
            }
        };
        let down = async {
            let mut buffer = [0; 16 * 1024];
            let mut packets = PacketFilter::default();
            let mut kept = Vec::new();
            loop {
                let n = broker_in.read(&mut buffer).await.unwrap_or(0);
                if n == 0 {
                    return false;
                }
                let now = behaviour.borrow().clone();
                if !now.delay.is_zero() {
                    tokio::time::sleep(now.delay).await;
                }
                kept.clear();
                let dropped = packets.filter(&buffer[..n], now.drop_pubacks, &mut kept);
                counters.dropped_pubacks.fetch_add(dropped, Ordering::Relaxed);
                if !now.black_hole && client_out.write_all(&kept).await.is_err() {
                    return false;
                }
            }
        };
        tokio::select! {
            cut = up => cut,
            cut = down => cut,
            _ = epoch.changed() => true,
        }
    };
    if cut {
        counters.cuts.fetch_add(1, Ordering::Relaxed);
        // With a zero linger the drop sends a reset: the peer learns of it at once, and what was not sent is lost.
        drop(client.set_zero_linger());
        drop(broker.set_zero_linger());
    }
}

/// Follows MQTT packets through a byte stream, cut anywhere.
#[derive(Debug, Default)]
struct PacketFilter {
    header: Vec<u8>,
    left: usize,
    dropping: bool,
}

impl PacketFilter {
    /// Appends what is to be kept; returns how many PUBACKs began and are dropped.
    fn filter(&mut self, mut bytes: &[u8], drop_pubacks: bool, kept: &mut Vec<u8>) -> u64 {
        let mut dropped = 0;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                if !self.dropping {
                    kept.extend_from_slice(&bytes[..n]);
                }
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.header.push(first);
            bytes = rest;
            let length_ends = self.header.len() > 1 && (first & 0x80 == 0 || self.header.len() == 5);
            if length_ends {
                let digits = self.header[1..].iter().enumerate();
                self.left = digits.map(|(i, b)| usize::from(b & 0x7f) << (7 * i)).sum();
                self.dropping = drop_pubacks && self.header[0] >> 4 == 4;
                dropped += u64::from(self.dropping);
                if !self.dropping {
                    kept.extend_from_slice(&self.header);
                }
                self.header.clear();
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pubacks_vanish_wherever_the_stream_is_cut() {
        let publish = [vec![0x32, 0xc8, 0x01], vec![0x40; 200]].concat();
        let puback = vec![0x40, 0x02, 0x00, 0x07];
        let pingresp = vec![0xd0, 0x00];
        let stream = [publish.clone(), puback.clone(), pingresp.clone(), puback, publish.clone()].concat();
        let wanted = [publish.clone(), pingresp, publish].concat();
        for portion in 1..stream.len() {
            let (mut filter, mut kept, mut dropped) = (PacketFilter::default(), Vec::new(), 0);
            for bytes in stream.chunks(portion) {
                dropped += filter.filter(bytes, true, &mut kept);
            }
            assert_eq!((dropped, &kept), (2, &wanted), "portions of {portion}");
        }
        let mut all = Vec::new();
        assert_eq!(PacketFilter::default().filter(&stream, false, &mut all), 0);
        assert_eq!(all, stream);
    }
}
