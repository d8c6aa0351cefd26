//! What the controls do to the node. Nothing here waits.

use std::sync::Arc;

use aimass_core::id::Name;
use tokio::sync::{mpsc, watch};

use super::publish::Actions;
use crate::pipeline::processor::Input;
use crate::pipeline::views::SourceView;

/// The node's sources, under the hand of Home Assistant.
pub struct NodeActions {
    /// What can be seen of them.
    pub sources: watch::Receiver<Arc<Vec<Arc<SourceView>>>>,
    /// To the task `events`.
    pub inputs: mpsc::Sender<Input>,
    /// Asks for a source to be closed and opened anew; returns at once.
    pub restart: Box<dyn Fn(&Name) + Send + Sync>,
}

impl NodeActions {
    fn view(&self, source: &Name) -> Option<Arc<SourceView>> {
        self.sources.borrow().iter().find(|view| view.id == *source).cloned()
    }
}

impl Actions for NodeActions {
    fn is_analysed(&self, source: &Name) -> Option<bool> {
        self.view(source).map(|view| view.is_analysed())
    }

    fn set_analysis(&self, source: &Name, on: bool) -> bool {
        let Some(view) = self.view(source) else { return false };
        view.set_analysed(on);
        if !on {
            // What was in view ends now: nobody will see it go. The queue may be full, and this must not wait.
            let (inputs, source) = (self.inputs.clone(), source.clone());
            tokio::spawn(async move { inputs.send(Input::Pause { source }).await.ok() });
        }
        true
    }

    fn restart(&self, source: &Name) -> bool {
        let known = self.view(source).is_some();
        if known {
            (self.restart)(source);
        }
        known
    }
}
