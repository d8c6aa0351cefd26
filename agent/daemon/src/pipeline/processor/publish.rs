//! The ways out of the task `events`: states to the broker, happenings and values to the store.

use std::collections::BTreeMap;

use aimass_core::analytics::StateValue;
use aimass_core::event::{EventData, Phase};
use aimass_core::id::Name;

use super::{Outlets, Watched};
use crate::pipeline::persist::EventBatch;
use crate::pipeline::source_health::FaultEpisodes;
use crate::pipeline::stale_states;

/// Hands losses of sight on, with what is open from then on: kept together, so that the next life can end it.
pub(super) async fn tell_sight(sight: &FaultEpisodes, happenings: Vec<EventData>, out: &Outlets) {
    for EventData { source, label, phase, .. } in &happenings {
        match phase {
            Phase::Began => tracing::warn!(%source, loss = %label, "A source does not see as it should."),
            Phase::Ended => {
                tracing::info!(%source, loss = %label, "That a source did not see as it should is over.")
            }
            Phase::Updated | Phase::Once => {}
        }
    }
    if !happenings.is_empty() {
        // An error only when the program is ending beyond its deadline.
        out.accept.send(EventBatch { happenings, values: vec![sight.value()] }).await.ok();
    }
}

/// Hands happenings and values to the store, with the names of states that were never told before.
pub(super) async fn note_told(
    watched: &mut Watched,
    happenings: Vec<EventData>,
    mut values: Vec<(String, serde_json::Value)>,
    out: &Outlets,
) {
    if watched.states.keys().any(|name| !watched.told.contains(name)) {
        watched.told.extend(watched.states.keys().cloned());
        let key = stale_states::key(&watched.view.id);
        values.push((key, serde_json::to_value(&watched.told).unwrap_or_default()));
    }
    if !values.is_empty() || !happenings.is_empty() {
        // An error only when the program is ending beyond its deadline.
        out.accept.send(EventBatch { happenings, values }).await.ok();
    }
}

pub(super) fn set_state(
    source: &Name,
    states: &mut BTreeMap<String, serde_json::Value>,
    state: StateValue,
    out: &Outlets,
) {
    let topic = format!("state/{source}/{}", state.name);
    if state.value.is_null() {
        // What is not watched any longer: the broker forgets it too.
        out.board.remove(&topic);
        states.remove(&state.name);
        return;
    }
    let payload = state.value.to_string();
    if let Err(error) = out.board.set(&topic, payload, true) {
        tracing::warn!(%source, state = state.name, %error, "A state could not be told.");
    }
    states.insert(state.name, state.value);
}
