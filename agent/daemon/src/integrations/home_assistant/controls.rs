//! What Home Assistant may ask of the node where `controls` are on. Unsigned: who may write these topics is the
//! broker's affair.
//!
//! Pure. Invariant: nothing but the exact topics and payloads of the document is understood.

use aimass_core::id::Name;

/// Switches on.
const ON: &[u8] = b"ON";
/// Switches off.
const OFF: &[u8] = b"OFF";
/// Presses a button.
const PRESS: &[u8] = b"PRESS";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Analyse a source, or only show it.
    Analysis {
        /// The source.
        source: Name,
        /// Whether its frames are analysed.
        on: bool,
    },
    /// Close a source and open it anew.
    Restart {
        /// The source.
        source: Name,
    },
}

/// The state that shows whether a source is analysed, below the root.
pub(super) fn analysis_state(source: &Name) -> String {
    format!("state/{source}/analysis")
}

/// What a message below `root` asks for; `None` if it makes no sense. A retained one never does: it would be obeyed
/// again at every connect.
pub fn control_of(root: &str, topic: &str, payload: &[u8], retained: bool) -> Option<Control> {
    let (source, what) = topic.strip_prefix(root)?.strip_prefix("control/")?.split_once('/')?;
    let source: Name = source.parse().ok()?;
    match (what, payload) {
        _ if retained => None,
        ("analysis", ON) => Some(Control::Analysis { source, on: true }),
        ("analysis", OFF) => Some(Control::Analysis { source, on: false }),
        ("restart", PRESS) => Some(Control::Restart { source }),
        _ => None,
    }
}
