//! What can be asked of a node, as it stands in the body of a signed command, and what is answered.

use aimass_protocol::command::{
    CommandError, DrainRequest, LogRequest, NAMES, ProbeRequest, RestartRequest, ResumeRequest,
    SnapshotRequest,
};
use serde_json::{Map, Value};

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Try a source before it is saved.
    Probe(ProbeRequest),
    /// A picture of a source.
    Snapshot(SnapshotRequest),
    /// Close a source and open it anew.
    RestartSource(RestartRequest),
    /// Log more, or less, for a while.
    SetLogLevel(LogRequest),
    /// Stop looking and deliver what is left.
    Drain(DrainRequest),
    /// BoardSample again after a drain.
    Resume(ResumeRequest),
}

impl Request {
    /// Reads the body of a command.
    ///
    /// # Errors
    /// `unknown_command`; `bad_body` with the path of the field.
    pub fn read(name: &str, body: Value) -> Result<Self, CommandError> {
        let body = if body.is_null() { Value::Object(Map::new()) } else { body };
        let request = match name {
            "probe" => Request::Probe(parse(body)?),
            "snapshot" => Request::Snapshot(parse(body)?),
            "restart-source" => Request::RestartSource(parse(body)?),
            "set-log-level" => Request::SetLogLevel(parse(body)?),
            "drain" => Request::Drain(parse(body)?),
            "resume" => Request::Resume(parse(body)?),
            _ => {
                let shown: String = name.chars().take(63).flat_map(char::escape_default).collect();
                let text = format!("no command is named \"{shown}\"; known are {}", NAMES.join(", "));
                return Err(CommandError::new("unknown_command", text));
            }
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), CommandError> {
        let within = |path: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(CommandError::field(path, format!("{value} is not within {low}..{high}")))
        };
        match self {
            Request::Probe(probe) => {
                within("timeout_s", probe.timeout_s.into(), 1.0, 60.0)?;
                within("max_side_px", probe.max_side_px.into(), 16.0, 1920.0)
            }
            Request::Snapshot(snapshot) => within("max_side_px", snapshot.max_side_px.into(), 16.0, 1920.0),
            Request::SetLogLevel(log) => within("duration_s", log.duration_s.into(), 1.0, 3600.0),
            Request::Drain(drain) => within("timeout_s", drain.timeout_s.into(), 0.0, 300.0),
            Request::RestartSource(_) | Request::Resume(_) => Ok(()),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, CommandError> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "body".to_owned() } else { path };
        CommandError::field(path, error.into_inner().to_string())
    })
}
