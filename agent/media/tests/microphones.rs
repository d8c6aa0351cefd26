//! What every microphone promises, whatever its kind: the same checks run over test tones, files, own pipelines, and,
//! where `AIMASS_TEST_MICROPHONE` names one (`alsa:hw:Loopback,1`), a real device.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "each test program uses its part")]
#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use aimass_core::audio::{AudioChunk, Level};
use aimass_core::frame::TimeSource;
use aimass_core::runtime::clock::SystemClock;
use aimass_core::runtime::stop::StopToken;
use aimass_core::traits::{Ended, Flow, FrameSink, SourceError, SourceErrorKind, StreamInfo};
use aimass_media::{MicrophoneOptions, SourceState, camera_backoff, run_forever};
use support::{PATIENCE, render, skip, within};

/// Remembers windows; has enough after `most`.
struct Listener {
    opened: Vec<StreamInfo>,
    windows: Vec<AudioChunk>,
    most: usize,
    on_window: Option<SyncSender<u64>>,
}

impl Listener {
    fn new(most: usize) -> Self {
        Listener { opened: vec![], windows: vec![], most, on_window: None }
    }

    fn samples(&self) -> Vec<f32> {
        self.windows.iter().flat_map(|w| w.samples.as_slice()).copied().collect()
    }
}

impl FrameSink<AudioChunk> for Listener {
    fn opened(&mut self, info: &StreamInfo) {
        self.opened.push(info.clone());
    }

    fn frame(&mut self, window: AudioChunk) -> Flow {
        assert!(!self.opened.is_empty(), "a window before opened()");
        if let Some(tell) = &self.on_window {
            tell.try_send(window.seq).ok();
        }
        self.windows.push(window);
        if self.windows.len() >= self.most { Flow::Stop } else { Flow::Continue }
    }
}

fn options(uri: &str) -> MicrophoneOptions {
    let mut options = MicrophoneOptions::new("door".parse().unwrap(), uri.parse().unwrap());
    options.window = Duration::from_millis(100);
    options
}

/// One attempt, up to `most` windows.
fn run(options: MicrophoneOptions, most: usize) -> (Result<Ended, SourceError>, Listener) {
    within(PATIENCE, move || {
        let mut listener = Listener::new(most);
        let mut source = options.build(SystemClock::shared()).unwrap();
        let result = source.run_once(&mut listener, &StopToken::new());
        (result, listener)
    })
}

fn failure(uri: &str) -> SourceError {
    let (result, listener) = run(options(uri), usize::MAX);
    let error = result.unwrap_err();
    assert!(listener.windows.is_empty());
    assert!(error.message.starts_with("microphone door (") && !error.message.contains('\n'), "{error}");
    println!("{error}");
    error
}

/// One kind of microphone; `seconds` that the finite ones last.
struct Kind {
    name: &'static str,
    uri: String,
    seconds: Option<u32>,
    live: bool,
    /// The level of the tone it plays, if it is known.
    rms_dbfs: Option<f32>,
}

/// Two seconds of a tone with an RMS of -9 dBFS in each of two channels.
fn tone(folder: &Path, name: &str, format: &str, encoder: &str) -> PathBuf {
    let path = folder.join(name);
    render(&format!(
        "audiotestsrc num-buffers=20 samplesperbuffer=4410 volume=0.5 ! audio/x-raw,{format} ! {encoder} \
         ! filesink location={}",
        path.display()
    ));
    path
}

fn kinds(folder: &Path) -> Vec<Kind> {
    let wav = tone(folder, "tone.wav", "format=S16LE,rate=44100,channels=2", "wavenc");
    let ogg = tone(folder, "tone.ogg", "rate=44100,channels=2", "audioconvert ! vorbisenc ! oggmux");
    let flac = tone(folder, "tone.flac", "format=S16LE,rate=44100,channels=1", "flacenc");
    let video = folder.join("film.mov");
    render(&format!(
        "qtmux name=mux ! filesink location={} \
         videotestsrc num-buffers=20 ! video/x-raw,width=64,height=48,framerate=10/1 ! jpegenc ! mux. \
         audiotestsrc num-buffers=20 samplesperbuffer=4410 volume=0.5 ! audio/x-raw,format=S16LE,rate=44100 ! mux.",
        video.display()
    ));
    let file = |path: &Path, query: &str| format!("file:{}{query}", path.display());
    let kind = |name, uri: String, seconds, live| Kind { name, uri, seconds, live, rms_dbfs: Some(-9.0) };
    let live_pipeline = "gst:audiotestsrc is-live=true volume=0.5 ! audio/x-raw,rate=48000,channels=2";
    let own_pipeline =
        "gst:audiotestsrc num-buffers=20 samplesperbuffer=4800 volume=0.5 ! audio/x-raw,rate=48000";
    let mut kinds = vec![
        kind("test, live", "test:?volume=0.5".into(), None, true),
        kind("test, unpaced", "test:?volume=0.5&seconds=2&realtime=false".into(), Some(2), false),
        kind("paced wav", file(&wav, ""), Some(2), false),
        kind("unpaced ogg", file(&ogg, "?realtime=false"), Some(2), false),
        kind("unpaced flac", file(&flac, "?realtime=false"), Some(2), false),
        kind("the sound of a film", file(&video, "?realtime=false"), Some(2), false),
        kind("looped wav", file(&wav, "?loop=true&realtime=false"), None, false),
        kind("own pipeline", own_pipeline.into(), Some(2), false),
        kind("own live pipeline", live_pipeline.into(), None, true),
    ];
    match std::env::var("AIMASS_TEST_MICROPHONE") {
        Ok(uri) => {
            // A tone of 440 Hz that is played to it all the time, if so, and how loud.
            let rms_dbfs =
                std::env::var("AIMASS_TEST_MICROPHONE_DBFS").ok().map(|dbfs| dbfs.parse().unwrap());
            kinds.push(Kind { name: "device", uri, seconds: None, live: true, rms_dbfs });
        }
        Err(_) => skip("AIMASS_TEST_MICROPHONE is not set, no real device is listened to"),
    }
    kinds
}

fn for_every_kind(check: impl Fn(&Kind)) {
    let folder = tempfile::tempdir().unwrap();
    for kind in kinds(folder.path()) {
        println!("checking: {}", kind.name);
        check(&kind);
    }
}

#[test]
fn windows_come_in_order_after_opened_and_a_microphone_runs_again() {
    for_every_kind(|kind| {
        let (name, options) = (kind.name, options(&kind.uri));
        let listener = within(PATIENCE, move || {
            let mut source = options.build(SystemClock::shared()).unwrap();
            let mut listener = Listener::new(5);
            assert_eq!(source.run_once(&mut listener, &StopToken::new()), Ok(Ended::Stopped));
            listener.most = 10;
            assert_eq!(source.run_once(&mut listener, &StopToken::new()), Ok(Ended::Stopped));
            listener
        });
        assert_eq!(listener.opened.len(), 2, "{name}: opened() once a run");
        assert!(listener.opened[0].description.contains("Hz"), "{name}: {:?}", listener.opened[0]);
        for (n, window) in listener.windows.iter().enumerate() {
            assert_eq!(window.seq, n as u64, "{name}: no gaps, also over runs");
            assert_eq!(window.samples.as_slice().len(), 1600, "{name}: all equally long");
            let from = if kind.live { TimeSource::Clock } else { TimeSource::File };
            assert_eq!(window.capture_time.wall_source, from, "{name}");
        }
        for pair in listener.windows.windows(2) {
            assert!(pair[0].capture_time.elapsed < pair[1].capture_time.elapsed, "{name}");
        }
    });
}

#[test]
fn the_sound_is_mono_at_sixteen_kilohertz_and_as_loud_as_it_was() {
    for_every_kind(|kind| {
        // Without the beginning and the end, where filters swing in.
        let (_, listener) = run(options(&kind.uri), 15);
        let samples = listener.samples();
        let level = Level::of(&samples[3200..samples.len() - 3200]);
        let Some(rms) = kind.rms_dbfs else { return };
        assert!((level.rms_dbfs - rms).abs() < 0.5, "{}: {level:?}", kind.name);
        // 440 Hz crosses zero 880 times a second.
        let heard = &samples[1600..17_600];
        let crossings = heard.windows(2).filter(|p| (p[0] < 0.0) != (p[1] < 0.0)).count();
        assert!((860..=900).contains(&crossings), "{}: {crossings}", kind.name);
    });
}

#[test]
fn the_end_of_the_data_is_reported_and_nothing_is_lost_before_it() {
    for_every_kind(|kind| {
        let Some(seconds) = kind.seconds else { return };
        let (result, listener) = run(options(&kind.uri), usize::MAX);
        assert_eq!(result, Ok(Ended::EndOfStream), "{}", kind.name);
        // Encoders add a little; what does not fill a window is filled up with silence.
        let windows = listener.windows.len() as u32;
        assert!((seconds * 10..=seconds * 10 + 1).contains(&windows), "{}: {windows}", kind.name);
    });
}

#[test]
fn a_loop_goes_on_without_a_gap_and_beyond_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let wav = tone(folder.path(), "tone.wav", "format=S16LE,rate=16000,channels=1", "wavenc");
    // 20 buffers of 4410 samples are 55.125 windows.
    let (_, listener) = run(options(&format!("file:{}?loop=true&realtime=false", wav.display())), 120);
    assert_eq!(listener.windows.len(), 120);
    let quietest =
        listener.windows.iter().map(|w| Level::of(w.samples.as_slice()).rms_dbfs).fold(0.0, f32::min);
    assert!((quietest + 9.0).abs() < 0.5, "{quietest}");
    for (n, window) in listener.windows.iter().enumerate() {
        assert_eq!(window.capture_time.elapsed, Duration::from_millis(n as u64 * 100));
    }
}

#[test]
fn a_stop_is_obeyed_within_a_second() {
    for_every_kind(|kind| {
        if kind.seconds.is_some() {
            return;
        }
        let stop = StopToken::new();
        let (tell, told) = sync_channel(1);
        let (inner, mut options) = (stop.clone(), options(&kind.uri));
        options.window = Duration::from_millis(500);
        let (done, wait) = sync_channel(1);
        let mut listener = Listener { on_window: Some(tell), ..Listener::new(usize::MAX) };
        let thread = std::thread::Builder::new().spawn(move || {
            let mut source = options.build(SystemClock::shared()).unwrap();
            done.send(source.run_once(&mut listener, &inner)).unwrap();
        });
        if told.recv_timeout(PATIENCE).is_err() {
            panic!("{}: no window, but {:?}", kind.name, wait.recv_timeout(PATIENCE));
        }
        stop.request();
        assert_eq!(wait.recv_timeout(Duration::from_secs(2)), Ok(Ok(Ended::Stopped)), "{}", kind.name);
        thread.unwrap().join().unwrap();
    });
}

#[test]
fn errors_name_the_microphone_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        aimass_core::runtime::files::write_atomically(&path, bytes).unwrap();
        format!("file:{}", path.display())
    };
    let silent_film = folder.path().join("silent.avi");
    render(&format!(
        "videotestsrc num-buffers=10 ! video/x-raw,width=64,height=48 ! jpegenc ! avimux ! filesink location={}",
        silent_film.display()
    ));
    use SourceErrorKind::*;
    for (uri, kind, says) in [
        ("alsa:hw:9,0".to_owned(), NotFound, "aimass-agent probe"),
        ("alsa:hw:CARD=Gone,DEV=0".to_owned(), NotFound, "aimass-agent probe"),
        ("alsa:no_such_device".to_owned(), NotFound, "aimass-agent probe"),
        (
            put("text.wav", b"this is no sound at all, but a text of some length\n"),
            NotMedia,
            "file with sound",
        ),
        (put("empty.wav", b""), NotMedia, "empty (0 bytes)"),
        (put("noise.wav", &[7; 4000]), NotMedia, "file with sound"),
        ("file:/no/such/sound.wav".to_owned(), NotFound, "check the path"),
        (format!("file:{}", silent_film.display()), NotMedia, "no sound"),
        (format!("file:{}", folder.path().display()), NotMedia, "folder"),
        ("gst:nosuchelement ! audioconvert".to_owned(), Config, "nosuchelement"),
        ("gst:fakesrc ! fakesink".to_owned(), Config, "open end"),
        ("gst:videotestsrc num-buffers=10".to_owned(), Config, "raw sound"),
    ] {
        let error = failure(&uri);
        assert_eq!(error.kind, kind, "{uri}: {error}");
        assert!(error.message.contains(says), "{uri}: {error}");
    }
}

#[test]
fn a_microphone_that_delivers_nothing_is_given_up_in_time() {
    let mut silent = options("gst:audiotestsrc is-live=true ! valve drop=true");
    silent.open_timeout = Duration::from_secs(1);
    let (result, _) = run(silent, 1);
    let error = result.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("no sound within 1s"), "{error}");
}

#[test]
fn a_microphone_that_falls_silent_in_the_middle_has_stalled_and_is_heard_again() {
    let port = {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let caps = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
    let mut options =
        options(&format!("gst:udpsrc address=127.0.0.1 port={port} caps=\"{caps}\" ! audioconvert"));
    options.stall_after = Duration::from_secs(1);
    let stop = StopToken::new();
    let (say, states) = sync_channel(64);
    let (tell, told) = sync_channel(1);
    let inner = stop.clone();
    let thread = std::thread::Builder::new().spawn(move || {
        let mut backoff = camera_backoff(&options.id);
        let mut source = options.build(SystemClock::shared()).unwrap();
        let mut listener = Listener { on_window: Some(tell), ..Listener::new(usize::MAX) };
        let on_state = |state| say.send(state).unwrap();
        run_forever(source.as_mut(), &mut listener, &inner, &mut backoff, on_state)
    });
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let speak_until = |wanted: fn(&SourceState) -> bool| {
        loop {
            // A tenth of a second of sound: one window.
            sender.send_to(&[1; 3200], ("127.0.0.1", port)).ok();
            match states.recv_timeout(Duration::from_millis(50)) {
                Ok(state) if wanted(&state) => return,
                _ => {}
            }
        }
    };
    for _ in 0..2 {
        speak_until(|state| matches!(state, SourceState::Delivering(_)));
        told.recv_timeout(PATIENCE).unwrap();
        let state = states.recv_timeout(PATIENCE).unwrap();
        let SourceState::Stalled { message, .. } = &state else { panic!("{state:?}") };
        assert!(message.contains("no unbroken sound for 1s"), "{message}");
    }
    stop.request();
    assert_eq!(thread.unwrap().join().unwrap(), Ended::Stopped);
}
