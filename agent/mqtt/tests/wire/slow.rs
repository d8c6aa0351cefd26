//! A way that carries few bytes a second from the node to the broker, and everything back at once.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Ends with its connections when dropped.
pub(crate) struct SlowUplink {
    port: u16,
    task: JoinHandle<()>,
}

impl SlowUplink {
    pub(crate) async fn to(target: u16, bytes_per_s: u32) -> SlowUplink {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                carry(client, target, bytes_per_s).await;
            }
        });
        SlowUplink { port, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

impl Drop for SlowUplink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, target: u16, bytes_per_s: u32) {
    let mut broker = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_broker, mut to_broker) = broker.split();
    let up = async {
        let mut portion = [0; 64];
        loop {
            match from_client.read(&mut portion).await {
                Ok(n) if n > 0 => {
                    tokio::time::sleep(Duration::from_secs(1) * n as u32 / bytes_per_s).await;
                    if to_broker.write_all(&portion[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = up => {}
        _ = copy(&mut from_broker, &mut to_client) => {}
    }
}
