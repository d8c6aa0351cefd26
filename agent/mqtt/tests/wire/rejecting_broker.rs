//! A way to a broker on which the last subscription of each SUBSCRIBE is answered with "not authorised".

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const SUBACK: u8 = 0x90;
const NOT_AUTHORISED: u8 = 0x87;

/// Ends with its connections when dropped.
pub(crate) struct RefusingProxy {
    port: u16,
    refuses: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl RefusingProxy {
    pub(crate) async fn to(target: u16) -> RefusingProxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refuses = Arc::new(AtomicBool::new(true));
        let shared = refuses.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
                let (mut from_client, to_client) = client.split();
                let (from_broker, mut to_broker) = broker.split();
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_broker) => {}
                    _ = carry(from_broker, to_client, &shared) => {}
                }
            }
        });
        RefusingProxy { port, refuses, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// From now on what the broker says goes through.
    pub(crate) fn relent(&self) {
        self.refuses.store(false, Ordering::Relaxed);
    }
}

impl Drop for RefusingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Packet by packet.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    refuses: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let mut packet = vec![from.read_u8().await?];
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let digit = from.read_u8().await?;
            packet.push(digit);
            length |= usize::from(digit & 0x7f) << shift;
            shift += 7;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let head = packet.len();
        packet.resize(head + length, 0);
        from.read_exact(&mut packet[head..]).await?;
        if packet[0] == SUBACK && refuses.load(Ordering::Relaxed) {
            *packet.last_mut().unwrap() = NOT_AUTHORISED;
        }
        to.write_all(&packet).await?;
    }
}
