//! Eclipse Paho's Python client as a process: subscriber and requester, see `tests/interop/paho_client.py`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::TIMEOUT;
use crate::lines::OutputLines;

/// A running client. Killed when dropped.
#[derive(Debug)]
pub struct Paho {
    _child: Child,
    lines: OutputLines,
}

impl Paho {
    /// Subscribes to a filter and waits for the acknowledgement of the broker.
    ///
    /// # Panics
    /// See [`python`]; the broker does not let it in.
    pub async fn subscribe(port: u16, filter: &str) -> Paho {
        let mut child = client(port, &["subscribe", filter])
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start Paho's client: {e}"));
        let lines = child.stdout.take().map_or_else(|| panic!("no stdout"), OutputLines::collect);
        lines.expect("Paho's subscription", TIMEOUT, |line| line.contains("\"subscribed\"")).await;
        Paho { _child: child, lines }
    }

    /// What came: topic, payload, whether it was retained.
    pub fn messages(&self) -> Vec<(String, String, bool)> {
        let read = |line: String| {
            let said: Value =
                serde_json::from_str(&line).unwrap_or_else(|e| panic!("Paho's client: {e}: {line}"));
            let payload = said["payload"].as_str().map(str::to_owned);
            Some((said["topic"].as_str()?.to_owned(), payload.unwrap_or_default(), said["retain"] == true))
        };
        self.lines.all().into_iter().filter_map(read).collect()
    }

    /// Waits for a line of what it says that holds these words.
    ///
    /// # Panics
    /// There is none within a minute.
    pub async fn expect(&self, words: &str) -> String {
        self.lines.expect(words, TIMEOUT, |line| line.contains(words)).await
    }

    /// Sends a request with a response topic and correlation data; the reply's payload.
    ///
    /// # Panics
    /// No reply, or one that is not correlated with the request.
    pub async fn request(port: u16, topic: &str, payload: &[u8]) -> String {
        let mut child = client(port, &["request", topic])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start Paho's client: {e}"));
        let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("no stdin"));
        stdin.write_all(payload).await.unwrap_or_else(|e| panic!("Paho's client takes no request: {e}"));
        drop(stdin);
        let output = match tokio::time::timeout(TIMEOUT, child.wait_with_output()).await {
            Ok(output) => output.unwrap_or_else(|e| panic!("cannot wait for Paho's client: {e}")),
            Err(_) => panic!("Paho's client does not end"),
        };
        assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        let said: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("Paho's client: {e}"));
        assert_eq!(
            said["correlated"], true,
            "the reply does not carry the request's correlation data: {said}"
        );
        said["payload"].as_str().map(str::to_owned).unwrap_or_default()
    }
}

fn client(port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(folder().join("paho_client.py")).arg(port.to_string()).args(arguments);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// The Python of an environment that holds Paho, made at the first use under `$AIMASS_CACHE/tools`.
///
/// # Panics
/// It cannot be made: no python3 with venv and pip, or no registry.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let output = std::process::Command::new(folder().join("environment.sh"))
            .output()
            .unwrap_or_else(|e| panic!("tests/interop/environment.sh: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().into()
    })
}
