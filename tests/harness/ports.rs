//! Free TCP ports on loopback, below the range from which the system takes ports for outgoing connections.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listens on now. Two test processes are unlikely, not unable, to get the same one.
///
/// # Panics
/// All ports are taken.
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let n = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(n) % COUNT) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}

/// Waits until somebody listens on a port of this machine.
///
/// # Panics
/// Nobody does.
pub async fn listens(port: u16) {
    let connects = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop);
    crate::eventually("somebody listens on the port", crate::TIMEOUT, connects).await;
}
