//! A model file through the compiler, and what it makes of it through one run.
#![no_main]

use aimass_inference::library::manifest::{ChannelOrder, InputSpec, Layout, Resize};
use aimass_inference::{Backend, Model, onnx};
use libfuzzer_sys::fuzz_target;

/// The most elements of an input: a model for larger pictures may take longer than the fuzzer's patience.
const MOST: usize = 1 << 14;

/// Tract panics on some files, which the loader catches. What the agent's own code panics at is a mistake.
fn abort_at_own_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let file = panic.location().map_or("", |place| place.file());
        if !file.contains("/registry/") && !file.starts_with("/rustc/") {
            eprintln!("{panic}\n{}", std::backtrace::Backtrace::force_capture());
            std::process::abort();
        }
    }));
}

fuzz_target!(init: abort_at_own_panics(), |bytes: &[u8]| {
    let Ok(proto) = onnx::decode(bytes) else { return };
    let Ok((name, shape)) = onnx::picture_input(&proto) else { return };
    drop(proto);
    if shape.iter().try_fold(1usize, |n, side| n.checked_mul(*side)).is_none_or(|n| n > MOST) {
        return;
    }
    let spec = InputSpec {
        name,
        shape,
        layout: Layout::Nchw,
        colour: ChannelOrder::Rgb,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: Resize::Stretch,
    };
    for backend in [Backend::EngineInt8, Backend::EngineF32] {
        let Ok(model) = Model::load(bytes.to_vec(), &spec, backend) else { continue };
        let Ok(mut session) = model.session() else { continue };
        // A step may fail in tract; none may write where it should not, or panic.
        drop(session.run());
        for (n, output) in model.outputs().iter().enumerate() {
            assert_eq!(session.output(n).len(), output.shape.iter().product::<usize>(), "output {n}");
        }
    }
});
