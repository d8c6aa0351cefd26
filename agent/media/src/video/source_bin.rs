//! The beginning of each kind of pipeline: where the data comes from and how it gets decoded.
//!
//! Owner: the source's thread builds it; pads are linked on GStreamer's threads as they appear.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use aimass_core::traits::SourceErrorKind;
use gio::prelude::*;
use gstreamer as gst;
use gstreamer::prelude::*;

use super::sink_bin::Tail;
use crate::gst::errors::{self, Problem};
use crate::video::options::SourceOptions;
use crate::video::uri::{CsiCamera, FileClip, SourceUri, TestPicture};

type Made<T> = Result<T, Problem>;

/// Puts the head into the pipeline and links it to the tail, now or as soon as its pads appear.
pub(super) fn build(pipeline: &gst::Pipeline, tail: &Tail, options: &SourceOptions, udp: bool) -> Made<()> {
    match &options.uri {
        SourceUri::File(clip) => file(pipeline, tail, clip),
        SourceUri::Rtsp(url) => rtsp(pipeline, tail, url, options, udp),
        SourceUri::Libcamera(camera) => csi(pipeline, tail, camera),
        SourceUri::Gst(description) => own(pipeline, tail, description),
        SourceUri::Test(test) => test_picture(pipeline, tail, test),
        SourceUri::V4l2(_) => Err(Problem::new(SourceErrorKind::Config, "is not a GStreamer source")),
    }
}

fn make(name: &str) -> Made<gst::Element> {
    gst::ElementFactory::make(name).build().map_err(|_| errors::missing_element(name))
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::new(SourceErrorKind::Config, format!("GStreamer refuses the pipeline ({error})"))
}

/// Decodes video; other streams are exposed as they are, and stay unlinked.
fn decoder(pipeline: &gst::Pipeline, tail: &Tail) -> Made<gst::Element> {
    let decoder = make("decodebin")?;
    decoder.connect("autoplug-continue", false, |values| {
        let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        let structure = caps.as_ref().and_then(|c| c.structure(0));
        let other = |s: &gst::StructureRef| {
            ["audio/", "text/", "subpicture/"].iter().any(|kind| s.name().starts_with(kind))
        };
        Some((!structure.is_some_and(other)).to_value())
    });
    pipeline.add(&decoder).map_err(broken)?;
    let entry = tail.entry.downgrade();
    decoder.connect_pad_added(move |_, pad| {
        let Some(entry) = entry.upgrade() else { return };
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let is_video = caps.structure(0).is_some_and(|s| s.name() == "video/x-raw");
        if is_video && !entry.is_linked() && pad.link(&entry).is_err() {
            tracing::debug!("a video pad could not be linked");
        }
    });
    let (entry, watch) = (tail.entry.downgrade(), tail.watch.clone());
    decoder.connect_no_more_pads(move |_| {
        if entry.upgrade().is_some_and(|e| !e.is_linked()) {
            watch.no_video.store(true, Ordering::SeqCst);
        }
    });
    Ok(decoder)
}

fn file(pipeline: &gst::Pipeline, tail: &Tail, clip: &FileClip) -> Made<()> {
    readable(&clip.path, "check that it is a clip")?;
    let source = make("filesrc")?;
    source.set_property("location", clip.path.as_os_str().to_string_lossy().as_ref());
    let decoder = decoder(pipeline, tail)?;
    pipeline.add(&source).map_err(broken)?;
    source.link(&decoder).map_err(broken)
}

/// Looks whether a file can be read and holds anything.
pub(crate) fn readable(path: &Path, check: &str) -> Made<()> {
    let not_found = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => SourceErrorKind::NotFound,
            _ => SourceErrorKind::Unavailable,
        };
        Problem::new(kind, format!("cannot be read ({error}): check the path and its permissions"))
    };
    let about = fs::metadata(path).map_err(not_found)?;
    if about.is_dir() {
        return Err(Problem::new(SourceErrorKind::NotMedia, "is a folder: give a file"));
    }
    if about.is_file() && about.len() == 0 {
        return Err(Problem::new(SourceErrorKind::NotMedia, format!("the file is empty (0 bytes): {check}")));
    }
    fs::File::open(path).map(drop).map_err(not_found)
}

fn rtsp(pipeline: &gst::Pipeline, tail: &Tail, url: &str, options: &SourceOptions, udp: bool) -> Made<()> {
    let source = make("rtspsrc")?;
    source.set_property("location", url);
    source.set_property("latency", options.latency_ms);
    source.set_property_from_str("protocols", if udp { "udp" } else { "tcp" });
    let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    // Before we give up: it can tell a camera that nobody reaches from one that sends nothing.
    source.set_property("tcp-timeout", micros(options.open_timeout.mul_f64(0.9)));
    // Stalls are watched for all kinds of sources alike; rtspsrc's own timer knows nothing of decoded frames.
    source.set_property("timeout", 0u64);
    if let Some(username) = &options.username {
        source.set_property("user-id", username);
    }
    if let Some(path) = &options.password_file {
        let password = fs::read_to_string(path).map_err(|error| {
            let text = format!("the password_file {} cannot be read ({error})", path.display());
            Problem::new(SourceErrorKind::Unauthorised, text)
        })?;
        source.set_property("user-pw", password.trim_end_matches(['\r', '\n']));
    }
    if let Some(path) = &options.tls_ca_file {
        let unusable = |why: &dyn std::fmt::Display| {
            let text = format!("the tls_ca_file {} cannot be used ({why})", path.display());
            Problem::new(SourceErrorKind::Config, text)
        };
        // glib takes absolute paths only, and trusts nobody otherwise.
        let path = path.canonicalize().map_err(|e| unusable(&e))?;
        let database = gio::TlsFileDatabase::new(&path).map_err(|e| unusable(&e.message()))?;
        source.set_property("tls-database", database.upcast::<gio::TlsDatabase>());
    }
    let watch = tail.watch.clone();
    source.connect("accept-certificate", false, move |values| {
        // Asked only about a certificate that is not trusted: the answer stays no, but we know why.
        let flags = values.get(3).and_then(|v| v.get::<gio::TlsCertificateFlags>().ok());
        let why = flags.map(|f| f.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", "));
        watch.untrusted.set(why.unwrap_or_default().to_lowercase()).ok();
        Some(false.to_value())
    });
    let decoder = decoder(pipeline, tail)?;
    pipeline.add(&source).map_err(broken)?;
    // Sound and metadata are not even asked for.
    source.connect("select-stream", false, |values| {
        let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        let media = caps.as_ref().and_then(|c| c.structure(0)).and_then(|s| s.get::<String>("media").ok());
        Some((media.as_deref() == Some("video")).to_value())
    });
    let input = decoder.static_pad("sink").ok_or_else(|| errors::missing_element("decodebin"))?.downgrade();
    source.connect_pad_added(move |_, pad| {
        if let Some(input) = input.upgrade()
            && !input.is_linked()
            && pad.link(&input).is_err()
        {
            tracing::debug!("an RTSP stream could not be linked");
        }
    });
    Ok(())
}

/// A pipeline of the administrator's own, with one pad `src`; `ends_in` says what it should end in.
pub(crate) fn own_bin(description: &str, ends_in: &str) -> Made<gst::Bin> {
    // GStreamer's parser takes a format only between two elements.
    let last = description.rsplit('!').next().unwrap_or_default();
    let ends_in_caps =
        last.split([',', '(']).next().is_some_and(|name| name.contains('/') && !name.contains('='));
    let description = if ends_in_caps { &format!("{description} ! identity") } else { description };
    // Only the open end is shown outside. GStreamer's own way of showing pads takes the inputs of elements behind a
    // demuxer too, whose pads come later and then have nowhere to go.
    let bin = gst::parse::bin_from_description(description, false).map_err(|error| {
        let said = crate::redact::redacted(error.message());
        Problem::new(SourceErrorKind::Config, format!("GStreamer cannot read the pipeline ({said})"))
    })?;
    let Some(end) = bin.find_unlinked_pad(gst::PadDirection::Src) else {
        let text = format!("the pipeline has no open end: let it end in {ends_in}");
        return Err(Problem::new(SourceErrorKind::Config, text));
    };
    let pad = gst::GhostPad::builder_with_target(&end).map_err(broken)?.name("src").build();
    bin.add_pad(&pad).map_err(broken)?;
    Ok(bin)
}

fn own(pipeline: &gst::Pipeline, tail: &Tail, description: &str) -> Made<()> {
    let bin = own_bin(description, "a raw video pad, such as … ! videoconvert")?;
    let pad = bin.static_pad("src").ok_or_else(|| errors::missing_element("bin"))?;
    pipeline.add(&bin).map_err(broken)?;
    match pad.link(&tail.entry) {
        Ok(_) => Ok(()),
        Err(_) => {
            let text = "the pipeline does not end in raw video (video/x-raw in system memory): add a decoder";
            Err(Problem::new(SourceErrorKind::Config, text))
        }
    }
}

/// A camera on a CSI connector: its pictures come processed, in the cheapest format that the board's pipeline makes.
fn csi(pipeline: &gst::Pipeline, tail: &Tail, camera: &CsiCamera) -> Made<()> {
    let source = make("libcamerasrc")?;
    if let Some(name) = &camera.name {
        source.set_property("camera-name", name);
    }
    let filter = make("capsfilter")?;
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", gst::List::new(["NV12", "I420", "YUY2", "UYVY", "RGB", "BGR", "RGBx", "BGRx"]))
        .field("width", camera.width as i32)
        .field("height", camera.height as i32)
        .build();
    filter.set_property("caps", caps);
    pipeline.add_many([&source, &filter]).map_err(broken)?;
    source.link(&filter).map_err(broken)?;
    let end = filter.static_pad("src").ok_or_else(|| errors::missing_element("capsfilter"))?;
    end.link(&tail.entry).map(|_| ()).map_err(broken)
}

fn test_picture(pipeline: &gst::Pipeline, tail: &Tail, test: &TestPicture) -> Made<()> {
    let source = make("videotestsrc")?;
    source.set_property("is-live", test.realtime);
    source.set_property_from_str("pattern", &test.pattern);
    if let Some(frames) = test.frames {
        source.set_property("num-buffers", i32::try_from(frames).unwrap_or(i32::MAX));
    }
    let filter = make("capsfilter")?;
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", test.width as i32)
        .field("height", test.height as i32)
        .field("framerate", gst::Fraction::new(test.fps as i32, 1))
        .build();
    filter.set_property("caps", caps);
    pipeline.add_many([&source, &filter]).map_err(broken)?;
    source.link(&filter).map_err(broken)?;
    let end = filter.static_pad("src").ok_or_else(|| errors::missing_element("capsfilter"))?;
    end.link(&tail.entry).map(|_| ()).map_err(broken)
}
