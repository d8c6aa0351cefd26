//! A configuration as it may be shown: in `config/reported`, `config show` and replies.
//!
//! Invariant: no source address stands in it as it was written. Addresses can hold passwords and tokens, and `gst:`
//! pipelines any option. Everything else names files at most.

use aimass_media::{MicrophoneUri, SourceUri};
use serde_json::Value;

use super::Config;

/// Shown in place of an address that cannot be parsed, so that no part of it leaks.
const HIDDEN: &str = "***";

/// The configuration as a document, with all source addresses as logs show them.
pub fn redacted(config: &Config) -> Value {
    // By way of text: a value would show 0.3, which is kept as f32, as 0.30000001192092896.
    let text = serde_json::to_string(config).unwrap_or_default();
    let mut tree: Value = serde_json::from_str(&text).unwrap_or_default();
    redact(&mut tree, "camera", |source| source.parse::<SourceUri>().ok().map(|uri| uri.to_string()));
    redact(&mut tree, "microphone", |source| source.parse::<MicrophoneUri>().ok().map(|uri| uri.to_string()));
    tree
}

fn redact(tree: &mut Value, list: &str, shown: impl Fn(&str) -> Option<String>) {
    for entry in tree.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(source) = entry.get_mut("source") {
            *source = Value::from(source.as_str().and_then(&shown).unwrap_or_else(|| HIDDEN.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERAS: [&str; 6] = [
        "rtsp://camera/stream?token=s3cret",
        "rtsps://camera/stream?user=a&password=s3cret",
        "gst:rtspsrc location=rtsp://a:s3cret@camera/ user-pw=s3cret ! decodebin",
        "gst:souphttpsrc location=\"http://camera/?token=s3cret\" ! jpegdec",
        "file:/clips/a.mp4",
        "test:",
    ];
    const MICROPHONES: [&str; 5] = [
        "gst:rtspsrc location=rtsp://a:s3cret@camera/ ! decodebin ! audioconvert",
        "gst:souphttpsrc user-pw='s3cret' location=http://radio/ ! decodebin",
        "alsa:default",
        "pulse:",
        "test:?hz=300",
    ];

    fn config(cameras: &[&str], microphones: &[&str]) -> Config {
        let entry = |list: &str, n: usize, source: &str| {
            format!("[[{list}]]\nid = \"{list}-{n}\"\nsource = {}\n", serde_json::json!(source))
        };
        let mut text = "[node]\nsite = \"s\"\nid = \"n\"\n".to_owned();
        text.extend(cameras.iter().enumerate().map(|(n, source)| entry("camera", n, source)));
        text.extend(microphones.iter().enumerate().map(|(n, source)| entry("microphone", n, source)));
        crate::config::parse(&text).unwrap()
    }

    #[test]
    fn no_source_of_any_kind_is_shown_with_its_secrets() {
        let tree = redacted(&config(&CAMERAS, &MICROPHONES));
        assert!(!tree.to_string().contains("s3cret"), "{tree:#}");
        for (list, sources) in [("camera", &CAMERAS[..]), ("microphone", &MICROPHONES[..])] {
            for (n, source) in sources.iter().enumerate() {
                let shown = tree[list][n]["source"].as_str().unwrap();
                let scheme = |address: &str| address.split(':').next().unwrap().to_owned();
                assert_eq!(scheme(shown), scheme(source), "the kind stays visible: {shown}");
                assert_eq!(shown.contains("***"), source.contains("s3cret"), "{shown}");
            }
        }
    }

    #[test]
    fn an_address_that_cannot_be_parsed_is_hidden_as_a_whole() {
        let mut config = config(&["test:"], &["test:"]);
        config.camera[0].source = "s3cret".to_owned();
        config.microphone[0].source = "s3cret:".to_owned();
        let tree = redacted(&config);
        assert_eq!(
            (&tree["camera"][0]["source"], &tree["microphone"][0]["source"]),
            (&"***".into(), &"***".into())
        );
    }
}
