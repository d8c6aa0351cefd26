//! States of a former life: the broker keeps retained values longer than the one who told them.
//!
//! After an orderly stop they are right; after a crash nobody has taken them back. So the names that were told are
//! kept in the store, and the next life settles them before it is `online`: what it does not know to be so is
//! reset, what it does not watch any longer is withdrawn. Owner: the main task, at the start.

use std::collections::BTreeSet;

use aimass_core::id::Name;
use aimass_mqtt::RetainedStates;
use aimass_store::Store;
use serde_json::Value;

use crate::config::{CameraConfig, Config};
use crate::pipeline::microphone::{LEVEL, level_value};

/// The key of the list of sources that have told states.
const SOURCES: &str = "told_sources";

/// Sources whose told states are remembered.
const MOST_KNOWN: usize = 128;

/// The key under which the names of a source's told states lie in the store.
pub fn key(source: &Name) -> String {
    format!("told/{source}")
}

/// What becomes of a state that a former life told.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is still so, or is told anew at once.
    Stays,
    /// To this value, until something else is known.
    Reset(String),
    /// Nobody watches it any longer.
    Withdrawn,
}

fn fate(state: &str, source: &Name, config: &Config) -> Fate {
    if config.microphone.iter().any(|m| m.id == *source) {
        return match state {
            "health" => Fate::Stays,
            LEVEL => Fate::Reset(level_value(None).to_string()),
            _ => Fate::Withdrawn,
        };
    }
    let Some(camera) = config.camera.iter().find(|c| c.id == *source) else { return Fate::Withdrawn };
    of_camera(state, camera)
}

fn of_camera(state: &str, camera: &CameraConfig) -> Fate {
    let mut levels = state.split('/');
    match (levels.next(), levels.next()) {
        (Some("motion"), None) => Fate::Reset("false".to_owned()),
        (Some("health"), None) => Fate::Stays,
        (Some("count"), Some(zone)) if camera.zone.iter().any(|z| z.id.as_str() == zone) => {
            Fate::Reset("0".to_owned())
        }
        // Totals go on where they were.
        (Some("line"), Some(line)) if camera.line.iter().any(|l| l.id.as_str() == line) => Fate::Stays,
        _ => Fate::Withdrawn,
    }
}

/// States of programs before schema 2 that no list of told states has: the node's own.
const OLD_NODE_STATE: &str = "state/node/sight";

/// Settles the states of the former life. What cannot be read is left as it is: a wrong retained value must not
/// keep the node from its work.
pub async fn settle(config: &Config, store: &Store, board: &RetainedStates) {
    let sources: BTreeSet<Name> = read(store, SOURCES).await.unwrap_or_default();
    for source in &sources {
        for state in read::<BTreeSet<String>>(store, &key(source)).await.unwrap_or_default() {
            let topic = format!("state/{source}/{state}");
            let told = match fate(&state, source, config) {
                Fate::Stays => Ok(()),
                Fate::Reset(value) => board.set(&topic, value, true),
                Fate::Withdrawn => {
                    let told = board.set(&topic, "", true);
                    board.remove(&topic);
                    told
                }
            };
            if let Err(error) = told {
                tracing::warn!(topic, %error, "A state of the former life could not be settled.");
            }
        }
    }
    if let Err(error) = board.set(OLD_NODE_STATE, "", true) {
        tracing::warn!(topic = OLD_NODE_STATE, %error, "A state of an older program could not be withdrawn.");
    }
    board.remove(OLD_NODE_STATE);
    remember(config, store).await;
}

/// Notes which sources may tell states from now on. Those that are gone stay on the list, up to 128 of
/// all: whether the broker has forgotten them, a life that never reached it cannot know, and to withdraw them once
/// more at each start costs little.
pub async fn remember(config: &Config, store: &Store) {
    let known: BTreeSet<Name> = read(store, SOURCES).await.unwrap_or_default();
    let microphones = config.microphone.iter().map(|m| &m.id);
    let now: BTreeSet<Name> = config.camera.iter().map(|c| &c.id).chain(microphones).cloned().collect();
    let mut all: BTreeSet<Name> = known.union(&now).cloned().collect();
    for gone in known.difference(&now).take(all.len().saturating_sub(MOST_KNOWN)) {
        write(store, &key(gone), &Value::Null).await;
        all.remove(gone);
    }
    if known != all {
        write(store, SOURCES, &serde_json::to_value(&all).unwrap_or_default()).await;
    }
}

/// The names that a source has told, in this life or an earlier one.
pub async fn told_by(source: &Name, store: &Store) -> BTreeSet<String> {
    read(store, &key(source)).await.unwrap_or_default()
}

async fn read<T: serde::de::DeserializeOwned>(store: &Store, key: &str) -> Option<T> {
    match store.get_value(key).await {
        Ok(value) => serde_json::from_value(value?).ok(),
        Err(error) => {
            tracing::warn!(key, %error, "What the former life told cannot be read.");
            None
        }
    }
}

async fn write(store: &Store, key: &str, value: &Value) {
    if let Err(error) = store.put_value(key, value).await {
        tracing::warn!(key, %error, "What was told could not be noted.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_reset_and_what_is_not_watched_withdrawn() {
        let config = crate::config::parse(
            r#"
            [node]
            site = "s"
            [[camera]]
            id = "dock"
            source = "test:"
            [[camera.zone]]
            id = "bay"
            polygon = [[0,0],[1,0],[1,1]]
            [[camera.line]]
            id = "door"
            from = [0.1,0.6]
            to = [0.9,0.6]
            [[microphone]]
            id = "door"
            source = "test:"
            "#,
        )
        .unwrap();
        let [dock, door, gone] = ["dock", "door", "gone"].map(|id| id.parse::<Name>().unwrap());
        for (state, expected) in [
            ("motion", Fate::Reset("false".into())),
            ("health", Fate::Stays),
            ("count/bay/traffic-light", Fate::Reset("0".into())),
            ("count/yard/person", Fate::Withdrawn),
            ("line/door/in", Fate::Stays),
            ("line/gate/in", Fate::Withdrawn),
            ("sight", Fate::Withdrawn),
            ("what", Fate::Withdrawn),
        ] {
            assert_eq!(fate(state, &dock, &config), expected, "{state}");
            assert_eq!(fate(state, &gone, &config), Fate::Withdrawn, "{state} of a source that is gone");
        }
        let unknown = r#"{"rms_dbfs":null,"peak_dbfs":null}"#;
        for (state, expected) in
            [("level", Fate::Reset(unknown.into())), ("health", Fate::Stays), ("motion", Fate::Withdrawn)]
        {
            assert_eq!(fate(state, &door, &config), expected, "{state} of a microphone");
        }
    }
}
