//! The listener: accepts connections, bounds them in number and patience, and ends them at the stop.
//!
//! Invariant: a client that is slow, silent or gone costs one connection for a bounded time, nothing else.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::Guard;
use super::error::HttpError;
use super::{App, routes};
use crate::config::http::{HttpConfig, Token};
use crate::handle::NodeHandle;

/// Connections at the same time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 128;
/// From the first byte of a connection, or the end of the last answer, to the end of a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// How long a client may take none of the bytes that wait for it.
const TAKES_BYTES_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What open connections get to end after the stop.
const GRACE: Duration = Duration::from_secs(2);

/// A server that has its port and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    token: Option<Token>,
}

/// Takes the port.
///
/// # Errors
/// A configuration that cannot be, or an address that cannot be had.
pub async fn bind(config: &HttpConfig) -> Result<Server, HttpError> {
    let token = config.token()?;
    let failed = |source| HttpError::Bind { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Server { listener, address, token })
}

/// Takes the port and answers until the stop.
///
/// # Errors
/// As [`bind`].
pub async fn serve(config: HttpConfig, node: NodeHandle, stop: CancellationToken) -> Result<(), HttpError> {
    bind(&config).await?.run(node, stop).await;
    Ok(())
}

impl Server {
    /// Where it listens; the port is known even if the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the stop, then ends the streams and gives connections two seconds to finish.
    pub async fn run(self, node: NodeHandle, stop: CancellationToken) {
        let app = Arc::new(App::new(node, stop.clone()));
        let router = routes(app.clone(), Guard { listen: self.address, token: self.token });
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tracing::info!(address = %self.address, "The page and the API are served.");
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone(), stop.clone(), cut.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Most likely no file descriptor is left: those who have one must get time to return it.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
        drop(self.listener);
        connections.close();
        app.streams.close();
        let ended = async {
            connections.wait().await;
            app.streams.wait().await;
        };
        if timeout(GRACE, ended).await.is_err() {
            cut.cancel();
            connections.wait().await;
        }
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken, cut: CancellationToken) {
    // Frames and events are written whole: waiting for more bytes would only delay them.
    stream.set_nodelay(true).ok();
    let io = TokioIo::new(Impatient { stream, late: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Errors here are clients that left or sent nonsense: no concern of ours.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => (),
        () = cut.cancelled() => (),
    }
}

/// A stream whose reader must take bytes now and then, or it is closed.
struct Impatient {
    stream: TcpStream,
    /// Runs while bytes wait to be taken.
    late: Option<Pin<Box<Sleep>>>,
}

impl Impatient {
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.late = None;
            return written;
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(TAKES_BYTES_WITHIN)));
        ready!(late.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(mut self: Pin<&mut Self>, c: &mut Context<'_>, b: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(c, b)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, c: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(c, bytes);
        self.judge(c, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        c: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(c, slices);
        self.judge(c, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(c)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(c)
    }
}
