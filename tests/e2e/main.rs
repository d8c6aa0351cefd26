//! The whole program, as its users meet it: the built binary, a real broker, real clips.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod analyze;
mod cameras;
mod capacity;
mod commands;
mod configuration;
mod delivery;
mod governor;
mod home_assistant;
mod http;
mod hub;
mod microphones;
mod node;
mod refusals;
mod signing;
mod source_health;
mod watchdog;

use std::path::Path;

/// A configuration with one clip that is analysed frame by frame, as fast as the machine can. Without the
/// governor: a machine that is busy with tests is slow enough for it.
fn clip_config(broker: &str, store: &Path, source: &str) -> String {
    format!(
        r#"
[node]
site = "test"
id = "board"
[broker]
url = "{broker}"
[[camera]]
id = "street"
source = "{source}"
fps = 5
chain = ["detect"]
[[camera.zone]]
id = "road"
polygon = [[0.0,0.3],[0.999,0.3],[0.999,0.999],[0.0,0.999]]
[[camera.line]]
id = "middle"
from = [0.5,0.99]
to = [0.5,0.1]
[governor]
enabled = false
[http]
listen = "127.0.0.1:0"
[store]
path = "{}"
"#,
        store.display()
    )
}

/// A node without a broker: these tables (its cameras), an API on a free port, its store in the folder.
fn lone_config(folder: &Path, tables: &str) -> String {
    let store = folder.join("agent.db");
    format!(
        "[node]\nsite = \"test\"\nid = \"board\"\n[governor]\nenabled = false\n[http]\nlisten = \"127.0.0.1:0\"\n[store]\npath = \"{}\"\n{tables}",
        store.display()
    )
}

/// The clip with people, cars and bicycles.
fn bikes(query: &str) -> String {
    format!("file:{}{query}", harness::media::fixture("bikes.mp4").display())
}
