//! What every source promises, whatever its kind: the same checks run over files, test pictures, own pipelines,
//! stills and RTSP over TCP and UDP.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use aimass_core::frame::TimeSource;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, SourceError, SourceErrorKind};
use aimass_media::{SourceOptions, SourceState, SourceUri, Transport, camera_backoff, run_forever};
use support::rtsp::{Camera, JPEG, Lock, VP8};
use support::*;

/// One kind of source. `fps` is the source's own rate; `endless` ones only end when told to.
struct Kind {
    name: &'static str,
    options: SourceOptions,
    size: (u32, u32),
    endless: bool,
    live: bool,
}

/// All kinds, at 160x120 and 10 frames a second.
fn kinds(folder: &Path, camera: &Camera) -> Vec<Kind> {
    let still = folder.join("still.png");
    image::RgbImage::from_pixel(160, 120, image::Rgb([200; 3])).save(&still).unwrap();
    let file = |codec, query: &str| options(file_uri(&clip(folder, codec, (160, 120), 10, 20), query));
    let plain = |uri: &str| options(uri.parse().unwrap());
    let mut udp = plain(&camera.uri("stream"));
    udp.transport = Transport::Udp;
    let mut tcp = plain(&camera.uri("stream"));
    tcp.transport = Transport::Tcp;
    let gst = "gst:videotestsrc num-buffers=20 ! video/x-raw,format=RGB,width=160,height=120,framerate=10/1";
    let gst_live =
        "gst:videotestsrc is-live=true ! video/x-raw,format=NV12,width=160,height=120,framerate=10/1";
    let webm = clip(folder, VP8_WEBM, (160, 120), 10, 20);
    let demuxed = format!("gst:filesrc location={} ! decodebin ! videoconvert", webm.display());
    let kind = |name, options, endless, live| Kind { name, options, size: (160, 120), endless, live };
    vec![
        kind("paced avi", file(MPEG4_AVI, ""), false, false),
        kind("unpaced webm", file(VP8_WEBM, "?realtime=false"), false, false),
        kind("unpaced ogg", file(THEORA_OGG, "?realtime=false"), false, false),
        kind("looped mov", file(MJPEG_MOV, "?loop=true&realtime=false"), true, false),
        kind("still", options(file_uri(&still, "")), true, false),
        kind("test, live", plain("test:?width=160&height=120&fps=10"), true, true),
        kind("test, unpaced", plain("test:?width=160&height=120&frames=20&realtime=false"), false, false),
        kind("own pipeline", plain(gst), false, false),
        kind("own pipeline with a demuxer", plain(&demuxed), false, false),
        kind("own live pipeline", plain(gst_live), true, true),
        kind("rtsp over tcp", tcp, true, true),
        kind("rtsp over udp", udp, true, true),
    ]
}

fn for_every_kind(check: impl Fn(&Kind)) {
    let folder = tempfile::tempdir().unwrap();
    let camera = Camera::start(VP8, Lock::Open);
    for kind in kinds(folder.path(), &camera) {
        println!("checking: {}", kind.name);
        check(&kind);
    }
}

#[test]
fn frames_come_in_order_after_opened_and_a_source_runs_again() {
    for_every_kind(|kind| {
        let name = kind.name;
        let options = kind.options.clone();
        let (live, size) = (kind.live, kind.size);
        let recorder = within(PATIENCE, move || {
            let mut source = source(options);
            let mut recorder = Recorder::new(5);
            assert_eq!(source.run_once(&mut recorder, &StopToken::new()), Ok(Ended::Stopped));
            recorder.most = 10;
            assert_eq!(source.run_once(&mut recorder, &StopToken::new()), Ok(Ended::Stopped));
            recorder
        });
        assert_eq!(recorder.opened.len(), 2, "{name}: opened() once a run");
        assert_eq!((recorder.opened[0].width, recorder.opened[0].height), size, "{name}");
        assert!(!recorder.opened[0].description.is_empty(), "{name}");
        for (n, frame) in recorder.frames.iter().enumerate() {
            assert_eq!(frame.seq, n as u64, "{name}: no gaps, also over runs");
            assert_eq!(frame.size, size, "{name}");
            let from = if live { TimeSource::Clock } else { TimeSource::File };
            assert_eq!(frame.wall_source, from, "{name}");
        }
        for pair in recorder.frames.windows(2) {
            assert!(pair[0].elapsed < pair[1].elapsed, "{name}: {:?}", recorder.frames);
        }
    });
}

#[test]
fn the_end_of_the_data_is_reported_and_nothing_is_lost_before_it() {
    for_every_kind(|kind| {
        if !kind.endless {
            let (result, recorder) = run(kind.options.clone(), usize::MAX);
            assert_eq!(result, Ok(Ended::EndOfStream), "{}", kind.name);
            assert_eq!(recorder.frames.len(), 20, "{}", kind.name);
        }
    });
}

#[test]
fn the_frame_rate_stays_below_the_limit() {
    for_every_kind(|kind| {
        let mut options = kind.options.clone();
        options.fps = 4.0;
        let (_, recorder) = run(options, 6);
        let frames = &recorder.frames;
        let span = (frames[frames.len() - 1].elapsed - frames[0].elapsed).as_secs_f64();
        let most = 4.0 * span + 3.0;
        assert!(frames.len() as f64 <= most, "{}: {} frames in {span} s", kind.name, frames.len());
    });
}

#[test]
fn a_stop_is_obeyed_within_a_second() {
    for_every_kind(|kind| {
        if !kind.endless {
            return;
        }
        let stop = StopToken::new();
        let (tell, told) = sync_channel(1);
        let (inner, options) = (stop.clone(), kind.options.clone());
        let (done, wait) = sync_channel(1);
        let mut recorder = Recorder { on_frame: Some(tell), ..Recorder::new(usize::MAX) };
        let thread = std::thread::Builder::new()
            .spawn(move || done.send(source(options).run_once(&mut recorder, &inner)).unwrap());
        if told.recv_timeout(PATIENCE).is_err() {
            panic!("{}: no frame, but {:?}", kind.name, wait.recv_timeout(PATIENCE));
        }
        stop.request();
        let result = wait.recv_timeout(Duration::from_secs(2));
        assert_eq!(result, Ok(Ok(Ended::Stopped)), "{}", kind.name);
        thread.unwrap().join().unwrap();
    });
}

#[test]
fn pictures_are_shrunk_to_the_useful_size() {
    for_every_kind(|kind| {
        let mut options = kind.options.clone();
        options.max_side_px = 80;
        let (_, recorder) = run(options, 3);
        assert!(recorder.frames.iter().all(|f| f.size == (80, 60)), "{}: {:?}", kind.name, recorder.frames);
        assert_eq!((recorder.opened[0].width, recorder.opened[0].height), kind.size, "{}", kind.name);
    });
}

#[test]
fn masked_areas_are_painted_in_every_frame() {
    for_every_kind(|kind| {
        for max_side in [0, 80] {
            let mut options = kind.options.clone();
            options.masks = vec![left_half()];
            options.max_side_px = max_side;
            let (_, recorder) = run_into(options, Recorder::with_pixels(4));
            assert_eq!(recorder.frames.len(), 4, "{}", kind.name);
            for frame in &recorder.frames {
                assert!(frame.left.iter().all(|&v| v == 32), "{}", kind.name);
                assert!(frame.right.iter().any(|&v| v != 32), "{}", kind.name);
            }
            let picture = recorder.last.unwrap();
            for n in 1..picture.format().planes() {
                let row = picture.plane(n).row(3);
                assert!(row[..row.len() / 2].iter().all(|&v| v == 128), "{}: chroma", kind.name);
            }
        }
    });
}

#[test]
fn errors_name_the_camera_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        aimass_core::runtime::files::write_atomically(&path, bytes).unwrap();
        options(file_uri(&path, ""))
    };
    let sound = folder.path().join("sound.ogg");
    render(&format!(
        "audiotestsrc num-buffers=20 ! vorbisenc ! oggmux ! filesink location={}",
        sound.display()
    ));
    let whole = clip(folder.path(), MJPEG_MOV, (160, 120), 10, 20);
    let bytes = std::fs::read(whole).unwrap();
    let uri = |text: &str| options(text.parse::<SourceUri>().unwrap());
    use SourceErrorKind::*;
    for (options, kind, says) in [
        (
            put("text.mp4", b"this is no clip at all, but a text of some length\n"),
            NotMedia,
            "check that it is a clip",
        ),
        (put("empty.mp4", b""), NotMedia, "empty (0 bytes)"),
        (put("noise.mp4", &[7; 4000]), NotMedia, "check that it is a clip"),
        (put("cut.mp4", &bytes[..bytes.len() / 4]), NotMedia, "check that it is a clip"),
        (put("empty.jpg", b""), NotMedia, "empty (0 bytes)"),
        (uri("file:/no/such/clip.mp4"), NotFound, "check the path"),
        (options(file_uri(&sound, "")), NotMedia, "no video"),
        (options(file_uri(folder.path(), "")), NotMedia, "folder"),
        (uri("gst:nosuchelement ! videoconvert"), Config, "nosuchelement"),
        (uri("gst:fakesrc ! fakesink"), Config, "open end"),
        (uri("gst:audiotestsrc num-buffers=10"), Config, "raw video"),
        (uri("rtsp://127.0.0.1:1/x"), Unavailable, "check that it is on"),
        (uri("rtsp://no-such-host.invalid/x"), Unavailable, "check that it is on"),
    ] {
        let shown = options.uri.to_string();
        let error = failure(options);
        println!("{error}");
        assert_eq!(error.kind, kind, "{shown}: {error}");
        assert!(error.message.contains(says), "{shown}: {error}");
    }
}

#[test]
fn a_wrong_password_is_told_from_a_wrong_path_and_the_right_one_opens() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    for lock in [Lock::Basic, Lock::Digest] {
        let camera = Camera::start(VP8, lock);
        let mut options = options(camera.uri("stream").parse().unwrap());
        assert_eq!(failure(options.clone()).kind, SourceErrorKind::Unauthorised);
        options.username = Some("viewer".into());
        options.password_file = Some(password.clone());
        let error = failure(options.clone());
        assert_eq!(error.kind, SourceErrorKind::Unauthorised);
        assert!(error.message.contains("password_file"), "{error}");
        aimass_core::runtime::files::write_atomically(&password, b"wrong-word\n").unwrap();
        let error = failure(options.clone());
        assert_eq!(error.kind, SourceErrorKind::Unauthorised);
        assert!(!error.message.contains("wrong-word"));
        aimass_core::runtime::files::write_atomically(&password, b"s3cret\n").unwrap();
        assert_eq!(run(options.clone(), 2).1.frames.len(), 2);
        options.uri = camera.uri("other").parse().unwrap();
        assert_eq!(failure(options).kind, SourceErrorKind::NotFound);
        std::fs::remove_file(&password).unwrap();
    }
}

#[test]
fn a_secured_camera_is_trusted_by_its_certificate_only() {
    let folder = tempfile::tempdir().unwrap();
    let made = |from: i32, to: i32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        about.not_before = rcgen::date_time_ymd(from, 1, 1);
        about.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = about.self_signed(&key).unwrap().pem();
        (certificate.clone(), certificate + &key.serialize_pem())
    };
    let ((own_pem, pem), (other_pem, _)) = (made(2020, 2049), made(2020, 2049));
    let camera = Camera::start(VP8, Lock::Tls(Box::leak(pem.into_boxed_str())));
    let (own, foreign) = (folder.path().join("own.pem"), folder.path().join("foreign.pem"));
    aimass_core::runtime::files::write_atomically(&own, own_pem.as_bytes()).unwrap();
    aimass_core::runtime::files::write_atomically(&foreign, other_pem.as_bytes()).unwrap();
    let mut options = options(camera.uri("stream").replace("rtsp:", "rtsps:").parse().unwrap());
    for ca in [None, Some(foreign)] {
        options.tls_ca_file = ca;
        let error = failure(options.clone());
        assert_eq!(error.kind, SourceErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("not trusted ("), "{error}");
    }
    options.tls_ca_file = Some(own);
    assert_eq!(run(options.clone(), 2).0, Ok(Ended::Stopped));
    options.tls_ca_file = Some(folder.path().join("missing.pem"));
    let error = failure(options);
    assert_eq!(error.kind, SourceErrorKind::Config);
    assert!(error.message.contains("missing.pem"), "{error}");
}

#[test]
fn a_camera_that_refuses_one_transport_gets_the_other_at_the_next_attempt_that_it_answers() {
    let camera = Camera::start_udp_only();
    let options = options(camera.uri("stream").parse().unwrap());
    let results = within(PATIENCE, move || {
        let mut source = source(options);
        let mut recorder = Recorder::new(2);
        let mut results = Vec::new();
        // The server's pipeline of the refused attempt may be on its way out: it says 503 as long as that lasts.
        loop {
            results.push(source.run_once(&mut recorder, &StopToken::new()));
            let busy = |error: &SourceError| error.message.contains("(503)");
            if !matches!(results.last(), Some(Err(error)) if results.len() == 1 || busy(error)) {
                return results;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    println!("{results:?}");
    assert!(results.first().unwrap().is_err());
    assert_eq!(results.last(), Some(&Ok(Ended::Stopped)));
}

#[test]
fn a_camera_that_never_answers_is_given_up_in_time_and_left_at_a_stop() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rtsp = format!("rtsp://{}/x", silent.local_addr().unwrap());
    for uri in [rtsp.as_str(), "gst:videotestsrc is-live=true ! valve drop=true"] {
        let mut options = options(uri.parse().unwrap());
        options.open_timeout = Duration::from_secs(1);
        let error = failure(options.clone());
        assert_eq!(error.kind, SourceErrorKind::Unavailable, "{error}");
        options.open_timeout = Duration::from_secs(600);
        let stop = StopToken::new();
        let inner = stop.clone();
        let (begun, wait) = sync_channel(1);
        let (done, result) = sync_channel(1);
        let thread = std::thread::Builder::new().spawn(move || {
            let mut source = source(options);
            begun.send(()).unwrap();
            done.send(source.run_once(&mut Recorder::new(1), &inner)).unwrap();
        });
        wait.recv().unwrap();
        // The first is of the attempt above, the second of the one that is to be stopped.
        let _held = (uri == rtsp).then(|| [silent.accept().unwrap(), silent.accept().unwrap()]);
        stop.request();
        assert_eq!(result.recv_timeout(Duration::from_secs(2)), Ok(Ok(Ended::Stopped)), "{uri}");
        thread.unwrap().join().unwrap();
    }
}

#[test]
fn a_frozen_camera_has_stalled_and_a_slow_limit_is_no_stall() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let camera = Camera::start(VP8, Lock::Open);
        let mut options = options(camera.uri("stream").parse().unwrap());
        options.transport = transport;
        options.stall_after = Duration::from_secs(1);
        // One frame in five seconds is wanted, ten a second come: that is no stall.
        options.fps = 0.2;
        let (tell, told) = sync_channel(4);
        let mut recorder = Recorder { on_frame: Some(tell), ..Recorder::new(usize::MAX) };
        let (done, wait) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .spawn(move || done.send(source(options).run_once(&mut recorder, &StopToken::new())).unwrap());
        for _ in 0..2 {
            told.recv_timeout(PATIENCE).unwrap();
        }
        camera.freeze();
        let error = wait.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Stalled, "{error}");
        thread.unwrap().join().unwrap();
    }
}

#[test]
fn a_camera_that_dies_and_comes_back_delivers_again() {
    for codec in [VP8, JPEG] {
        let camera = Camera::start(codec, Lock::Open);
        let port = camera.port;
        let mut options = options(camera.uri("stream").parse().unwrap());
        options.transport = Transport::Tcp;
        options.stall_after = Duration::from_secs(3);
        let stop = StopToken::new();
        let (tell, told) = sync_channel(1);
        let (say, states) = sync_channel(64);
        let inner = stop.clone();
        let thread = std::thread::Builder::new()
            .spawn(move || {
                let mut recorder = Recorder { on_frame: Some(tell), ..Recorder::new(usize::MAX) };
                let mut backoff = camera_backoff(&options.id);
                let mut source = source(options);
                let on_state = |state| say.send(state).unwrap();
                run_forever(source.as_mut(), &mut recorder, &inner, &mut backoff, on_state)
            })
            .unwrap();
        let wait_for = |wanted: fn(&SourceState) -> bool| {
            loop {
                let state = states.recv_timeout(PATIENCE).unwrap();
                println!("{state:?}");
                if wanted(&state) {
                    return;
                }
            }
        };
        wait_for(|s| matches!(s, SourceState::Delivering(_)));
        drop(camera);
        wait_for(|s| matches!(s, SourceState::Failed { .. } | SourceState::Stalled { .. }));
        let _camera = Camera::start_at(port, codec, Lock::Open);
        wait_for(|s| matches!(s, SourceState::Delivering(_)));
        told.recv_timeout(PATIENCE).unwrap();
        stop.request();
        assert_eq!(thread.join().unwrap(), Ended::Stopped);
    }
}
