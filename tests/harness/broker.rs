//! Mosquitto as a real process on loopback: started, killed and started again on the same port.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aimass_core::runtime::files::write_atomically;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::TIMEOUT;
use crate::certificates::{Certificates, Validity};
use crate::eventually;
use crate::lines::OutputLines;
use crate::ports::{free_port, listens};

/// How a broker is set up.
#[derive(Debug, Default)]
pub struct BrokerSetup {
    persistence: bool,
    users: Vec<(String, String)>,
    acl: Option<String>,
    tls: bool,
    client_certificates: bool,
    server_names: Vec<String>,
    validity: Validity,
    side_door: bool,
    quiet: bool,
    extra: String,
}

impl BrokerSetup {
    /// Anonymous, plain, forgets everything when it ends.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sessions and retained messages survive a restart, also a kill.
    pub fn persistent(mut self) -> Self {
        self.persistence = true;
        self
    }

    /// Adds a user; anonymous clients are then refused.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    /// An access list in Mosquitto's format.
    pub fn acl(mut self, text: &str) -> Self {
        self.acl = Some(text.to_owned());
        self
    }

    /// Speaks TLS only, with a certificate of [`Broker::certificates`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// TLS with a certificate for another name.
    pub fn tls_for(mut self, name: &str) -> Self {
        self.tls = true;
        self.server_names.push(name.to_owned());
        self
    }

    /// TLS with a server certificate whose time is over, or has not come.
    pub fn tls_valid(mut self, validity: Validity) -> Self {
        self.tls = true;
        self.validity = validity;
        self
    }

    /// A second, plain listener ([`Broker::side_port`]), for the test's own subscriber.
    pub fn side_door(mut self) -> Self {
        self.side_door = true;
        self
    }

    /// TLS, and clients must show a certificate of the same CA.
    pub fn client_certificates(mut self) -> Self {
        self.tls = true;
        self.client_certificates = true;
        self
    }

    /// Logs errors only: for measurements.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// OutputLines of Mosquitto's configuration.
    pub fn line(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push('\n');
        self
    }

    /// Starts it and waits until it accepts connections.
    ///
    /// # Panics
    /// Mosquitto is not installed, or does not start.
    pub async fn start(self) -> Broker {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let port = free_port();
        let certificates = self.tls.then(|| {
            let names: Vec<&str> = self.server_names.iter().map(String::as_str).collect();
            let names = if names.is_empty() { vec!["localhost", "127.0.0.1"] } else { names };
            Certificates::make_valid(&folder.path().join("tls"), &names, self.validity)
        });
        let side_port = self.side_door.then(free_port);
        let config = self.write(folder.path(), (port, side_port), certificates.as_ref());
        let mut broker = Broker { folder, config, port, side_port, certificates, running: None };
        broker.start().await;
        broker
    }

    #[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
    fn write(
        &self,
        folder: &Path,
        (port, side_port): (u16, Option<u16>),
        certificates: Option<&Certificates>,
    ) -> PathBuf {
        let log = if self.quiet { "error" } else { "all" };
        let mut text = format!(
            "listener {port} 127.0.0.1\nlog_type {log}\nmax_queued_messages 0\nmax_inflight_messages 200\n"
        );
        let folder_name = folder.display();
        if self.persistence {
            writeln!(text, "persistence true\npersistence_location {folder_name}/\nautosave_on_changes true\nautosave_interval 1").unwrap();
        }
        if self.users.is_empty() {
            text.push_str("allow_anonymous true\n");
        } else {
            let file = folder.join("passwords");
            let plain: String =
                self.users.iter().map(|(name, password)| format!("{name}:{password}\n")).collect();
            write_atomically(&file, plain.as_bytes()).unwrap();
            let hashed = std::process::Command::new("mosquitto_passwd").arg("-U").arg(&file).status();
            assert!(hashed.is_ok_and(|s| s.success()), "mosquitto_passwd failed: apt install mosquitto");
            writeln!(text, "allow_anonymous false\npassword_file {}", file.display()).unwrap();
        }
        if let Some(acl) = &self.acl {
            let file = folder.join("acl");
            write_atomically(&file, acl.as_bytes()).unwrap();
            writeln!(text, "acl_file {}", file.display()).unwrap();
        }
        if let Some(c) = certificates {
            writeln!(text, "certfile {}\nkeyfile {}", c.server.display(), c.server_key.display()).unwrap();
            if self.client_certificates {
                writeln!(text, "cafile {}\nrequire_certificate true", c.ca.display()).unwrap();
            }
        }
        text.push_str(&self.extra);
        if let Some(port) = side_port {
            writeln!(text, "listener {port} 127.0.0.1").unwrap();
        }
        // Started by root, Mosquitto would step down to a user that cannot read this folder.
        if rustix::process::geteuid().is_root() {
            text.push_str("user root\n");
        }
        let path = folder.join("mosquitto.conf");
        write_atomically(&path, text.as_bytes()).unwrap();
        path
    }
}

/// A running (or stopped) Mosquitto. Killed when dropped.
#[derive(Debug)]
pub struct Broker {
    folder: TempDir,
    config: PathBuf,
    port: u16,
    side_port: Option<u16>,
    certificates: Option<Certificates>,
    running: Option<(Child, OutputLines)>,
}

impl Broker {
    /// An anonymous one with nothing special.
    pub async fn plain() -> Broker {
        BrokerSetup::new().start().await
    }

    /// Its port on 127.0.0.1; the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of its plain listener.
    ///
    /// # Panics
    /// It was set up without a side door.
    pub fn side_port(&self) -> u16 {
        self.side_port.unwrap_or_else(|| panic!("this broker was set up without a side door"))
    }

    /// New certificates by a new CA, valid now; the broker has them from its next start on.
    pub fn renew_certificates(&mut self) {
        self.certificates = Some(Certificates::make(&self.folder.path().join("tls")));
    }

    /// `mqtt://127.0.0.1:<port>`, or `mqtts://localhost:<port>`.
    pub fn url(&self) -> String {
        if self.certificates.is_some() {
            return format!("mqtts://localhost:{}", self.port);
        }
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// The certificates of a TLS broker.
    ///
    /// # Panics
    /// It is none.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().unwrap_or_else(|| panic!("this broker was not set up with TLS"))
    }

    /// A folder that exists as long as the broker, for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the access list; the running broker reads it at once.
    ///
    /// # Panics
    /// The file cannot be written, or the broker does not run.
    #[expect(clippy::unwrap_used, reason = "test harness: a failure here is the test's failure")]
    pub async fn change_acl(&self, text: &str) {
        write_atomically(&self.folder.path().join("acl"), text.as_bytes()).unwrap();
        self.signal(Signal::HUP);
        let (_, log) = self.running.as_ref().unwrap();
        log.expect("the broker reads its configuration again", TIMEOUT, |l| l.contains("Reloading config"))
            .await;
    }

    /// What it logged since its last start.
    pub fn log(&self) -> Option<&OutputLines> {
        self.running.as_ref().map(|(_, log)| log)
    }

    /// Starts it (again) and waits until it accepts connections.
    ///
    /// # Panics
    /// Mosquitto is not installed, or does not start.
    pub async fn start(&mut self) {
        let program =
            if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" };
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {program} ({e}): apt install mosquitto"));
        let log = child.stderr.take().map_or_else(|| panic!("no stderr"), OutputLines::collect);
        let port = self.port;
        eventually("mosquitto accepts connections", Duration::from_secs(20), async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("mosquitto ended ({status}):\n{}", log.tail());
            }
            TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
        // Listeners are opened one after the other.
        if let Some(side) = self.side_port {
            listens(side).await;
        }
        self.running = Some((child, log));
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        self.end(Signal::KILL).await;
    }

    /// SIGTERM: it disconnects its clients and saves its state.
    pub async fn stop(&mut self) {
        self.end(Signal::TERM).await;
    }

    async fn end(&mut self, signal: Signal) {
        let Some((mut child, log)) = self.running.take() else { panic!("the broker does not run") };
        let ended = eventually("mosquitto ends", TIMEOUT, async || {
            // Repeated, because Mosquitto loses a SIGTERM that arrives during its start.
            send(child.id(), signal);
            tokio::time::timeout(Duration::from_millis(500), child.wait()).await.ok()
        });
        if ended.await.is_err() {
            panic!("mosquitto cannot be waited for:\n{}", log.tail());
        }
    }

    fn signal(&self, signal: Signal) {
        send(self.running.as_ref().and_then(|(child, _)| child.id()), signal);
    }
}

/// To a child of ours that was not waited for yet: the id is surely its own.
fn send(id: Option<u32>, signal: Signal) {
    let pid = id.and_then(|id| Pid::from_raw(id as i32)).unwrap_or_else(|| panic!("the broker does not run"));
    kill_process(pid, signal).unwrap_or_else(|e| panic!("cannot signal the broker: {e}"));
}
