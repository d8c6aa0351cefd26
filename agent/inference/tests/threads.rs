//! Layers that threads share: the same answers to the bit on any number of them.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::path::Path;

use aimass_core::runtime::semaphore::FairSemaphore;
use aimass_inference::backend::Session;
use aimass_inference::{Backend, Library, Model, Threads};

fn model(name: &str, backend: Backend) -> Model {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let library = Library::open(&[models]).unwrap();
    let entry = library.get(name).unwrap();
    Model::load(entry.read_model().unwrap(), &entry.manifest.input, backend).unwrap()
}

/// What a model answers to an input that is the same for all, as bits.
fn answers(model: &Model, mut session: Session) -> Vec<Vec<u32>> {
    let bits = |session: &Session| -> Vec<Vec<u32>> {
        (0..model.outputs().len()).map(|n| session.output(n).iter().map(|v| v.to_bits()).collect()).collect()
    };
    session
        .fill(|input| {
            input.iter_mut().enumerate().for_each(|(n, v)| *v = ((n * 37) % 101) as f32 / 50.0 - 1.0);
        })
        .unwrap();
    session.run().unwrap();
    let first = bits(&session);
    session.run().unwrap();
    assert!(bits(&session) == first, "two runs on the same input");
    first
}

/// Whether this process has a thread that shares rows.
#[cfg(target_os = "linux")]
fn has_helpers() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("rows-"))
    })
}

// One test, because it looks at the threads of the whole process.
#[test]
fn models_answer_to_the_bit_alike_on_any_number_of_threads() {
    for (name, backend) in [
        ("coco-ssd-lite", Backend::EngineInt8),
        ("coco-ssd-lite", Backend::EngineF32),
        ("centerface", Backend::EngineInt8),
        ("centerface", Backend::EngineF32),
        ("blazeface-back", Backend::EngineF32),
    ] {
        let model = model(name, backend);
        let alone = answers(&model, model.session().unwrap());
        for count in 2..=4 {
            let threads = Threads::new(count, None);
            let shared = answers(&model, model.session().unwrap().shared_by(&threads));
            assert!(shared == alone, "{name} {backend:?} on {count} threads");
        }
        // Threads that are not permitted are not even begun.
        let permits = FairSemaphore::new(1);
        let own = permits.acquire();
        let mut session = model.session().unwrap().shared_by(&Threads::new(4, Some(permits.clone())));
        session.run().unwrap();
        #[cfg(target_os = "linux")]
        assert!(!has_helpers(), "{name}: a thread without a permit, or one that outlived its session");
        drop(own);
        permits.set_limit(2);
        session.run().unwrap();
        #[cfg(target_os = "linux")]
        assert!(has_helpers(), "{name}: nobody shares its layers");
    }
}
