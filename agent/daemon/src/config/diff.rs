//! What must be done to get from one configuration to another: as little as possible.
//!
//! Pure. Invariant: two equal configurations give an empty plan, and a camera whose part is the same in both is
//! not in the plan.

use aimass_core::id::Name;

use crate::config::chain;
use crate::config::home_assistant::subscriptions;
use crate::config::{CameraConfig, Config, MicrophoneConfig, Problem};

/// What becomes of a camera or a microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Start,
    /// Other zones or lines, another floor or priority: nothing stops, tracks go on.
    UpdateZones,
    /// It is opened anew, alone.
    Restart,
    /// It is gone.
    Stop,
}

/// The way from one configuration to another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By camera; those that are gone first, so that their devices are free for others.
    pub cameras: Vec<(Name, Change)>,
    /// By microphone, likewise.
    pub microphones: Vec<(Name, Change)>,
    /// The link connects anew.
    pub broker: bool,
    /// The page and the API move.
    pub http: bool,
    /// Another number of inferences at once.
    pub parallel: bool,
}

impl Plan {
    /// Whether a camera or a microphone is opened, for the first time or anew.
    pub fn opens(&self, source: &str) -> bool {
        let opened = |(id, change): &(Name, Change)| {
            id.as_str() == source && matches!(change, Change::Start | Change::Restart)
        };
        self.cameras.iter().chain(&self.microphones).any(opened)
    }

    /// From `old` to `new`, both valid.
    pub fn between(old: &Config, new: &Config) -> Plan {
        let mut cameras = Vec::new();
        for camera in &old.camera {
            if find(new, &camera.id).is_none() {
                cameras.push((camera.id.clone(), Change::Stop));
            }
        }
        for camera in &new.camera {
            let change = match find(old, &camera.id) {
                None => Some(Change::Start),
                Some(before) => change_of((before, old), (camera, new)),
            };
            cameras.extend(change.map(|change| (camera.id.clone(), change)));
        }
        Plan {
            cameras,
            microphones: of_microphones(&old.microphone, &new.microphone),
            // What the link listens to is settled when it begins.
            broker: old.broker != new.broker || subscriptions(old) != subscriptions(new),
            http: old.http != new.http,
            parallel: old.inference.parallel != new.inference.parallel,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }
}

/// What cannot change while the program runs: everything else hangs on it.
pub fn needs_a_new_start(old: &Config, new: &Config) -> Vec<Problem> {
    [
        ("node", old.node != new.node),
        ("store", old.store != new.store),
        ("inference.model_folders", old.inference.model_folders != new.inference.model_folders),
        ("inference.threads", old.inference.threads != new.inference.threads),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(path, _)| Problem::new(path, "cannot change while the node runs: start the program anew for this"))
    .collect()
}

fn find<'a>(config: &'a Config, id: &Name) -> Option<&'a CameraConfig> {
    config.camera.iter().find(|c| c.id == *id)
}

fn of_microphones(old: &[MicrophoneConfig], new: &[MicrophoneConfig]) -> Vec<(Name, Change)> {
    let known = |list: &[MicrophoneConfig], id: &Name| list.iter().find(|m| m.id == *id).cloned();
    let gone = old.iter().filter(|m| known(new, &m.id).is_none()).map(|m| (m.id.clone(), Change::Stop));
    let others = new.iter().filter_map(|m| match known(old, &m.id) {
        None => Some((m.id.clone(), Change::Start)),
        Some(before) => (before != *m).then(|| (m.id.clone(), Change::Restart)),
    });
    gone.chain(others).collect()
}

fn change_of(
    (before, old): (&CameraConfig, &Config),
    (after, new): (&CameraConfig, &Config),
) -> Option<Change> {
    // What the governor may take from it is looked up at each of its looks.
    let undrawn = |camera: &CameraConfig| CameraConfig {
        zone: vec![],
        line: vec![],
        min_fps: None,
        priority: 0,
        ..camera.clone()
    };
    // The names of a chain may be the same and stand for something else.
    let links = |camera: &CameraConfig, config: &Config| chain::resolve(&camera.chain, &config.analyzer);
    if undrawn(before) != undrawn(after) || links(before, old) != links(after, new) {
        return Some(Change::Restart);
    }
    (before != after).then_some(Change::UpdateZones)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl Fn(&mut Config)) -> Config {
        let mut config = crate::config::parse(
            r#"
            [node]
            site = "s"
            id = "n"
            [[camera]]
            id = "dock"
            source = "test:"
            [[camera.zone]]
            id = "bay"
            polygon = [[0,0],[1,0],[1,1]]
            [[camera]]
            id = "yard"
            source = "test:"
            chain = ["people"]
            [analyzer.people]
            kind = "detect"
            "#,
        )
        .unwrap();
        change(&mut config);
        config
    }

    fn changes(change: impl Fn(&mut Config)) -> Vec<(String, Change)> {
        let plan = Plan::between(&config(|_| {}), &config(change));
        plan.cameras.into_iter().map(|(id, change)| (id.to_string(), change)).collect()
    }

    #[test]
    fn the_same_configuration_asks_for_nothing() {
        assert!(Plan::between(&config(|_| {}), &config(|_| {})).is_empty());
    }

    #[test]
    fn a_moved_corner_of_a_zone_restarts_nothing() {
        let moved = changes(|c| c.camera[0].zone[0].polygon.0[1] = [0.9, 0.0].into());
        assert_eq!(moved, [("dock".to_owned(), Change::UpdateZones)]);
    }

    #[test]
    fn another_priority_or_floor_restarts_nothing() {
        for change in
            [|c: &mut Config| c.camera[0].priority = 9, |c: &mut Config| c.camera[0].min_fps = Some(2.0)]
        {
            assert_eq!(changes(change), [("dock".to_owned(), Change::UpdateZones)]);
        }
    }

    #[test]
    fn a_changed_camera_restarts_alone() {
        let faster = changes(|c| c.camera[1].fps = 2.0);
        assert_eq!(faster, [("yard".to_owned(), Change::Restart)]);
    }

    #[test]
    fn a_changed_analyzer_restarts_the_cameras_that_use_it() {
        let surer = changes(|c| {
            if let Some(people) = c.analyzer.get_mut("people") {
                people.set(None, Some(0.8));
            }
        });
        assert_eq!(surer, [("yard".to_owned(), Change::Restart)]);
    }

    #[test]
    fn cameras_that_go_make_room_before_others_come() {
        let swapped = changes(|c| c.camera[0].id = "door".parse().unwrap());
        assert_eq!(swapped, [("dock".to_owned(), Change::Stop), ("door".to_owned(), Change::Start)]);
    }

    #[test]
    fn a_changed_microphone_restarts_alone() {
        let with = |source: &str| {
            let text = format!("id = \"door\"\nsource = \"{source}\"\n");
            let microphone: MicrophoneConfig = toml::from_str(&text).unwrap();
            config(move |c| c.microphone = vec![microphone.clone()])
        };
        let plan = Plan::between(&with("test:"), &with("test:?hz=1000"));
        assert_eq!(plan.microphones, [("door".parse().unwrap(), Change::Restart)]);
        assert_eq!(Plan { microphones: vec![], ..plan }, Plan::default());
        let (none, some) = (config(|_| {}), with("test:"));
        assert_eq!(Plan::between(&none, &some).microphones[0].1, Change::Start);
        assert_eq!(Plan::between(&some, &none).microphones[0].1, Change::Stop);
    }

    #[test]
    fn the_store_and_the_name_of_the_node_stay_while_it_runs() {
        let moved = config(|c| {
            c.store.path = "/elsewhere/agent.db".into();
            c.node.id = "other".parse().unwrap();
        });
        let paths: Vec<_> = needs_a_new_start(&config(|_| {}), &moved).into_iter().map(|p| p.path).collect();
        assert_eq!(paths, ["node", "store"]);
    }
}
