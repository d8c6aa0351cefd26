//! How well the node does its work: taken before another configuration is tried, compared while it is tried.
//!
//! Pure. Invariant: what did not work before is no reason to go back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Problem};
use crate::health::document::{BrokerState, ConnectionState, HealthDocument, WorkerState};

/// What works at a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Cameras that deliver pictures, and clips that have ended.
    delivering: BTreeSet<String>,
    /// Cameras that do not, and why, as far as it is known and still of interest.
    #[serde(default)]
    silent: BTreeMap<String, String>,
    /// Cameras and microphones that can never deliver by this configuration on this board, and why.
    #[serde(default)]
    misconfigured: BTreeMap<String, String>,
    /// Cameras whose chain cannot run, and why.
    unanalysed: BTreeMap<String, String>,
    /// Workers that failed too often, and why.
    gave_up: BTreeMap<String, String>,
    /// Whether the broker is there; `None` if none is asked for.
    online: Option<bool>,
    /// Why it is not.
    #[serde(skip)]
    offline_because: Option<String>,
}

impl Baseline {
    /// From the health of the node, and the cameras whose chain cannot run, with the reason.
    pub fn of(health: &HealthDocument, unanalysed: BTreeMap<String, String>) -> Self {
        let (mut delivering, mut silent) = (BTreeSet::new(), BTreeMap::new());
        let mut misconfigured = BTreeMap::new();
        for source in &health.sources {
            if matches!(source.state, ConnectionState::Delivering | ConnectionState::Ended) {
                delivering.insert(source.id.clone());
            } else {
                let why = source.error.clone().unwrap_or_else(|| source.state.to_string());
                let kind = if source.misconfigured { &mut misconfigured } else { &mut silent };
                kind.insert(source.id.clone(), why);
            }
        }
        let gave_up = health.workers.iter().filter(|w| w.state == WorkerState::Failed);
        Baseline {
            delivering,
            silent,
            misconfigured,
            unanalysed,
            gave_up: gave_up.map(|w| (w.name.clone(), w.last_error.clone().unwrap_or_default())).collect(),
            online: (health.broker.state != BrokerState::Off)
                .then(|| health.broker.state == BrokerState::Online),
            offline_because: health.broker.last_error.clone(),
        }
    }

    /// What another life may compare with: what works and what is broken for good, not why it is silent just now.
    pub fn for_later(&self) -> Baseline {
        let silent = self.silent.keys().map(|id| (id.clone(), String::new())).collect();
        Baseline { silent, offline_because: None, ..self.clone() }
    }

    /// These sources are opened anew by another configuration: that they were silent is no excuse for it.
    pub fn without_excuse_for(&mut self, opened_anew: impl Fn(&str) -> bool) {
        self.silent.retain(|source, _| !opened_anew(source));
    }

    /// What is broken for good since `before`: waiting helps nobody.
    pub fn fatal_regressions(&self, before: &Baseline, config: &Config) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (camera, why) in self.unanalysed.iter().filter(|(c, _)| !before.unanalysed.contains_key(*c)) {
            problems.extend(place(config, camera).map(|at| Problem::new(format!("{at}.chain"), why)));
        }
        // What is new is to work; what was known and did not deliver, for whatever reason, is no reason to go back.
        let mattered = |s: &String| !before.misconfigured.contains_key(s) && !before.silent.contains_key(s);
        for (source, why) in self.misconfigured.iter().filter(|(source, _)| mattered(source)) {
            problems.extend(place(config, source).map(|at| Problem::new(at, why)));
        }
        for (worker, why) in self.gave_up.iter().filter(|(w, _)| !before.gave_up.contains_key(*w)) {
            problems.push(Problem::new("", format!("the worker {worker} failed too often: {why}")));
        }
        problems
    }

    /// What does not deliver, whether it ever did or not.
    pub fn not_delivering(&self, config: &Config) -> Vec<Problem> {
        let silent = self.silent.iter().chain(&self.misconfigured);
        silent
            .filter_map(|(source, why)| {
                Some(Problem::new(place(config, source)?, format!("does not deliver: {why}")))
            })
            .collect()
    }

    /// What worked before and does not work now, though `config` asks for it.
    pub fn regressions(&self, before: &Baseline, config: &Config) -> Vec<Problem> {
        let mut problems = self.fatal_regressions(before, config);
        let known = |camera: &&String| !self.misconfigured.contains_key(*camera);
        for camera in before.delivering.difference(&self.delivering).filter(known) {
            let why = self.silent.get(camera).map_or("it is not there", String::as_str);
            let at = place(config, camera);
            let kind =
                if at.as_deref().is_some_and(|at| at.starts_with('m')) { "microphone" } else { "camera" };
            let message = format!("the {kind} delivered before and does not now: {why}");
            problems.extend(at.map(|at| Problem::new(at, message)));
        }
        if before.online == Some(true) && self.online == Some(false) {
            let why = self.offline_because.as_deref().unwrap_or("no connection");
            let message = format!("the broker was reached before and is not now: {why}");
            problems.push(Problem::new("broker", message));
        }
        problems
    }
}

/// Where a camera or a microphone stands in a configuration; `None` if it is not there, and then nobody misses it.
fn place(config: &Config, camera: &str) -> Option<String> {
    let at = config.camera.iter().position(|c| c.id.as_str() == camera).map(|n| format!("camera[{n}]"));
    let microphone = || config.microphone.iter().position(|m| m.id.as_str() == camera);
    at.or_else(|| microphone().map(|n| format!("microphone[{n}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let text = "node.site = \"s\"\nnode.id = \"n\"\n[[camera]]\nid = \"a\"\nsource = \"test:\"\n\
                    [[camera]]\nid = \"b\"\nsource = \"test:\"\n";
        crate::config::parse(text).unwrap()
    }

    fn baseline(delivering: &[&str], online: Option<bool>) -> Baseline {
        let delivering = delivering.iter().map(ToString::to_string).collect();
        Baseline { delivering, online, ..Baseline::default() }
    }

    #[test]
    fn a_camera_that_worked_and_is_silent_now_is_a_reason_to_go_back() {
        let mut now = baseline(&["a"], None);
        now.silent.insert("b".into(), "connection refused".into());
        let lost = now.regressions(&baseline(&["a", "b"], None), &config());
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].path, "camera[1]");
        assert!(lost[0].message.contains("connection refused"), "{}", lost[0].message);
    }

    #[test]
    fn cameras_that_were_silent_before_or_are_no_longer_asked_for_are_no_reason() {
        assert_eq!(baseline(&["a"], None).regressions(&baseline(&["a"], None), &config()), []);
        assert_eq!(baseline(&["a"], None).regressions(&baseline(&["a", "gone"], None), &config()), []);
    }

    #[test]
    fn a_broker_that_was_there_must_be_there_unless_none_is_asked_for() {
        let before = baseline(&[], Some(true));
        assert_eq!(baseline(&[], Some(false)).regressions(&before, &config())[0].path, "broker");
        assert_eq!(baseline(&[], None).regressions(&before, &config()), []);
        assert_eq!(baseline(&[], Some(false)).regressions(&baseline(&[], Some(false)), &config()), []);
    }

    #[test]
    fn a_chain_that_cannot_run_is_fatal_at_once_but_not_if_it_could_not_before() {
        let mut now = baseline(&["a"], None);
        now.unanalysed.insert("a".into(), "no model".into());
        let problems = now.fatal_regressions(&Baseline::default(), &config());
        assert_eq!(problems[0].path, "camera[0].chain");
        assert_eq!(now.fatal_regressions(&now.clone(), &config()), []);
    }

    #[test]
    fn a_camera_that_cannot_deliver_by_its_configuration_is_fatal_at_once_and_told_once() {
        let mut now = baseline(&["a"], None);
        now.misconfigured.insert("b".into(), "offers nothing that fits".into());
        let problems = now.regressions(&baseline(&["a", "b"], None), &config());
        assert_eq!(problems, [Problem::new("camera[1]", "offers nothing that fits")]);
        assert_eq!(now.regressions(&now.clone(), &config()), []);
        let mut away = baseline(&["a"], None);
        away.silent.insert("b".into(), "unplugged".into());
        assert_eq!(now.regressions(&away.for_later(), &config()), [], "it was away before");
        away.without_excuse_for(|source| source == "b");
        assert_eq!(now.regressions(&away, &config()).len(), 1, "but it is what was changed");
        let text = serde_json::to_string(&now.for_later()).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&text).unwrap().misconfigured, now.misconfigured);
    }
}
