//! Pre-processing allocates nothing after the first picture of a size, and the engine nothing after its first run:
//! frames come at any rate for years. Loading holds the weights twice at most.

// SAFETY (of the allocator below): it only counts and hands everything on to the system's allocator.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod small_graphs;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use aimass_core::frame::{Colour, Picture, PixelFormat};
use aimass_core::geometry::Region;
use aimass_inference::library::manifest::{ChannelOrder, InputSpec, Layout as Axes, Resize};
use aimass_inference::preprocess::image::Preparer;
use aimass_inference::{Backend, Library, Model, ModelCache, Threads};
use small_graphs::{read, spec};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread holds, and the most that it held.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: see the head of the file.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        HELD.with(|held| held.set(held.get() + layout.size() as isize));
        MOST.with(|most| most.set(most.get().max(HELD.with(Cell::get))));
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size() as isize));
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_second_picture_of_a_size_allocates_nothing() {
    let spec = InputSpec {
        name: "in".into(),
        shape: [1, 3, 48, 64],
        layout: Axes::Nchw,
        colour: ChannelOrder::Rgb,
        mean: [127.5; 3],
        std: [127.5; 3],
        resize: Resize::Letterbox,
    };
    for format in [PixelFormat::I420, PixelFormat::Nv12, PixelFormat::Rgb8, PixelFormat::Gray8] {
        let size = |n| {
            if n < format.planes() { format.plane_size(n, 200, 100) } else { (0, 0) }
        };
        let planes = [0, 1, 2].map(|n| vec![7u8; size(n).0 * size(n).1]);
        let strides = [0, 1, 2].map(|n| size(n).0);
        let picture = Picture::new((200, 100), format, Colour::SD, strides, Arc::new(planes)).unwrap();
        let (mut preparer, mut tensor) = (Preparer::new(&spec), vec![0.0; spec.len()]);
        preparer.prepare(&picture, Region::FULL, &mut tensor);
        let before = ALLOCATIONS.with(Cell::get);
        preparer.prepare(&picture, Region::FULL, &mut tensor);
        assert_eq!(ALLOCATIONS.with(Cell::get), before, "{format:?}");
    }
}

#[test]
fn the_engine_allocates_nothing_after_its_first_run() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let library = Library::open(&[models]).unwrap();
    for (name, backend) in [("centerface", Backend::EngineInt8), ("blazeface-back", Backend::EngineF32)] {
        let entry = library.get(name).unwrap();
        let model = Model::load(entry.read_model().unwrap(), &entry.manifest.input, backend).unwrap();
        assert_no_allocation(&model, name);
        let mut session = model.session().unwrap().shared_by(&Threads::new(3, None));
        session.run().unwrap();
        let before = ALLOCATIONS.with(Cell::get);
        session.run().unwrap();
        assert_eq!(ALLOCATIONS.with(Cell::get), before, "{name} on three threads");
    }
}

/// The most bytes that were held while `f` ran, beyond those before it.
fn most<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.with(Cell::get);
    MOST.with(|most| most.set(before));
    let result = f();
    (result, (MOST.with(Cell::get) - before) as usize)
}

#[test]
fn loading_holds_the_weights_twice_at_most() {
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    for (name, backend) in [
        ("coco-ssd-lite", Backend::EngineInt8),
        ("centerface", Backend::EngineInt8),
        ("blazeface-back", Backend::EngineF32),
    ] {
        let state = tempfile::tempdir().unwrap();
        let library = Library::open(std::slice::from_ref(&models)).unwrap();
        let bytes = library.get(name).unwrap().manifest.bytes as usize;
        let cache = ModelCache::new(library, Some(state.path().to_owned())).with_engine(Some(backend));
        for start in ["first", "second"] {
            let (model, held) = most(|| cache.get(name, None).unwrap());
            let arena = model.model().session_bytes().unwrap();
            // Steps, names and what tract says of the graph, which does not grow with the weights.
            let bound = 2 * bytes + arena + 1_000_000;
            println!("{name}, {start} start: {held} bytes of {bound}, file {bytes}, arena {arena}");
            assert!(held <= bound, "{name}, {start} start: {held} bytes of {bound}");
        }
    }
}

/// Attention, and products of what is quantised as the model runs: both pack as they go.
#[test]
fn a_transformer_allocates_nothing_after_its_first_run() {
    for (seed, rows, columns) in [(20_006, 6, 2), (20_012, 11, 5)] {
        let input = spec([1, 1, rows, columns]);
        let model = Model::load(read(seed, "onnx"), &input, Backend::EngineInt8).unwrap();
        assert_no_allocation(&model, &seed.to_string());
    }
}

fn assert_no_allocation(model: &Model, name: &str) {
    assert_eq!(model.fallbacks(), 0, "{name}: what tract runs allocates");
    let mut session = model.session().unwrap();
    session.run().unwrap();
    let before = ALLOCATIONS.with(Cell::get);
    session.fill(|input| input.fill(0.5)).unwrap();
    session.run().unwrap();
    assert_eq!(ALLOCATIONS.with(Cell::get), before, "{name}");
}
