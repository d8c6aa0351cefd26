//! The only task that changes the running node: configurations, from the broker and from this machine, and requests.
//!
//! Owner: the main task. Every configuration takes the same way: the configuration manager verifies, validates and stages
//! it; it is applied; on probation the node must work as well as before; then it is committed, or the one before is
//! applied again. Invariant: each step is on disk before it is taken, so after a power cut the last configuration that
//! was committed runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::id::Name;
use aimass_signing::TrustConfig;
use bytes::Bytes;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::config::diff::{Plan, needs_a_new_start};
use crate::config::revisions::{Candidate, ConfigManager, Decision};
use crate::config::{Config, Problem};
use crate::exit::Failure;
use crate::handle::{ConfigOutcome, Reply, Request, RequestError};
use crate::health::document::ConnectionState;
use crate::node::baseline::Baseline;
use crate::node::config_worker::ConfigWorker;
use crate::node::running::Running;
use crate::node::systemd;
use crate::pipeline::views::SourceView;

/// How often a configuration on probation is evaluated.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often the baseline is stored, for a trial that begins with the next start of the program.
const STORE_BASELINE_EVERY: Duration = Duration::from_secs(600);
/// How many probations a trial may take that begins with the program: after a power cut cameras and the broker are still
/// starting, too.
const PROBATIONS_AT_START: u32 = 3;

/// The running node, as the controller changes it.
#[expect(
    async_fn_in_trait,
    reason = "the controller runs in the main task, which is not moved between threads"
)]
pub trait ManagedNode {
    /// The configuration in force.
    fn config(&self) -> &Config;
    /// Its version.
    fn config_version(&self) -> u64;
    /// What works now.
    fn baseline(&self) -> Baseline;
    /// Whether every source has delivered or failed.
    fn is_settled(&self) -> bool;
    /// Publishes the report on the configuration.
    fn publish_report(&self, report: String) -> Result<(), String>;
    /// The next configuration that the broker delivers. May be dropped while it waits.
    async fn next_push(&mut self) -> Bytes;
    /// Changes the node to another configuration; on errors it may have changed in part.
    async fn apply(&mut self, config: &Config, version: u64) -> Result<(), Vec<Problem>>;
    /// Closes a source and opens it again.
    async fn restart_source(&mut self, source: &Name) -> Result<(), RequestError>;
    /// Analyses a source, or only shows it.
    async fn set_analysed(&mut self, source: &Name, analysed: bool) -> Result<(), RequestError>;
    /// Closes all sources.
    async fn close_sources(&mut self);
    /// Opens all sources again.
    async fn open_sources(&mut self) -> Result<(), Failure>;
}

/// A configuration on probation.
struct Trial {
    /// When it is committed, if everything works.
    until: Instant,
    /// When it is rolled back, if something does not work that did before.
    last_call: Instant,
    before: Baseline,
}

/// The controller of a node.
pub struct Controller<N> {
    node: N,
    configs: ConfigWorker,
    trust: watch::Sender<TrustConfig>,
    trial: Option<Trial>,
    /// What worked before the node was drained, while it is.
    drained: Option<Baseline>,
    settled: bool,
    settle_by: Instant,
}

impl<N: ManagedNode> Controller<N> {
    /// Takes a node that was just started. With `trial`, the configuration it was started with is on probation.
    /// `trust` is updated whenever `[trust]` changes.
    ///
    /// # Errors
    /// `Bug` if the configuration manager panics.
    pub async fn new(
        node: N,
        configs: ConfigWorker,
        trust: watch::Sender<TrustConfig>,
        trial: bool,
    ) -> Result<Self, Failure> {
        let settle_by = Instant::now() + configs.snapshot().probation;
        let mut controller =
            Controller { node, configs, trust, trial: None, drained: None, settled: false, settle_by };
        if trial {
            let stored = controller.configs.call(|manager| manager.remembered()).await?;
            let before = stored.and_then(|stored| serde_json::from_value(stored).ok()).unwrap_or_default();
            controller.begin_trial(before, PROBATIONS_AT_START);
        }
        controller.publish();
        Ok(controller)
    }

    /// Returns the node, to stop it. `in_order` if the program was asked to end, which says nothing about a trial.
    pub async fn finish(mut self, in_order: bool) -> N {
        let baseline = self.storable_baseline();
        let work = move |manager: &mut ConfigManager| {
            if let Some(baseline) = baseline {
                manager.remember(&baseline);
            }
            if in_order {
                manager.stopping();
            }
        };
        self.configs.finish(work).await;
        self.node
    }

    /// Serves pushes, requests, SIGHUP and the end of a probation until it is dropped, which is for the end of the program
    /// only: what it was doing is lost.
    ///
    /// # Errors
    /// `Unavailable` if neither the new configuration nor the one before can be applied.
    pub async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        hangup: &mut Signal,
    ) -> Result<(), Failure> {
        let mut poll = interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut store_baseline = interval_at(Instant::now() + STORE_BASELINE_EVERY, STORE_BASELINE_EVERY);
        loop {
            // Before it is known what works there is nothing to compare with; the newest push waits.
            let settled = self.has_settled();
            tokio::select! {
                push = self.node.next_push(), if settled => {
                    self.submit(move |manager| manager.offer_push(&push)).await?;
                }
                Some(request) = requests.recv() => self.execute(request).await?,
                Some(()) = hangup.recv() => {
                    systemd::reloading();
                    self.submit(ConfigManager::offer_reload).await?;
                    systemd::ready();
                }
                _ = poll.tick(), if self.trial.is_some() || !settled => self.evaluate_trial().await?,
                _ = store_baseline.tick() => self.store_baseline().await?,
            }
        }
    }

    /// Whether every source has shown whether it works, or had the time for it.
    fn has_settled(&mut self) -> bool {
        self.settled = self.settled || self.settle_by <= Instant::now() || self.node.is_settled();
        self.settled
    }

    async fn execute(&mut self, request: Request) -> Result<(), Failure> {
        match request {
            Request::RestartSource { source, reply } => {
                let outcome = if self.drained.is_some() {
                    Err(RequestError::Drained)
                } else {
                    self.node.restart_source(&source).await
                };
                send(reply, outcome);
            }
            Request::SetAnalysed { source, analysed, reply } => {
                send(reply, self.node.set_analysed(&source, analysed).await);
            }
            Request::CloseSources { reply } => {
                if self.drained.is_none() {
                    self.drained = Some(self.node.baseline());
                }
                self.node.close_sources().await;
                send(reply, Ok(()));
            }
            Request::OpenSources { reply } => {
                self.drained = None;
                let outcome = self.node.open_sources().await;
                send(reply, outcome.map_err(|e| RequestError::Failed(e.to_string())));
            }
            Request::Reload { reply } => {
                let outcome = self.submit(ConfigManager::offer_reload).await?;
                send(reply, Ok(outcome));
            }
            Request::Apply { envelope, reply } => {
                let outcome = self.submit(move |manager| manager.offer_push(&envelope)).await?;
                send(reply, Ok(outcome));
            }
        }
        Ok(())
    }

    /// Submits something to the configuration manager and does what it decides; the manager logs the reasons.
    async fn submit(
        &mut self,
        submission: impl FnOnce(&mut ConfigManager) -> Decision + Send + 'static,
    ) -> Result<ConfigOutcome, Failure> {
        let decision = self.configs.call(submission).await?;
        let revision = match decision {
            Decision::Candidate(candidate) => {
                self.try_candidate(&candidate).await?;
                Some(candidate.revision)
            }
            Decision::Same => {
                self.publish();
                return Ok(ConfigOutcome::Unchanged);
            }
            Decision::Rejected => None,
        };
        self.publish();
        Ok(match revision {
            Some(revision) if self.trial.is_some() => ConfigOutcome::OnProbation(revision),
            _ => ConfigOutcome::Rejected(self.configs.snapshot().report.errors.clone()),
        })
    }

    async fn try_candidate(&mut self, candidate: &Candidate) -> Result<(), Failure> {
        let problems = needs_a_new_start(self.node.config(), &candidate.config);
        if !problems.is_empty() {
            return self.defer(problems).await;
        }
        // A trial that is superseded has proved nothing, and a drained node shows nothing: what counts is what worked
        // before both.
        let drained = self.drained.take();
        if drained.is_some() {
            self.node.open_sources().await?;
        }
        let mut before = match self.trial.take() {
            Some(trial) => trial.before,
            None => drained.unwrap_or_else(|| self.node.baseline()),
        };
        let plan = Plan::between(self.node.config(), &candidate.config);
        before.without_excuse_for(|source| plan.opens(source));
        if let Err(error) = self.configs.call(ConfigManager::begun).await? {
            return self.roll_back(vec![Problem::new("", error.to_string())]).await;
        }
        match self.node.apply(&candidate.config, candidate.version).await {
            Ok(()) => self.begin_trial(before, 1),
            Err(problems) => self.roll_back(problems).await?,
        }
        Ok(())
    }

    /// `probations`: how many of them a source or the broker may take to come back.
    fn begin_trial(&mut self, before: Baseline, probations: u32) {
        let (version, probation) = (self.node.config_version(), self.configs.snapshot().probation);
        tracing::info!(version, probation_s = probation.as_secs(), "The configuration is on probation.");
        let now = Instant::now();
        self.trial = Some(Trial { until: now + probation, last_call: now + probation * probations, before });
    }

    /// Commits or rolls back the configuration on probation, if it is decided.
    async fn evaluate_trial(&mut self) -> Result<(), Failure> {
        let (current, probation, now) =
            (self.node.baseline(), self.configs.snapshot().probation, Instant::now());
        let Some(trial) = &mut self.trial else { return Ok(()) };
        if self.drained.is_some() {
            // Closed cameras prove nothing.
            trial.until = now + probation;
            trial.last_call = trial.last_call.max(trial.until);
            return Ok(());
        }
        let config = self.node.config();
        let fatal = current.fatal_regressions(&trial.before, config);
        if !fatal.is_empty() {
            return self.roll_back(fatal).await;
        }
        if now < trial.until {
            return Ok(());
        }
        let regressions = current.regressions(&trial.before, config);
        if !regressions.is_empty() {
            return if trial.last_call <= now { self.roll_back(regressions).await } else { Ok(()) };
        }
        let notes = current.not_delivering(config);
        match self.configs.call(move |manager| manager.commit(&notes)).await? {
            Ok(()) => {
                self.trial = None;
                self.store_baseline().await?;
                tracing::info!(version = self.node.config_version(), "The configuration was committed.");
                self.publish();
            }
            // The disk may take it at the next evaluation.
            Err(error) => tracing::error!(%error, "The configuration works, but could not be committed."),
        }
        Ok(())
    }

    /// The candidate needs a new start of the program, which evaluates it again.
    async fn defer(&mut self, problems: Vec<Problem>) -> Result<(), Failure> {
        for problem in &problems {
            tracing::error!(%problem, "The configuration cannot be applied while the node runs.");
        }
        self.trial = None;
        let good = self.configs.call(move |manager| manager.put_off(problems)).await?;
        self.restore(good).await
    }

    /// The configuration on probation failed: the last good one is applied again.
    async fn roll_back(&mut self, problems: Vec<Problem>) -> Result<(), Failure> {
        self.trial = None;
        for problem in &problems {
            tracing::error!(%problem, "The configuration failed; the one before is applied again.");
        }
        let good = self.configs.call(move |manager| manager.roll_back(problems)).await?;
        self.restore(good).await
    }

    async fn restore(&mut self, good: Candidate) -> Result<(), Failure> {
        // A drain goes on if nothing changes; otherwise all sources are opened, not only those that change.
        if *self.node.config() != good.config && self.drained.take().is_some() {
            self.node.open_sources().await?;
        }
        let outcome = self.node.apply(&good.config, good.version).await;
        self.publish();
        outcome.map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::Unavailable(format!("the last good configuration cannot be applied: {}", all.join("; ")))
        })
    }

    async fn store_baseline(&mut self) -> Result<(), Failure> {
        match self.storable_baseline() {
            Some(baseline) => self.configs.call(move |manager| manager.remember(&baseline)).await,
            None => Ok(()),
        }
    }

    /// What works now, if that says something about the last good configuration.
    fn storable_baseline(&mut self) -> Option<serde_json::Value> {
        if self.trial.is_some() || self.drained.is_some() || !self.has_settled() {
            return None;
        }
        serde_json::to_value(self.node.baseline().for_later()).ok()
    }

    /// Publishes `[trust]` within the program, and the report at the broker.
    fn publish(&self) {
        let snapshot = self.configs.snapshot();
        self.trust.send_if_modified(|trust| {
            let changed = *trust != snapshot.trust;
            trust.clone_from(&snapshot.trust);
            changed
        });
        let report = serde_json::to_string(&snapshot.report).unwrap_or_default();
        if let Err(error) = self.node.publish_report(report) {
            tracing::warn!(error, "The report on the configuration could not be published.");
        }
    }
}

/// Sends a reply. An error means that the requester is gone.
fn send<T>(reply: Reply<T>, outcome: Result<T, RequestError>) {
    reply.send(outcome).ok();
}

impl ManagedNode for Running {
    fn config(&self) -> &Config {
        Running::config(self)
    }

    fn config_version(&self) -> u64 {
        self.node.config_version()
    }

    fn baseline(&self) -> Baseline {
        let sources = self.handle.sources();
        let problem = |s: &Arc<SourceView>| Some((s.id.to_string(), s.problem()?));
        let unanalysed: BTreeMap<String, String> = sources.iter().filter_map(problem).collect();
        Baseline::of(&self.handle.health(), unanalysed)
    }

    fn is_settled(&self) -> bool {
        let undecided = |s: &Arc<SourceView>| {
            let status = s.status();
            status.state == ConnectionState::Connecting && status.error.is_none()
        };
        !self.handle.sources().iter().any(undecided)
    }

    fn publish_report(&self, report: String) -> Result<(), String> {
        Running::publish_report(self, report)
    }

    async fn next_push(&mut self) -> Bytes {
        let Some(pushes) = self.pushes() else { return std::future::pending().await };
        loop {
            if pushes.changed().await.is_err() {
                return std::future::pending().await;
            }
            if let Some(push) = pushes.borrow_and_update().clone() {
                return push;
            }
        }
    }

    async fn apply(&mut self, config: &Config, version: u64) -> Result<(), Vec<Problem>> {
        Running::apply(self, config, version).await
    }

    async fn restart_source(&mut self, source: &Name) -> Result<(), RequestError> {
        Running::restart_source(self, source).await
    }

    async fn set_analysed(&mut self, source: &Name, analysed: bool) -> Result<(), RequestError> {
        Running::set_analysed(self, source, analysed).await
    }

    async fn close_sources(&mut self) {
        Running::close_sources(self).await;
    }

    async fn open_sources(&mut self) -> Result<(), Failure> {
        Running::open_sources(self).await
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
