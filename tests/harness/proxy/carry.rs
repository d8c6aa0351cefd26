//! One connection through the proxy. Ends with its task when either side, the proxy or a command ends it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::packets::{PacketFilter, PictureFilter};
use super::{Behaviour, Counters};

/// What a connection needs to know.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) target: u16,
    pub(super) behaviour: watch::Receiver<Behaviour>,
    pub(super) cuts: watch::Receiver<u64>,
    pub(super) halves: watch::Receiver<u64>,
    pub(super) counters: Arc<Counters>,
}

/// How a connection ended.
enum End {
    /// One side closed; the other is closed as usual.
    Left,
    /// Cut: both get a reset.
    Cut,
    /// The target is closed, the client is not.
    Half,
}

/// How the way up ended.
enum Up {
    ClientLeft,
    TargetLeft,
    Cut,
}

impl From<Up> for End {
    fn from(up: Up) -> End {
        match up {
            Up::ClientLeft | Up::TargetLeft => End::Left,
            Up::Cut => End::Cut,
        }
    }
}

pub(super) async fn carry(mut client: TcpStream, mut way: Way) {
    way.cuts.mark_unchanged();
    way.halves.mark_unchanged();
    if way.behaviour.borrow().silent {
        return swallow(client, way).await;
    }
    let Ok(mut target) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, way.target))).await else {
        return;
    };
    let end = {
        let (client_in, client_out) = client.split();
        let (target_in, target_out) = target.split();
        let carried = async {
            let down = down(target_in, client_out, &way.behaviour, &way.counters);
            tokio::pin!(down);
            let end = tokio::select! {
                end = up(client_in, target_out, &way.behaviour) => end,
                end = &mut down => return end,
            };
            // The target's last words still reach the client.
            if matches!(end, Up::TargetLeft) { down.await } else { end.into() }
        };
        tokio::select! {
            end = carried => end,
            _ = way.cuts.changed() => End::Cut,
            _ = way.halves.changed() => End::Half,
        }
    };
    match end {
        End::Left => {}
        End::Cut => {
            way.counters.cuts.fetch_add(1, Ordering::Relaxed);
            // With a zero linger the drop sends a reset: the peer learns of it at once, and what was not sent is lost.
            drop(client.set_zero_linger());
            drop(target.set_zero_linger());
        }
        End::Half => {
            drop(target);
            swallow(client, way).await;
        }
    }
}

/// Takes everything and answers nothing, until the client leaves or is cut off.
async fn swallow(mut client: TcpStream, mut way: Way) {
    let mut buffer = [0; 4096];
    let read_on = async { while client.read(&mut buffer).await.unwrap_or(0) > 0 {} };
    tokio::select! {
        () = read_on => {}
        _ = way.cuts.changed() => drop(client.set_zero_linger()),
    }
}

async fn up(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, behaviour: &watch::Receiver<Behaviour>) -> Up {
    let mut buffer = [0; 16 * 1024];
    let mut carried = 0;
    loop {
        let most = behaviour.borrow().portion(buffer.len());
        let n = from.read(&mut buffer[..most]).await.unwrap_or(0);
        if n == 0 {
            return Up::ClientLeft;
        }
        let now = behaviour.borrow().clone();
        tokio::time::sleep(now.wait_for(n)).await;
        if now.black_hole {
            continue;
        }
        let allowed = now.cut_after_bytes.map_or(n, |most| n.min(most.saturating_sub(carried) as usize));
        carried += allowed as u64;
        if to.write_all(&buffer[..allowed]).await.is_err() {
            return Up::TargetLeft;
        }
        if allowed < n {
            return Up::Cut;
        }
    }
}

async fn down(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    behaviour: &watch::Receiver<Behaviour>,
    counters: &Counters,
) -> End {
    let mut buffer = [0; 16 * 1024];
    let (mut packets, mut pictures) = (PacketFilter::default(), PictureFilter::default());
    let mut kept = Vec::new();
    loop {
        let most = behaviour.borrow().portion(buffer.len());
        let n = from.read(&mut buffer[..most]).await.unwrap_or(0);
        if n == 0 {
            return End::Left;
        }
        let now = behaviour.borrow().clone();
        tokio::time::sleep(now.wait_for(n)).await;
        kept.clear();
        if let Some(what) = now.pictures {
            pictures.filter(&buffer[..n], what, &mut kept);
        } else {
            let dropped = packets.filter(&buffer[..n], now.drop_pubacks, &mut kept);
            counters.dropped_pubacks.fetch_add(dropped, Ordering::Relaxed);
        }
        if !now.black_hole && to.write_all(&kept).await.is_err() {
            return End::Left;
        }
    }
}
