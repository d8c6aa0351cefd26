//! Tests of the addresses of microphones: what people write, what they get wrong, and what must never be shown.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> MicrophoneUri {
    text.parse().unwrap()
}

fn refusal(text: &str) -> String {
    text.parse::<MicrophoneUri>().unwrap_err().to_string()
}

#[test]
fn every_kind_is_read_as_it_is_documented() {
    assert_eq!(parse("alsa:"), MicrophoneUri::Alsa("default".into()));
    assert_eq!(parse("alsa:hw:CARD=Device,DEV=0"), MicrophoneUri::Alsa("hw:CARD=Device,DEV=0".into()));
    assert_eq!(parse("pulse:"), MicrophoneUri::Pulse(None));
    assert_eq!(parse("pulse:alsa_input.usb-0"), MicrophoneUri::Pulse(Some("alsa_input.usb-0".into())));
    let MicrophoneUri::File(clip) = parse("file:/a b.wav?loop=true&realtime=false") else { panic!() };
    assert_eq!((clip.path.to_str(), clip.looped, clip.realtime), (Some("/a b.wav"), true, false));
    assert_eq!(parse("gst: alsasrc "), MicrophoneUri::Gst("alsasrc".into()));
    assert_eq!(parse("test:"), MicrophoneUri::Test(TestTone::default()));
    let MicrophoneUri::Test(tone) = parse("test:?hz=1000&volume=0.5&wave=silence&seconds=3") else {
        panic!()
    };
    assert_eq!((tone.hz, tone.volume, tone.wave.as_str(), tone.seconds), (1000, 0.5, "silence", Some(3)));
}

#[test]
fn what_is_wrong_is_answered_with_what_is_known() {
    for known in ["alsa:", "pulse:", "file:", "gst:", "test:"] {
        assert!(refusal("hw").contains(known) && refusal("rtsp://x/").contains(known), "{known}");
    }
    assert!(refusal("test:?wave=saw").contains("sine"));
    assert!(refusal("test:?hz=9000").contains("from 20 to 7900"));
    assert!(refusal("test:?volume=2").contains("from 0 to 1"));
    assert!(refusal("alsa:my device").contains("letters"));
    // What ALSA would write to a file, or hand to a program.
    for name in [
        "tee:hw:0,/tmp/x,raw",
        "tee:hw:0,x,raw",
        "file:x,raw",
        "plug:file:x",
        "tee:hw:0,'|id',raw",
        "hw:0|id",
    ] {
        assert!(refusal(&format!("alsa:{name}")).contains("alsa"), "{name}");
    }
    assert!(refusal("file:").contains("/path/sound.wav"));
    assert!(refusal("gst:").contains("raw pad"));
    assert!(!refusal("x://u:hunter2@h/").contains("hunter2"));
}

#[test]
fn a_pipeline_is_shown_without_its_password() {
    let shown = parse("gst:souphttpsrc location=http://u:hunter2@h/x ! decodebin").to_string();
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let refusal = |change: fn(&mut MicrophoneOptions)| {
        let mut options = MicrophoneOptions::new("door".parse().unwrap(), parse("test:"));
        change(&mut options);
        let error = options.build(aimass_core::runtime::clock::SystemClock::shared()).map(drop).unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Config);
        error.message
    };
    assert!(refusal(|o| o.window = Duration::ZERO).starts_with("microphone door (test:): a window of 0"));
    assert!(refusal(|o| o.stall_after = Duration::ZERO).contains("stall_after"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic_and_what_is_shown_is_read_as_the_same(
        text in "(alsa|pulse|file|gst|test|x)?:?[ -~]{0,40}"
    ) {
        if let Ok(uri) = text.parse::<MicrophoneUri>() {
            let again = uri.to_string().parse::<MicrophoneUri>();
            let redacted = uri.to_string().contains("***");
            prop_assert!(redacted || again == Ok(uri.clone()), "{text:?}: {uri}");
        }
    }
}
