//! The one place where the running node is changed: configurations, from wherever they come, and commands.
//!
//! Owner: the main task. A configuration goes the same way whatever its origin: the keeper verifies, validates and
//! stages it; it is applied; for the time of probation the node must do its work as well as before; then it is
//! committed, or the one before is applied again. Invariant: each step is on disk before it is taken, so a power
//! cut at any moment ends in the last configuration that proved itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::id::Name;
use aimass_signing::TrustConfig;
use bytes::Bytes;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::config::Problem;
use crate::config::diff::{Plan, needs_a_new_start};
use crate::config::revisions::{Candidate, ConfigManager, Decision};
use crate::exit::Failure;
use crate::node::baseline::Baseline;
use crate::node::running::Running;
use crate::node::systemd;
use crate::pipeline::views::SourceView;

/// How often a configuration on probation is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is remembered what works, for a trial that begins with the program.
const REMEMBER: Duration = Duration::from_secs(600);
/// How many probations a trial that begins with the program may take: after a power cut cameras and the broker are
/// only starting, too.
const SLOW_STARTS: u32 = 3;
/// Requests that may wait; more are refused by who asks.
const REQUESTS: usize = 16;

/// What a command asks of the running node.
#[derive(Debug)]
pub enum Request {
    /// Opens a camera anew.
    RestartSource {
        /// Which.
        id: String,
        /// What became of it.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Closes all cameras; the node stays so until they are opened, it is configured anew or started again.
    CloseSources {
        /// Said when it is done.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Opens all cameras anew.
    OpenSources {
        /// What became of it.
        reply: oneshot::Sender<Result<(), String>>,
    },
}

/// The queue of requests.
pub fn requests() -> (mpsc::Sender<Request>, mpsc::Receiver<Request>) {
    mpsc::channel(REQUESTS)
}

/// A configuration that must prove itself.
struct Trial {
    until: Instant,
    /// What is missed may come until then.
    last_call: Instant,
    before: Baseline,
}

/// The running node and what is known of its configurations.
pub struct Control {
    running: Running,
    keeper: ConfigManager,
    trust: watch::Sender<TrustConfig>,
    restarts: mpsc::Receiver<Name>,
    trial: Option<Trial>,
    /// How it was before a drain, while it lasts.
    drained: Option<Baseline>,
    settled: bool,
    settle_by: Instant,
}

impl Control {
    /// Takes a node that was just started as the keeper said. On a `trial` the configuration it was started with
    /// must prove itself first. `trust` is told whenever `[trust]` changes.
    pub fn new(
        mut running: Running,
        keeper: ConfigManager,
        trust: watch::Sender<TrustConfig>,
        trial: bool,
    ) -> Self {
        let restarts = running.take_restarts();
        let settle_by = Instant::now() + keeper.probation();
        let (trial_of, drained, settled) = (None, None, false);
        let mut control =
            Control { running, keeper, trust, restarts, trial: trial_of, drained, settled, settle_by };
        if trial {
            let before = control.keeper.remembered().and_then(|kept| serde_json::from_value(kept).ok());
            control.begin_trial(before.unwrap_or_default(), SLOW_STARTS);
        }
        control.tell();
        control
    }

    /// Takes the node back, to stop it; `in_order` if nothing but a signal ends it, which is no verdict on a trial.
    pub fn into_running(mut self, in_order: bool) -> Running {
        self.remember();
        if in_order {
            self.keeper.stopping();
        }
        self.running
    }

    /// Serves until it is dropped: pushes, requests, SIGHUP, and the end of a probation. What was begun is lost if
    /// it is dropped, so that is for the end of the program only.
    ///
    /// # Errors
    /// `Unavailable` if neither the new configuration nor the one before can be applied.
    pub async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        hangup: &mut Signal,
    ) -> Result<(), Failure> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut remember = interval_at(Instant::now() + REMEMBER, REMEMBER);
        loop {
            // Until it is known what works, nothing can be compared; the newest push waits meanwhile.
            let settled = self.has_settled();
            tokio::select! {
                push = next_push(self.running.pushes()), if settled => {
                    let verdict = self.keeper.offer_push(&push);
                    self.follow(verdict).await?;
                }
                Some(request) = requests.recv() => self.take_request(request).await,
                Some(id) = self.restarts.recv() => {
                    if self.drained.is_some() {
                        tracing::warn!(source = %id, "Not opened anew: the node is drained until it is resumed.");
                    } else if let Err(error) = self.running.restart_source(id.as_str()).await {
                        tracing::error!(source = %id, %error, "The source could not be opened anew.");
                    }
                }
                Some(()) = hangup.recv() => {
                    systemd::reloading();
                    self.reload().await?;
                    systemd::ready();
                }
                _ = look.tick(), if self.trial.is_some() || !settled => self.judge().await?,
                _ = remember.tick() => self.remember(),
            }
        }
    }

    /// Whether every source has shown what it is able to, or had the time for it.
    fn has_settled(&mut self) -> bool {
        if !self.settled {
            let sources = self.running.views.sources.borrow().clone();
            let undecided = |s: &Arc<SourceView>| {
                let status = s.status();
                status.state == crate::health::document::ConnectionState::Connecting && status.error.is_none()
            };
            self.settled = self.settle_by <= Instant::now() || !sources.iter().any(undecided);
        }
        self.settled
    }

    /// Looks again at what this machine asks for: the node's own file, or a configuration from the history.
    async fn reload(&mut self) -> Result<(), Failure> {
        let verdict = self.keeper.offer_reload();
        self.follow(verdict).await
    }

    async fn take_request(&mut self, request: Request) {
        match request {
            Request::RestartSource { reply, .. } if self.drained.is_some() => {
                reply.send(Err("the node is drained: resume it first".into())).ok();
            }
            Request::RestartSource { id, reply } => {
                let outcome = self.running.restart_source(&id).await.map_err(|e| e.to_string());
                reply.send(outcome).ok();
            }
            Request::CloseSources { reply } => {
                if self.drained.is_none() {
                    self.drained = Some(self.baseline());
                }
                self.running.close_sources().await;
                reply.send(Ok(())).ok();
            }
            Request::OpenSources { reply } => {
                self.drained = None;
                reply.send(self.running.open_sources().await.map_err(|e| e.to_string())).ok();
            }
        }
    }

    /// Does what the keeper decided; it has told the log why.
    async fn follow(&mut self, verdict: Decision) -> Result<(), Failure> {
        match verdict {
            Decision::Candidate(choice) => self.try_out(&choice).await?,
            Decision::Same | Decision::Rejected => {}
        }
        self.tell();
        Ok(())
    }

    async fn try_out(&mut self, choice: &Candidate) -> Result<(), Failure> {
        let problems = needs_a_new_start(self.running.config(), &choice.config);
        if !problems.is_empty() {
            return self.put_off(problems).await;
        }
        // Who was on trial and is superseded has not proved anything: what counts is how it was before both, and
        // before a drain.
        let drained = self.drained.take();
        if drained.is_some() {
            self.running.open_sources().await?;
        }
        let mut before = match self.trial.take() {
            Some(trial) => trial.before,
            None => drained.unwrap_or_else(|| self.baseline()),
        };
        let opened = Plan::between(self.running.config(), &choice.config);
        before.without_excuse_for(|source| opened.opens(source));
        if let Err(error) = self.keeper.begun() {
            return self.go_back(vec![Problem::new("", error.to_string())]).await;
        }
        match self.running.apply(&choice.config, choice.version).await {
            Ok(()) => self.begin_trial(before, 1),
            Err(problems) => self.go_back(problems).await?,
        }
        Ok(())
    }

    /// `probations`: for how many of them what is missed may still come.
    fn begin_trial(&mut self, before: Baseline, probations: u32) {
        let (version, probation) = (self.running.node.config_version(), self.keeper.probation());
        tracing::info!(version, probation_s = probation.as_secs(), "The configuration is on probation.");
        let now = Instant::now();
        self.trial = Some(Trial { until: now + probation, last_call: now + probation * probations, before });
    }

    /// Looks whether the configuration on trial has proved itself, or cannot any more.
    async fn judge(&mut self) -> Result<(), Failure> {
        let (works, probation, now) = (self.baseline(), self.keeper.probation(), Instant::now());
        let Some(trial) = &mut self.trial else { return Ok(()) };
        if self.drained.is_some() {
            // Closed cameras prove nothing.
            trial.until = now + probation;
            trial.last_call = trial.last_call.max(trial.until);
            return Ok(());
        }
        let config = self.running.config();
        let fatal = works.fatal_regressions(&trial.before, config);
        if !fatal.is_empty() {
            return self.go_back(fatal).await;
        }
        if trial.until <= now {
            let lost = works.regressions(&trial.before, config);
            if !lost.is_empty() {
                return if trial.last_call <= now { self.go_back(lost).await } else { Ok(()) };
            }
            // A disk that does not take it now may do so at the next look.
            let notes = works.not_delivering(config);
            match self.keeper.commit(&notes) {
                Ok(()) => {
                    self.trial = None;
                    self.remember();
                    let version = self.running.node.config_version();
                    tracing::info!(version, "The configuration has proved itself.");
                    self.tell();
                }
                Err(error) => {
                    tracing::error!(%error, "That the configuration proved itself cannot be written down.")
                }
            }
        }
        Ok(())
    }

    /// What the new configuration asks for is for the next start of the program, which looks at it again.
    async fn put_off(&mut self, problems: Vec<Problem>) -> Result<(), Failure> {
        for problem in &problems {
            tracing::error!(%problem, "The configuration cannot be taken over now.");
        }
        self.trial = None;
        let good = self.keeper.put_off(problems);
        self.hold(good).await
    }

    /// The configuration on trial failed: the one before holds again.
    async fn go_back(&mut self, problems: Vec<Problem>) -> Result<(), Failure> {
        self.trial = None;
        for problem in &problems {
            tracing::error!(%problem, "The configuration failed; the one before is applied again.");
        }
        let good = self.keeper.roll_back(problems);
        self.hold(good).await
    }

    async fn hold(&mut self, good: Candidate) -> Result<(), Failure> {
        // What changes nothing ends no drain; what changes a part must not leave the rest closed.
        if *self.running.config() != good.config && self.drained.take().is_some() {
            self.running.open_sources().await?;
        }
        let outcome = self.running.apply(&good.config, good.version).await;
        self.tell();
        outcome.map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::Unavailable(format!("the last good configuration cannot be applied: {}", all.join("; ")))
        })
    }

    /// What works now, if that says anything about the last known good.
    fn remember(&mut self) {
        if self.trial.is_none() && self.drained.is_none() && self.has_settled() {
            if let Ok(baseline) = serde_json::to_value(self.baseline().for_later()) {
                self.keeper.remember(&baseline);
            }
        }
    }

    fn baseline(&self) -> Baseline {
        let sources = self.running.views.sources.borrow().clone();
        let problem = |s: &Arc<SourceView>| Some((s.id.to_string(), s.problem()?));
        let unanalysed: BTreeMap<String, String> = sources.iter().filter_map(problem).collect();
        Baseline::of(&self.running.health(), unanalysed)
    }

    /// Tells the centre what runs and what became of the last push.
    fn tell(&self) {
        self.trust.send_if_modified(|known| {
            let news = known != self.keeper.trust();
            known.clone_from(self.keeper.trust());
            news
        });
        let report = serde_json::to_string(&self.keeper.report()).unwrap_or_default();
        if let Err(error) = self.running.board().set("config/reported", report, true) {
            tracing::warn!(%error, "The state of the configuration could not be told.");
        }
    }
}

/// The next desired configuration that the broker delivers; never, without a link.
async fn next_push(pushes: Option<&mut watch::Receiver<Option<Bytes>>>) -> Bytes {
    let Some(pushes) = pushes else { return std::future::pending().await };
    loop {
        if pushes.changed().await.is_err() {
            return std::future::pending().await;
        }
        if let Some(push) = pushes.borrow_and_update().clone() {
            return push;
        }
    }
}
