//! Tests of source addresses: what people write, what they get wrong, and what must never be shown.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> SourceUri {
    text.parse().unwrap()
}

fn refusal(text: &str) -> String {
    text.parse::<SourceUri>().unwrap_err().to_string()
}

#[test]
fn every_kind_is_read_as_it_is_documented() {
    assert_eq!(parse("rtsp://10.0.0.7/stream2"), SourceUri::Rtsp("rtsp://10.0.0.7/stream2".into()));
    assert_eq!(parse("RTSPS://cam:322/a?b=c").kind(), "rtsps");
    assert_eq!(parse("rtsp://[fe80::1]:8554/x").kind(), "rtsp");
    let SourceUri::V4l2(device) = parse("v4l2:/dev/v4l/by-id/usb-x?width=640&format=mjpeg") else { panic!() };
    assert_eq!((device.width, device.format.as_deref()), (Some(640), Some("mjpeg")));
    assert_eq!(parse("csi:"), SourceUri::Libcamera(CsiCamera::default()));
    let SourceUri::Libcamera(camera) = parse("libcamera:/base/soc/i2c@1/imx219@10?width=640&height=480")
    else {
        panic!()
    };
    assert_eq!(camera.name.as_deref(), Some("/base/soc/i2c@1/imx219@10"));
    assert_eq!((camera.width, camera.height), (640, 480));
    let clip = FileClip { path: "/path/clip.mp4".into(), looped: true, realtime: false };
    assert_eq!(parse("file:/path/clip.mp4?loop=true&realtime=false"), SourceUri::File(clip));
    let SourceUri::File(clip) = parse("file:///a b.mp4") else { panic!() };
    assert_eq!((clip.path.to_str(), clip.looped, clip.realtime), (Some("/a b.mp4"), false, true));
    assert_eq!(
        parse("gst: videotestsrc ! videoconvert "),
        SourceUri::Gst("videotestsrc ! videoconvert".into())
    );
    assert_eq!(parse("test:"), SourceUri::Test(TestPicture::default()));
    let SourceUri::Test(test) = parse("test:?width=320&height=240&fps=5&frames=50") else { panic!() };
    assert_eq!((test.width, test.height, test.fps, test.frames), (320, 240, 5, Some(50)));
}

#[test]
fn a_plain_path_is_answered_with_the_scheme_it_lacks() {
    assert!(refusal("/data/clip.mp4").contains("write file:/data/clip.mp4"));
    assert!(refusal("clip.mp4").contains("write file:clip.mp4"));
    assert!(refusal("http://x/").contains("\"http:\" is not known"));
    for known in ["rtsp://", "rtsps://", "v4l2:", "libcamera:", "file:", "gst:", "test:"] {
        assert!(refusal("what").contains(known), "{known}");
    }
}

#[test]
fn credentials_in_an_address_are_refused_and_never_repeated() {
    for text in [
        "rtsp://viewer:hunter2@10.0.0.7/s",
        "rtsps://hunter2@10.0.0.7/s",
        "rtsp://a:hunter2/x@10.0.0.7/s",
        "rtsp://a:b@hunter2@10.0.0.7/s",
    ] {
        let message = refusal(text);
        assert!(message.contains("username and password_file"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn what_is_shown_holds_no_password() {
    for text in [
        "rtsp://10.0.0.7:554/user=admin&password=hunter2&channel=1",
        "rtsp://10.0.0.7/s?token=hunter2",
        "gst:rtspsrc location=rtsp://u:hunter2@h/x ! decodebin",
        "gst:rtspsrc user-pw=hunter2 ! decodebin",
        "gst:rtspsrc user-pw=\"hunter2 and more\" ! decodebin",
        "gst:urisourcebin uri=\"rtsp://u:hunter2@h\" ! decodebin",
    ] {
        let uri = parse(text);
        for shown in [uri.to_string(), format!("{uri:?}"), String::from(uri.clone())] {
            assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
            assert!(!shown.contains("and more"), "{shown}");
        }
    }
    assert_eq!(redacted("rtsp://10.0.0.7:554/a@b"), "rtsp://10.0.0.7:554/a@b");
}

#[test]
fn wrong_options_name_the_right_ones() {
    assert!(refusal("file:/x?lop=true").contains("known are loop, realtime"));
    assert!(refusal("/dev/video0").contains("write v4l2:/dev/video0 if it is a camera"));
    assert!(refusal("/srv/x.mp4").contains("write file:/srv/x.mp4 if it is a file"));
    assert!(refusal("file:/x?loop=yes").contains("give true or false"));
    assert!(refusal("test:?fps=0").contains("from 1 to 240"));
    assert!(refusal("test:?pattern=cat").contains("ball"));
    assert!(refusal("v4l2:video0").contains("v4l2:/dev/video0"));
    assert!(refusal("v4l2:/dev/video0?format=h264").contains("mjpeg"));
    assert!(refusal("rtsp:/x").contains("rtsp://host/path"));
    assert!(refusal("rtsp://cam:99999/x").contains("port"));
    assert!(
        refusal("file://server/x.mp4").contains("file:/path") || refusal("file:////x").contains("file:/path")
    );
    assert!(refusal("gst:").contains("ends in a raw pad"));
}

#[test]
fn offline_means_once_and_unpaced() {
    assert_eq!(parse("file:/x?loop=true").offline(), parse("file:/x?realtime=false"));
}

#[test]
fn the_seeds_of_the_fuzz_target_keep_their_kind_when_shown() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/source_uri");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned();
        if let Ok(uri) = text.parse::<SourceUri>() {
            read += 1;
            let again = uri.to_string().parse::<SourceUri>();
            assert!(again.is_err() || again.is_ok_and(|again| again.kind() == uri.kind()), "{text}");
        }
    }
    assert!(read >= 5, "{read}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        drop(text.parse::<SourceUri>());
        redacted(&text);
    }

    #[test]
    fn no_text_after_a_scheme_makes_the_parser_panic(
        scheme in "(rtsp|rtsps|v4l2|file|gst|test):/{0,3}", rest in "[a-z:/@?&=#%. ü\\[\\]\"']{0,40}"
    ) {
        if let Ok(uri) = format!("{scheme}{rest}").parse::<SourceUri>() {
            let shown = format!("{uri} {uri:?}");
            prop_assert!(shown.contains(uri.kind()));
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same(
        path in "/[a-zA-Z0-9 ?&=._-]{0,20}", looped: bool, realtime: bool, width in 16u32..8192, fps in 1u32..=240
    ) {
        let path = PathBuf::from(path);
        prop_assume!(!path.to_string_lossy().ends_with(' '));
        let clip = SourceUri::File(FileClip { path, looped, realtime });
        prop_assert_eq!(clip.to_string().parse::<SourceUri>().unwrap(), clip);
        let test = SourceUri::Test(TestPicture { width, fps, frames: Some(width), realtime, ..Default::default() });
        prop_assert_eq!(test.to_string().parse::<SourceUri>().unwrap(), test);
    }

    #[test]
    fn a_password_in_an_address_is_never_shown(
        user in "[a-z]{1,6}", password in "Q[a-zA-Z0-9/@:?&=]{3,12}Z", host in "[a-z]{1,8}"
    ) {
        let text = format!("rtsp://{user}:{password}@{host}/stream");
        let said = match text.parse::<SourceUri>() {
            Ok(uri) => uri.to_string(),
            Err(error) => error.to_string(),
        };
        prop_assert!(!said.contains(&password), "{said}");
        prop_assert!(!redacted(&text).contains(&password), "{}", redacted(&text));
    }
}
