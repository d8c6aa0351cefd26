//! The output of a child process by line, for expectations and failure messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

/// The lines of one stream. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutputLines {
    seen: Arc<Mutex<Vec<String>>>,
    grown: watch::Receiver<usize>,
}

impl OutputLines {
    /// Collects from a stream until its end.
    pub fn collect(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tx, grown) = watch::channel(0);
        let into = seen.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut seen: std::sync::MutexGuard<'_, Vec<String>> =
                    into.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(line);
                tx.send_replace(seen.len());
            }
        });
        OutputLines { seen, grown }
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line, old or new, that fits.
    ///
    /// # Panics
    /// None within the deadline, or the stream ended without one; the message holds the last lines.
    pub async fn expect(&self, what: &str, within: Duration, fits: impl Fn(&str) -> bool) -> String {
        let mut grown = self.grown.clone();
        let search = async {
            let mut from = 0;
            loop {
                let ended = grown.has_changed().is_err();
                let all = self.all();
                if let Some(line) = all[from..].iter().find(|line| fits(line)) {
                    return Some(line.clone());
                }
                from = all.len();
                if ended || (grown.changed().await.is_err() && self.all().len() == from) {
                    return None;
                }
            }
        };
        match tokio::time::timeout(within, search).await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("{what}: the stream ended without it; it said:\n{}", self.tail()),
            Err(_) => panic!("{what}: not within {within:?}; the stream said:\n{}", self.tail()),
        }
    }

    /// The last 40 lines as one text.
    pub fn tail(&self) -> String {
        let all = self.all();
        all[all.len().saturating_sub(40)..].join("\n")
    }
}
