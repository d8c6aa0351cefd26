//! Topics and the status document, as the wire has them.

use aimass_core::event::Event;
use aimass_core::id::Name;
pub(crate) use aimass_protocol::status::Presence;
use aimass_protocol::status::{STATUS_SCHEMA, Status};
use aimass_protocol::topic::{NodeTopics, Topic};
use jiff::Timestamp;
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
        NodeTopics::new(&self.site, &self.node).root().to_owned()
    }
}

/// `since` of a will is the moment of the connect that it belongs to: the node was lost some time after it.
pub(crate) fn status(
    identity: &NodeIdentity,
    config_version: u64,
    state: Presence,
    since: Timestamp,
) -> Vec<u8> {
    let version = identity.version.clone();
    let document =
        Status { schema: STATUS_SCHEMA, state, boot: identity.boot, version, config_version, since };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// `<root>event/<source>/<kind>`.
pub(crate) fn event_topic(root: &str, event: &Event) -> String {
    let topic = Topic::Event { source: event.what.source.clone(), kind: event.what.kind };
    format!("{root}{topic}")
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
            r#"{"schema":2,"state":"online","boot":"00000000010000000000000002","version":"0.1.0","config_version":7,"since":"2026-11-23T08:15:30.123Z"}"#
        );
        assert_eq!(identity.client_id(), "aimass-warehouse-1-dock-3");
        assert_eq!(identity.root(), "aimass/v1/warehouse-1/dock-3/");
    }
}
