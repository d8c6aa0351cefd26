//! An RTSP camera on loopback that can freeze, die and come back.

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_rtsp_server as server;
use gstreamer_rtsp_server::prelude::*;

pub const VP8: &str = "vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay name=pay0 pt=96";
pub const JPEG: &str = "jpegenc ! rtpjpegpay name=pay0 pt=26";

/// What the camera asks for before it shows anything.
#[derive(Clone, Copy, PartialEq)]
pub enum Lock {
    Open,
    Basic,
    Digest,
    /// Certificate and key, PEM.
    Tls(&'static str),
}

/// 160x120 at 10 frames a second under `/stream`, user `viewer`, password `s3cret`.
pub struct Camera {
    pub port: i32,
    context: glib::MainContext,
    main: glib::MainLoop,
    server: server::RTSPServer,
    valves: Arc<Mutex<Vec<gst::Element>>>,
    sizes: Arc<Mutex<Vec<gst::Element>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Camera {
    pub fn start(codec: &str, lock: Lock) -> Self {
        Self::start_at(0, codec, lock)
    }

    /// Refuses to send within the RTSP connection.
    pub fn start_udp_only() -> Self {
        Self::build(0, VP8, Lock::Open, server::gst_rtsp::RTSPLowerTrans::UDP)
    }

    /// On a given port: a camera that comes back.
    pub fn start_at(port: i32, codec: &str, lock: Lock) -> Self {
        let both = server::gst_rtsp::RTSPLowerTrans::UDP | server::gst_rtsp::RTSPLowerTrans::TCP;
        Self::build(port, codec, lock, both)
    }

    fn build(port: i32, codec: &str, lock: Lock, protocols: server::gst_rtsp::RTSPLowerTrans) -> Self {
        gst::init().unwrap();
        let context = glib::MainContext::new();
        let main = glib::MainLoop::new(Some(&context), false);
        let rtsp = server::RTSPServer::new();
        rtsp.set_address("127.0.0.1");
        rtsp.set_service(&port.to_string());
        let factory = server::RTSPMediaFactory::new();
        factory.set_launch(&format!(
            "( videotestsrc is-live=true horizontal-speed=2 ! capsfilter name=size caps={} \
             ! valve name=valve ! {codec} )",
            caps(160, 120)
        ));
        factory.set_shared(true);
        factory.set_protocols(protocols);
        let (valves, sizes) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let found = (valves.clone(), sizes.clone());
        factory.connect_media_configure(move |_, media| {
            let bin = media.element().downcast::<gst::Bin>().unwrap();
            found.0.lock().unwrap().push(bin.by_name("valve").unwrap());
            found.1.lock().unwrap().push(bin.by_name("size").unwrap());
        });
        if lock != Lock::Open {
            rtsp.set_auth(Some(&auth(lock)));
        }
        if lock != Lock::Open {
            let role = gst::Structure::builder("user")
                .field("media.factory.access", true)
                .field("media.factory.construct", true)
                .build();
            factory.add_role_from_structure(&role);
        }
        rtsp.mount_points().unwrap().add_factory("/stream", factory);
        let source = rtsp.create_source(gio::Cancellable::NONE).unwrap();
        source.attach(Some(&context));
        let (ready, wait) = sync_channel(1);
        let (inner, looping) = (context.clone(), main.clone());
        let thread = std::thread::Builder::new().name("camera".into()).spawn(move || {
            inner
                .with_thread_default(|| {
                    ready.send(()).unwrap();
                    looping.run();
                    source.destroy();
                })
                .unwrap();
        });
        wait.recv().unwrap();
        let port = rtsp.bound_port();
        Camera { port, context, main, server: rtsp, valves, sizes, thread: Some(thread.unwrap()) }
    }

    pub fn uri(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.port)
    }

    /// Goes on with pictures of another size.
    pub fn resize(&self, width: i32, height: i32) {
        for size in self.sizes.lock().unwrap().iter() {
            size.set_property("caps", caps(width, height).parse::<gst::Caps>().unwrap());
        }
    }

    /// Stays connected and sends nothing any more.
    pub fn freeze(&self) {
        for valve in self.valves.lock().unwrap().iter() {
            valve.set_property("drop", true);
        }
    }
}

impl Drop for Camera {
    /// Hangs up on everybody and stops listening.
    fn drop(&mut self) {
        // On the thread that reads from the clients: a connection that is closed under its hands it goes on reading, for
        // ever (gst-rtsp-server 1.22).
        let (main, server) = (self.main.clone(), self.server.clone());
        self.context.invoke(move || {
            server.client_filter(Some(&mut |_, _| server::RTSPFilterResult::Remove));
            main.quit();
        });
        self.thread.take().unwrap().join().ok();
    }
}

fn caps(width: i32, height: i32) -> String {
    format!("video/x-raw,format=I420,width={width},height={height},framerate=10/1")
}

fn auth(lock: Lock) -> server::RTSPAuth {
    let auth = server::RTSPAuth::new();
    let mut token = server::RTSPToken::builder().field("media.factory.role", "user").build();
    match lock {
        Lock::Open => {}
        Lock::Basic => auth.add_basic(&server::RTSPAuth::make_basic("viewer", "s3cret"), &token),
        Lock::Digest => {
            auth.set_supported_methods(server::gst_rtsp::RTSPAuthMethod::Digest);
            auth.add_digest("viewer", "s3cret", &token);
        }
        Lock::Tls(pem) => {
            auth.set_tls_certificate(Some(&gio::TlsCertificate::from_pem(pem).unwrap()));
            auth.set_default_token(Some(&mut token));
        }
    }
    auth
}
