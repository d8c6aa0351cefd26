//! Topics under `aimass/v1/<site>/<node>/`: built and parsed in one place.

use std::fmt;

use crate::event::Kind;
use crate::name::Name;

/// What all topics begin with.
pub const PREFIX: &str = "aimass/v1";
/// Whether a node is there, below its root. See [`crate::status::Status`].
pub const STATUS: &str = "status";
/// How a node is doing, below its root. See [`crate::health::HealthDocument`].
pub const HEALTH: &str = "health";
/// The configuration that a node is to have, below its root: a signed envelope, retained.
pub const CONFIG_DESIRED: &str = "config/desired";
/// The configuration that a node has, below its root. See [`crate::config::ConfigReport`].
pub const CONFIG_REPORTED: &str = "config/reported";
/// The commands of a node, below its root; the name of the command follows.
pub const COMMAND: &str = "command/";
/// Replies to commands may go below this, below the node's root.
pub const REPLY: &str = "reply/";

/// The topics of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTopics {
    root: String,
}

impl NodeTopics {
    /// The topics of a node.
    pub fn new(site: &Name, node: &Name) -> Self {
        NodeTopics { root: format!("{PREFIX}/{site}/{node}/") }
    }

    /// `aimass/v1/<site>/<node>/`, with the slash.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A whole topic.
    pub fn topic(&self, topic: &Topic) -> String {
        format!("{}{topic}", self.root)
    }
}

/// A topic below a node's root. Displays as that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// `status`
    Status,
    /// `health`
    Health,
    /// `config/desired`
    ConfigDesired,
    /// `config/reported`
    ConfigReported,
    /// `event/<source>/<kind>`
    Event {
        /// The source.
        source: Name,
        /// What the event is about.
        kind: Kind,
    },
    /// `state/<source>/<name>`; the name may have several levels.
    State {
        /// The source.
        source: Name,
        /// As in [`crate::state`].
        name: String,
    },
    /// `command/<name>`
    Command {
        /// One of [`crate::command::NAMES`].
        name: String,
    },
    /// `control/<source>/<action>`: unsigned, for Home Assistant.
    Control {
        /// The source.
        source: Name,
        /// `analysis` or `restart`.
        action: String,
    },
    /// `reply/<anything>`
    Reply {
        /// What follows `reply/`.
        name: String,
    },
}

impl Topic {
    /// Parses a topic below a node's root.
    pub fn below_root(text: &str) -> Option<Topic> {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        match (first, rest) {
            ("status", "") => Some(Topic::Status),
            ("health", "") => Some(Topic::Health),
            ("config", "desired") => Some(Topic::ConfigDesired),
            ("config", "reported") => Some(Topic::ConfigReported),
            ("event", rest) => {
                let (source, kind) = rest.split_once('/')?;
                Some(Topic::Event { source: source.parse().ok()?, kind: Kind::named(kind)? })
            }
            ("state", rest) => {
                let (source, name) = rest.split_once('/')?;
                Some(Topic::State { source: source.parse().ok()?, name: named(name)? })
            }
            ("command", name) if !name.contains('/') => Some(Topic::Command { name: named(name)? }),
            ("control", rest) => {
                let (source, action) = rest.split_once('/')?;
                Some(Topic::Control { source: source.parse().ok()?, action: named(action)? })
            }
            ("reply", name) => Some(Topic::Reply { name: named(name)? }),
            _ => None,
        }
    }

    /// Parses a whole topic: the site, the node, and what stands below them.
    pub fn parse(text: &str) -> Option<(Name, Name, Topic)> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix('/')?;
        let (site, rest) = rest.split_once('/')?;
        let (node, rest) = rest.split_once('/')?;
        Some((site.parse().ok()?, node.parse().ok()?, Topic::below_root(rest)?))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Status => f.write_str(STATUS),
            Topic::Health => f.write_str(HEALTH),
            Topic::ConfigDesired => f.write_str(CONFIG_DESIRED),
            Topic::ConfigReported => f.write_str(CONFIG_REPORTED),
            Topic::Event { source, kind } => write!(f, "event/{source}/{}", kind.as_str()),
            Topic::State { source, name } => write!(f, "state/{source}/{name}"),
            Topic::Command { name } => write!(f, "{COMMAND}{name}"),
            Topic::Control { source, action } => write!(f, "control/{source}/{action}"),
            Topic::Reply { name } => write!(f, "{REPLY}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_was_built_is_parsed_to_the_same() {
        let (site, node, source): (Name, Name, Name) =
            ("warehouse".parse().unwrap(), "dock-3".parse().unwrap(), "gate".parse().unwrap());
        let topics = NodeTopics::new(&site, &node);
        for (topic, text) in [
            (Topic::Status, "status"),
            (Topic::Health, "health"),
            (Topic::ConfigDesired, "config/desired"),
            (Topic::ConfigReported, "config/reported"),
            (Topic::Event { source: source.clone(), kind: Kind::Line }, "event/gate/line"),
            (Topic::State { source: source.clone(), name: "line/a/in".into() }, "state/gate/line/a/in"),
            (Topic::Command { name: "probe".into() }, "command/probe"),
            (Topic::Control { source: source.clone(), action: "restart".into() }, "control/gate/restart"),
            (Topic::Reply { name: "a/b".into() }, "reply/a/b"),
        ] {
            let whole = topics.topic(&topic);
            assert_eq!(whole, format!("aimass/v1/warehouse/dock-3/{text}"));
            assert_eq!(Topic::parse(&whole), Some((site.clone(), node.clone(), topic)));
        }
    }

    #[test]
    fn what_is_no_topic_of_a_node_is_refused() {
        for bad in [
            "",
            "aimass/v1",
            "aimass/v1/s/n",
            "aimass/v1/s/n/",
            "aimass/v2/s/n/status",
            "aimass/v1/S/n/status",
            "aimass/v1/s/n/status/x",
            "aimass/v1/s/n/event/a",
            "aimass/v1/s/n/event/a/cat",
            "aimass/v1/s/n/state/a/",
            "aimass/v1/s/n/command/a/b",
            "aimass/v1/s/n/reply/",
        ] {
            assert_eq!(Topic::parse(bad), None, "{bad:?}");
        }
    }
}
