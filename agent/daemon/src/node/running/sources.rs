//! The sources of the running node: changed, opened anew and closed, cameras and microphones alike.

use aimass_core::id::Name;

use super::Running;
use crate::config::diff::{Change, Plan};
use crate::config::{Config, Problem};
use crate::exit::Failure;

impl Running {
    /// Does to the sources what the plan says; those that could not be built are returned, with the problems noted.
    pub(super) async fn change_sources(
        &mut self,
        plan: &Plan,
        new: &Config,
        problems: &mut Vec<Problem>,
    ) -> Vec<Name> {
        let mut failed = Vec::new();
        let (cameras, microphones) = (plan.cameras.iter(), plan.microphones.iter());
        let mut changes: Vec<_> =
            cameras.map(|c| ("camera", c)).chain(microphones.map(|c| ("microphone", c))).collect();
        // What goes makes room, also for one of the other kind with the same name.
        changes.sort_by_key(|(_, (_, change))| *change != Change::Stop);
        for (kind, (id, change)) in changes {
            let outcome = match kind {
                "camera" => self.change_camera(id, *change, new).await,
                _ => self.change_microphone(id, *change, new).await,
            };
            if let Err(error) = outcome {
                failed.push(id.clone());
                problems.push(Problem::new(format!("{kind}.{id}"), error.to_string()));
            }
        }
        failed
    }

    async fn change_camera(&mut self, id: &Name, change: Change, new: &Config) -> Result<(), Failure> {
        let camera = new.camera.iter().find(|c| c.id == *id);
        match (change, camera) {
            (Change::Start, Some(camera)) => self.fleet.start(camera, new).await?,
            (Change::Restart, Some(camera)) => self.fleet.restart(camera, new).await?,
            (Change::UpdateZones, Some(camera)) => self.fleet.redraw(camera).await,
            (_, _) => self.fleet.remove(id).await,
        }
        Ok(())
    }

    async fn change_microphone(&mut self, id: &Name, change: Change, new: &Config) -> Result<(), Failure> {
        let microphone = new.microphone.iter().find(|m| m.id == *id);
        match (change, microphone) {
            (Change::Start, Some(microphone)) => self.fleet.start_microphone(microphone).await?,
            (Change::Restart, Some(microphone)) => self.fleet.restart_microphone(microphone).await?,
            (_, _) => self.fleet.remove(id).await,
        }
        Ok(())
    }

    /// Opens one source anew, with the configuration that is in force.
    ///
    /// # Errors
    /// `BadInput` if there is no such source, otherwise as at the start.
    pub async fn restart_source(&mut self, id: &str) -> Result<(), Failure> {
        if let Some(microphone) = self.config.microphone.iter().find(|m| m.id.as_str() == id).cloned() {
            return self.fleet.restart_microphone(&microphone).await;
        }
        let camera = self.config.camera.iter().find(|c| c.id.as_str() == id).cloned();
        let camera = camera.ok_or_else(|| Failure::BadInput(format!("no source is named \"{id}\"")))?;
        self.fleet.restart(&camera, &self.config).await
    }

    /// Closes all sources and ends what was in view of them; everything else goes on.
    pub async fn close_sources(&mut self) {
        self.fleet.stop_all().await;
        self.fleet.end_views().await;
    }

    /// Opens all sources anew.
    ///
    /// # Errors
    /// As at the start.
    pub async fn open_sources(&mut self) -> Result<(), Failure> {
        for camera in &self.config.camera {
            self.fleet.restart(camera, &self.config).await?;
        }
        for microphone in &self.config.microphone {
            self.fleet.restart_microphone(microphone).await?;
        }
        Ok(())
    }
}
