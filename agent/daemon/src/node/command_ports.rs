//! What commands may do to this node: the ports of [`crate::commands`], and the way from the link to them.
//!
//! Owner: the main task sets it up; the task `commands` carries out. Invariant: what changes the node goes through
//! the control task, one thing after the other, together with configurations.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aimass_mqtt::LinkHandle;
use aimass_signing::TrustConfig;
use aimass_store::Store;
use tokio::sync::{mpsc, oneshot, watch};

use crate::commands::{self, Answer, CommandError, CommandPorts, CommandRequest, Doing, Prove};
use crate::logging;
use crate::node::controller::Request;
use crate::node::running::MQTT_SINK;
use crate::pipeline::views::ApiContext;

/// Commands that may wait for the task.
const WAITING: usize = 16;

/// What the ports are made of.
pub struct Deps {
    /// Signature, recipient, life time and nonce.
    pub prove: Arc<Prove>,
    /// `[trust]` as it counts now.
    pub trust: watch::Receiver<TrustConfig>,
    /// The node's own file: its folder is where secrets lie if `[trust]` names no others.
    pub own_file: PathBuf,
    /// To the control task.
    pub requests: mpsc::Sender<Request>,
    /// The sources and the clock.
    pub views: ApiContext,
    /// The outbox.
    pub store: Store,
}

/// The queue of commands, and the task that carries them out.
pub fn start(needs: Deps) -> (mpsc::Sender<CommandRequest>, impl Future<Output = ()> + Send + 'static) {
    let (asked, queue) = mpsc::channel(WAITING);
    (asked, commands::run(queue, ports(needs)))
}

/// Hands on what comes over a link, until it ends.
pub fn listen(link: &LinkHandle, asked: mpsc::Sender<CommandRequest>) {
    let (Some(mut commands), replies) = (link.take_commands(), link.replies()) else { return };
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let (name, replies) = (command.name.clone(), replies.clone());
            let answer = command.reply_to.map(|to| -> Answer {
                Box::new(move |answer| {
                    if let Err(error) = replies.reply(&to, answer) {
                        tracing::warn!(command = name, %error, "An answer could not be sent.");
                    }
                })
            });
            let command = CommandRequest { name: command.name, payload: command.payload, answer };
            if asked.send(command).await.is_err() {
                return;
            }
        }
    });
}

fn ports(needs: Deps) -> CommandPorts {
    let Deps { prove, trust, own_file, requests, views, store } = needs;
    let (restart, close, open) = (requests.clone(), requests.clone(), requests);
    let known = views.clone();
    CommandPorts {
        prove,
        restart_source: Arc::new(move |id| {
            let (requests, known) = (restart.clone(), known.clone());
            Box::pin(async move {
                if known.source(id.as_str()).is_none() {
                    let sources = known.sources.borrow().clone();
                    let names: Vec<String> = sources.iter().map(|s| s.id.to_string()).collect();
                    return Err(CommandError::unknown_source(id.as_str(), &names));
                }
                ask(&requests, |reply| Request::RestartSource { id: id.to_string(), reply }).await
            })
        }),
        close_sources: asking(close, |reply| Request::CloseSources { reply }),
        open_sources: asking(open, |reply| Request::OpenSources { reply }),
        outbox_depth: Arc::new(move || {
            let store = store.clone();
            Box::pin(async move {
                let stats = store.stats().await.map_err(|e| CommandError::new("store", e.to_string()))?;
                // Without a broker nobody waits for anything.
                Ok(stats.sinks.get(MQTT_SINK).map_or(0, |sink| sink.depth))
            })
        }),
        secret_folders: Arc::new(move || secret_folders(&trust.borrow(), &own_file)),
        views,
        logs: logging::logs(),
    }
}

/// A question to the control task.
type Reply = oneshot::Sender<Result<(), String>>;

fn asking(
    requests: mpsc::Sender<Request>,
    request: fn(Reply) -> Request,
) -> Arc<dyn Fn() -> Doing<()> + Send + Sync> {
    Arc::new(move || {
        let requests = requests.clone();
        Box::pin(async move { ask(&requests, request).await })
    })
}

async fn ask(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(Reply) -> Request,
) -> Result<(), CommandError> {
    let (reply, answer) = oneshot::channel();
    let busy = || CommandError::new("busy", "too many requests wait: try again later");
    requests.try_send(request(reply)).map_err(|_| busy())?;
    let outcome = answer.await.map_err(|_| CommandError::new("unavailable", "the node is stopping"))?;
    outcome.map_err(|problem| CommandError::new("failed", problem))
}

fn secret_folders(trust: &TrustConfig, own_file: &Path) -> Vec<PathBuf> {
    if !trust.secret_folders.is_empty() {
        return trust.secret_folders.clone();
    }
    let folder = own_file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A link to the folder is as good as the folder.
    vec![folder.canonicalize().unwrap_or_else(|_| folder.to_owned())]
}
