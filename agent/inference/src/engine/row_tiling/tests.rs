use std::path::{Path, PathBuf};

use aimass_kernels::{Kernels, Padding};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::engine::arena::Element;
use crate::engine::plan::Plan;
use crate::engine::serialization::Compiled;
use crate::library::Library;
use crate::library::manifest::{ChannelOrder, InputSpec, Layout, Resize};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine")
}

#[derive(serde::Deserialize)]
struct Case {
    seed: u64,
    input: [usize; 4],
}

/// The small graphs as saved plans, those that tract has no part in.
fn small_graphs(int8: bool) -> Vec<(u64, Bytes)> {
    let index = std::fs::read_to_string(folder().join("index.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&index).unwrap();
    let saved = cases.into_iter().filter_map(|Case { seed, input }| {
        let bytes = std::fs::read(folder().join(format!("{seed:04}.onnx"))).unwrap();
        let input = InputSpec {
            name: "input".into(),
            shape: input,
            layout: Layout::Nchw,
            colour: ChannelOrder::Rgb,
            mean: [0.0; 3],
            std: [1.0; 3],
            resize: Resize::Stretch,
        };
        Some((seed, saved(bytes, &input, int8)?))
    });
    saved.collect()
}

fn saved(file: Vec<u8>, input: &InputSpec, int8: bool) -> Option<Bytes> {
    let mut keep = Err(String::new());
    let proto = crate::onnx::decode(&file).unwrap();
    crate::engine::Engine::load(proto, input, int8, Kernels::detect(), Some(&mut keep)).unwrap();
    keep.ok()
}

fn plan(saved: &Bytes, kernels: Kernels, limits: Option<Limits>) -> Result<Plan, String> {
    Plan::new(Compiled::restore(saved)?.draft, kernels, limits)
}

/// What a plan answers to an input that is the same for all, as bits, on so many threads.
fn answers(plan: &Plan, threads: usize) -> Result<Vec<Vec<u32>>, String> {
    let mut memory = plan.memory()?;
    memory.set_threads(threads, threads).unwrap();
    memory.fill(plan.input, |input| {
        input.iter_mut().enumerate().for_each(|(n, v)| *v = ((n * 37) % 101) as f32 / 50.0 - 1.0);
    })?;
    // The second run must not see what the first left behind.
    plan.run(&mut memory)?;
    plan.run(&mut memory)?;
    let bits = |id: &BufferId| Ok(memory.flat(*id)?.iter().map(|value| value.to_bits()).collect());
    plan.outputs.iter().map(bits).collect()
}

fn chains_of(saved: &Bytes, limits: Limits) -> Vec<Chain> {
    let draft = Compiled::restore(saved).unwrap().draft;
    chains(&draft.steps, &draft.buffers, Some(limits))
}

#[test]
fn small_graphs_answer_to_the_bit_alike_with_and_without_strips_on_every_path() {
    let (mut found, mut windows) = (0, 0);
    for int8 in [true, false] {
        for (seed, saved) in small_graphs(int8) {
            for tile in [300, 1000, 3000, 10_000] {
                let limits = Limits { tile_bytes: tile, image_bytes: 0 };
                let chains = chains_of(&saved, limits);
                found += chains.len();
                windows += chains.iter().flat_map(|chain| &chain.inner).filter(|inner| **inner).count();
                if chains.is_empty() {
                    continue;
                }
                for path in Kernels::available() {
                    let kernels = Kernels::force(path).unwrap();
                    let whole = answers(&plan(&saved, kernels, None).unwrap(), 1).unwrap();
                    let tiles = answers(&plan(&saved, kernels, Some(limits)).unwrap(), 1).unwrap();
                    assert!(tiles == whole, "seed {seed}, int8 {int8}, tiles of {tile} bytes, {path}");
                }
            }
        }
    }
    assert!(found >= 30 && windows >= 30, "{found} chains with {windows} windows");
}

#[test]
fn models_answer_to_the_bit_alike_with_and_without_strips_on_any_number_of_threads() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let library = Library::open(&[models]).unwrap();
    for (name, int8) in
        [("coco-ssd-lite", true), ("coco-ssd-lite", false), ("centerface", true), ("centerface", false)]
    {
        let entry = library.get(name).unwrap();
        let saved = saved(entry.read_model().unwrap(), &entry.manifest.input, int8).unwrap();
        let whole = plan(&saved, Kernels::detect(), None).unwrap();
        let expected = answers(&whole, 1).unwrap();
        for tile in [200 << 10, 768 << 10] {
            let limits = Limits { tile_bytes: tile, image_bytes: tile };
            assert!(!chains_of(&saved, limits).is_empty(), "{name}: no chains of {tile} bytes");
            let tiles = plan(&saved, Kernels::detect(), Some(limits)).unwrap();
            let saves = tiles.arena_bytes() < whole.arena_bytes();
            assert!(name != "centerface" || tile < 768 << 10 || saves, "{name}: windows save no memory");
            for threads in 1..=3 {
                let answers = answers(&tiles, threads).unwrap();
                assert!(answers == expected, "{name}, int8 {int8}, tiles of {tile} bytes, {threads} threads");
            }
        }
    }
}

proptest! {
    // Each case reads a small plan.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(600) })]

    #[test]
    fn a_forged_plan_never_panics_by_strips(
        which: prop::sample::Index, flips in prop::collection::vec((0.0f64..1.0, 1u8..), 1..6), tile in 100usize..10_000
    ) {
        static SAVED: std::sync::OnceLock<Vec<(u64, Bytes)>> = std::sync::OnceLock::new();
        let saved = SAVED.get_or_init(|| small_graphs(false));
        let mut bytes = which.get(saved).1.to_vec();
        // The structure lies before the weights.
        let reach = bytes.len().min(1500) - 1;
        flips.iter().for_each(|(place, bits)| bytes[(place * reach as f64) as usize] ^= bits);
        let ran = crate::backend::caught("running", || {
            plan(&Bytes::from(bytes), Kernels::detect(), Some(Limits { tile_bytes: tile, image_bytes: 0 })).and_then(|plan| answers(&plan, 1))
        });
        prop_assert!(ran.as_ref().err().is_none_or(|problem| !problem.contains("panicked")), "{ran:?}");
    }
}

/// A layer of a made-up chain: rows of its kernel, stride, padding before the first row.
#[derive(Debug, Clone, Copy)]
struct Layer {
    kernel: usize,
    stride: usize,
    above: usize,
}

fn layer() -> impl Strategy<Value = Layer> {
    (1usize..6, 1usize..4)
        .prop_flat_map(|(kernel, stride)| (Just(kernel), Just(stride), 0..kernel))
        .prop_map(|(kernel, stride, above)| Layer { kernel, stride, above })
}

/// Buffers and links of layers that follow each other; the last one also reads what the first wrote, if it may.
fn made_up(layers: &[Layer], height: usize, sum: bool) -> (Vec<Buffer>, Vec<Link>) {
    let buffer = |height: usize| Buffer {
        element: Element::Float,
        height,
        width: 3,
        channels: 2,
        padding: Padding::default(),
        fill: 0,
        producer: 0,
        keep: false,
        content: None,
    };
    let (mut buffers, mut links) = (vec![buffer(height)], Vec::new());
    for (n, Layer { kernel, stride, above }) in layers.iter().copied().enumerate() {
        let (from, below) = (buffers[n].height, kernel - 1 - above);
        let to = from.div_ceil(stride);
        let reach = RowReach { stride, above, below };
        let padding = &mut buffers[n].padding;
        (padding.top, padding.bottom) = (above, reach.end(to).saturating_sub(from));
        buffers.push(buffer(to));
        let reads = vec![(BufferId(n), Some(reach))];
        links.push(Link { step: n, writes: BufferId(n + 1), reads, weights: 0 });
    }
    let last = links.len();
    if sum && last > 2 && buffers[1].height == buffers[last].height {
        links[last - 1].reads.push((BufferId(1), Some(RowReach::SAME)));
    }
    (buffers, links)
}

/// What lies in a row of memory: a row of a buffer, or its padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Row(usize),
    Padding,
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn every_row_is_written_once_from_the_rows_that_it_needs(
        layers in prop::collection::vec(layer(), 1..6), height in 1usize..60, tiles in 2usize..40,
        sum: bool, kept in prop::collection::vec(any::<bool>(), 6)
    ) {
        let (buffers, links) = made_up(&layers, height, sum);
        let count = links.len();
        let inner = (0..count).map(|n| n + 1 < count && !kept[n]).collect();
        let chain = Chain { links, inner, tiles };
        let Schedule { work, windows } = chain.schedule(&buffers);
        // By buffer: what lies in each row of its memory, and at which row its image begins.
        let mut memory: Vec<(Vec<Content>, usize)> = buffers.iter().enumerate().map(|(id, buffer)| {
            match windows.iter().find(|(window, _)| window.0 == id) {
                Some((_, rows)) => (vec![Content::Nothing; *rows], 0),
                None => {
                    let content = if id == 0 { Content::Row } else { |_| Content::Nothing };
                    let rows = (0..buffer.height).map(content);
                    let padding = |rows| std::iter::repeat_n(Content::Padding, rows);
                    let rows = padding(buffer.padding.top).chain(rows).chain(padding(buffer.padding.bottom));
                    (rows.collect(), buffer.padding.top)
                }
            }
        }).collect();
        let mut done = vec![0; count];
        for Work { step, kind } in &work {
            match kind {
                WorkKind::Move { buffer, rows, .. } => memory[buffer.0].0.copy_within(rows.clone(), 0),
                WorkKind::Fill { rows, .. } => {
                    let (memory, top) = &mut memory[rows.buffer.0];
                    let first = *top + rows.first;
                    memory[first - rows.above..first].fill(Content::Padding);
                    memory[first + rows.height..][..rows.below].fill(Content::Padding);
                }
                WorkKind::Run(places) => {
                    for (place, (id, reach)) in places[1..].iter().zip(&chain.links[*step].reads) {
                        let RowReach { stride, above, .. } = reach.unwrap();
                        prop_assert_eq!((place.buffer, place.above, place.below), (*id, above, 0));
                        let (memory, top) = &memory[id.0];
                        let found = &memory[top + place.first - above..top + place.first + place.height];
                        for (n, content) in found.iter().enumerate() {
                            let row = (done[*step] * stride + n).checked_sub(above);
                            let row = row.filter(|row| *row < buffers[id.0].height);
                            prop_assert_eq!(*content, row.map_or(Content::Padding, Content::Row));
                        }
                    }
                    let written = places[0];
                    let (memory, top) = &mut memory[written.buffer.0];
                    for (n, content) in memory[*top + written.first..][..written.height].iter_mut().enumerate() {
                        *content = Content::Row(done[*step] + n);
                    }
                    done[*step] += written.height;
                }
            }
        }
        for (n, inner) in chain.inner.iter().enumerate() {
            let (rows, height) = (done[n], buffers[n + 1].height);
            prop_assert!(rows == height || *inner && rows < height, "step {n}: {rows} of {height} rows");
        }
        prop_assert_eq!(done[count - 1], buffers[count].height);
    }
}

#[test]
fn what_reaches_beyond_its_picture_is_no_link() {
    let (mut buffers, _) = made_up(&[Layer { kernel: 3, stride: 1, above: 1 }], 10, false);
    let reach = RowReach { stride: 1, above: 1, below: 1 };
    assert!(reach.is_within(&buffers[0], 10));
    assert!(!reach.is_within(&buffers[0], 11));
    assert!(!RowReach { stride: usize::MAX, ..reach }.is_within(&buffers[0], 10));
    assert!(!RowReach { below: usize::MAX, ..reach }.is_within(&buffers[0], 10));
    buffers[0].padding.top = 0;
    assert!(!reach.is_within(&buffers[0], 10));
}
