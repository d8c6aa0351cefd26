//! Microphones among the sources at work: they start, restart and end as cameras do.

use std::sync::Arc;

use aimass_core::runtime::stop::StopToken;

use super::{SourceHandle, Sources, end};
use crate::config::MicrophoneConfig;
use crate::exit::Failure;
use crate::pipeline::microphone::{self, MicrophoneParts};
use crate::pipeline::processor::{Input, Watched};
use crate::pipeline::stale_states;
use crate::pipeline::views::{SourceFacts, SourceKind, SourceView};

impl Sources {
    /// Opens a microphone that is not at work. Viewers see it once [`Sources::show`] is called.
    ///
    /// # Errors
    /// A source that cannot be built, or the system refuses a thread. A microphone that is away is none.
    pub async fn start_microphone(&mut self, config: &MicrophoneConfig) -> Result<(), Failure> {
        let (id, shared) = (&config.id, &self.shared);
        let source = microphone::source_of(config)?;
        let known = self.sources.remove(id).map(|known| known.view);
        let view = known.unwrap_or_else(|| {
            Arc::new(SourceView::new(id.clone(), facts_of(config), shared.node.clock.wall()))
        });
        let told = stale_states::told_by(id, &shared.store).await;
        let watched = Watched::new(self.scene_without_laws(id), view.clone(), told);
        self.tell(Input::Watch(Box::new(watched))).await;
        let shared = &self.shared;
        let parts = MicrophoneParts {
            source,
            level: config.level.clone(),
            hearing: config.health.clone(),
            view: view.clone(),
            events: shared.inputs.clone(),
            clock: shared.node.clock.clone(),
        };
        let stop = StopToken::new();
        let worker = microphone::start(parts, &shared.watch, &stop)
            .map_err(|e| Failure::Unavailable(format!("microphone {id}: cannot start its thread: {e}")))?;
        self.sources.insert(id.clone(), SourceHandle { view, stop, workers: vec![worker] });
        Ok(())
    }

    /// Closes a microphone and opens it as `config` has it; its figures go on.
    ///
    /// # Errors
    /// As [`Sources::start_microphone`]; the microphone is closed then.
    pub async fn restart_microphone(&mut self, config: &MicrophoneConfig) -> Result<(), Failure> {
        if let Some(known) = self.sources.get(&config.id) {
            end(&[known]).await;
            known.view.begin_anew(facts_of(config), self.shared.node.clock.wall());
        }
        self.start_microphone(config).await
    }
}

fn facts_of(config: &MicrophoneConfig) -> SourceFacts {
    let uri = config.source.parse::<aimass_media::MicrophoneUri>().ok();
    SourceFacts {
        kind: SourceKind::Microphone,
        unpaced: uri.as_ref().is_some_and(|uri| !uri.is_paced()),
        is_file: uri.is_some_and(|uri| uri.is_file()),
        ..SourceFacts::default()
    }
}
