//! Topics and the status document, as the wire has them.

use aimass_core::event::{Event, rfc3339_ms};
use aimass_core::id::Name;
use jiff::Timestamp;
use serde::Serialize;
use ulid::Ulid;

/// Who this node is, for topics and for the status document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The site.
    pub site: Name,
    /// The node.
    pub node: Name,
    /// This life of the program.
    pub boot: Ulid,
    /// The program's version.
    pub version: String,
    /// The version of the configuration in force.
    pub config_version: u64,
}

impl NodeIdentity {
    /// `aimass-<site>-<node>`. A broker lets one client in per id: two nodes of one name push each other out.
    pub fn client_id(&self) -> String {
        format!("aimass-{}-{}", self.site, self.node)
    }

    /// `aimass/v1/<site>/<node>/`, with the slash.
    pub fn root(&self) -> String {
        format!("aimass/v1/{}/{}/", self.site, self.node)
    }
}

/// What the `status` topic says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Presence {
    /// All states are sent; events follow.
    Online,
    /// Leaves in good order. The last word of a node that was stopped.
    Stopping,
    /// The last will: the node is gone without a word.
    Offline,
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    state: Presence,
    boot: Ulid,
    version: &'a str,
    config_version: u64,
    #[serde(with = "rfc3339_ms")]
    since: Timestamp,
}

/// `since` of a will is the moment of the connect that it belongs to: the node was lost some time after it.
pub(crate) fn status(
    identity: &NodeIdentity,
    config_version: u64,
    state: Presence,
    since: Timestamp,
) -> Vec<u8> {
    let document =
        StatusDocument { state, boot: identity.boot, version: &identity.version, config_version, since };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// `<root>event/<source>/<kind>`.
pub(crate) fn event_topic(root: &str, event: &Event) -> String {
    format!("{root}event/{}/{}", event.what.source, event.what.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_document_is_as_the_wire_has_it() {
        let identity = NodeIdentity {
            site: "warehouse-1".parse().unwrap(),
            node: "dock-3".parse().unwrap(),
            boot: Ulid::from_parts(1, 2),
            version: "0.1.0".into(),
            config_version: 7,
        };
        let since = "2026-11-23T08:15:30.1234Z".parse().unwrap();
        let text = String::from_utf8(status(&identity, 7, Presence::Online, since)).unwrap();
        assert_eq!(
            text,
            r#"{"state":"online","boot":"00000000010000000000000002","version":"0.1.0","config_version":7,"since":"2026-11-23T08:15:30.123Z"}"#
        );
        assert_eq!(identity.client_id(), "aimass-warehouse-1-dock-3");
        assert_eq!(identity.root(), "aimass/v1/warehouse-1/dock-3/");
    }
}
