//! A compiled model: steps, where their buffers lie, and what goes in and comes out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aimass_core::runtime::clock::Stopwatch;
use aimass_kernels::Kernels;

use super::any_step::AnyStep;
use super::arena::{Buffer, Element, Layout, PaddingFill, place};
use super::compile::Draft;
use super::row_tiling::{self, Chain, Limits, Schedule, Work, WorkKind};
use super::step::Memory;
use super::value::BufferId;

/// A plan is shared by all sessions of a model.
#[derive(Debug)]
pub(super) struct Plan {
    kernels: Kernels,
    steps: Vec<AnyStep>,
    /// What a run does, in its order.
    parts: Vec<Part>,
    layout: Arc<Layout>,
    tensors: usize,
    pub(super) input: BufferId,
    pub(super) outputs: Vec<BufferId>,
    /// Nodes that only tract knows.
    pub(super) fallbacks: usize,
}

/// A part of a run.
#[derive(Debug)]
enum Part {
    Step(usize),
    /// Steps that follow each other, by strips.
    Tiled(Range<usize>, Vec<Work>),
}

/// What a kind of step took.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StepTime {
    /// The kind: `conv 3x3 s2 int8`, `tract: Softmax`.
    pub kind: String,
    /// How many steps of the plan are of this kind.
    pub steps: usize,
    /// What they took together in one run.
    pub ms: f64,
    /// Whether the engine left this to tract.
    pub fallback: bool,
}

impl Plan {
    /// Places the buffers and packs the weights of a draft.
    ///
    /// # Errors
    /// The steps do not fit their buffers, or the kernels refuse a layer.
    pub(super) fn new(draft: Draft, kernels: Kernels, limits: Option<Limits>) -> Result<Self, String> {
        check(&draft)?;
        let Draft { mut steps, mut buffers, tensors, input, outputs, fallbacks } = draft;
        let chains = row_tiling::chains(&steps, &buffers, limits);
        let mut parts = Vec::new();
        for chain in &chains {
            let Schedule { work, windows } = chain.schedule(&buffers);
            windows.into_iter().for_each(|(id, rows)| buffers[id.0].shrink_to(rows));
            let next = parts.last().map_or(0, Part::end);
            parts.extend((next..chain.steps().start).map(Part::Step));
            parts.push(Part::Tiled(chain.steps(), work));
        }
        parts.extend((parts.last().map_or(0, Part::end)..steps.len()).map(Part::Step));
        let spans: Vec<Range<usize>> = chains.iter().map(Chain::steps).collect();
        let layout = place(&buffers, &steps, &spans)?;
        for step in &mut steps {
            let kind = step.kind();
            step.prepare(kernels, &layout.images).map_err(|problem| format!("{kind}: {problem}"))?;
        }
        Ok(Plan { kernels, steps, parts, layout: Arc::new(layout), tensors, input, outputs, fallbacks })
    }

    /// The memory of a session.
    pub(super) fn memory(&self) -> Result<Memory, String> {
        Memory::new(self.kernels, self.layout.clone(), self.tensors)
    }

    /// The arena's size.
    pub(super) fn arena_bytes(&self) -> usize {
        self.layout.bytes
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// A step is at fault; which one is said.
    pub(super) fn run(&self, memory: &mut Memory) -> Result<(), String> {
        self.execute(memory, |_| ())
    }

    /// Runs all steps, and tells `done` after each piece of work for which step it was.
    fn execute(&self, memory: &mut Memory, mut done: impl FnMut(usize)) -> Result<(), String> {
        // A run that ended in a panic may have left buffers narrow.
        memory.select_all_rows();
        for part in &self.parts {
            match part {
                Part::Step(n) => {
                    self.fill_paddings(memory, *n)?;
                    self.step(memory, *n)?;
                    done(*n);
                }
                Part::Tiled(steps, work) => {
                    for n in steps.clone() {
                        self.fill_paddings(memory, n)?;
                        done(n);
                    }
                    let ran: Result<(), String> = work.iter().try_for_each(|work| {
                        self.work(memory, work)?;
                        done(work.step);
                        Ok(())
                    });
                    memory.select_all_rows();
                    ran?;
                }
            }
        }
        Ok(())
    }

    fn work(&self, memory: &mut Memory, work: &Work) -> Result<(), String> {
        match &work.kind {
            WorkKind::Move { buffer, element, rows } => memory.move_rows(*buffer, *element, rows.clone()),
            WorkKind::Fill { rows, fill } => {
                memory.select_rows(rows);
                fill_padding(memory, *fill)
            }
            WorkKind::Run(places) => {
                places.iter().for_each(|rows| memory.select_rows(rows));
                self.step(memory, work.step)
            }
        }
    }

    /// Fills the padding of what step `n` is the first to use.
    fn fill_paddings(&self, memory: &mut Memory, n: usize) -> Result<(), String> {
        self.layout.fills[n].iter().try_for_each(|fill| fill_padding(memory, *fill))
    }

    fn step(&self, memory: &mut Memory, n: usize) -> Result<(), String> {
        let step = &self.steps[n];
        step.run(memory).map_err(|problem| format!("step {n}, {}: {problem}", step.kind()))
    }

    /// Runs all steps and says what each kind of step took, the slowest first.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn profile(&self, memory: &mut Memory, runs: usize) -> Result<Vec<StepTime>, String> {
        let mut took = vec![Duration::MAX; self.steps.len()];
        for _ in 0..runs.max(1) {
            let mut of_run = vec![Duration::ZERO; self.steps.len()];
            let mut watch = Stopwatch::start();
            self.execute(memory, |n| of_run[n] += watch.lap())?;
            took.iter_mut().zip(of_run).for_each(|(took, of_run)| *took = of_run.min(*took));
        }
        let mut kinds: BTreeMap<String, StepTime> = BTreeMap::new();
        for (step, took) in self.steps.iter().zip(took) {
            let kind = step.kind();
            let fallback = step.fallback().is_some();
            let entry = kinds.entry(kind.clone()).or_insert(StepTime { kind, steps: 0, ms: 0.0, fallback });
            entry.steps += 1;
            entry.ms += took.as_secs_f64() * 1e3;
        }
        let mut times: Vec<StepTime> = kinds.into_values().collect();
        times.sort_by(|a, b| b.ms.total_cmp(&a.ms));
        Ok(times)
    }
}

impl Part {
    /// One past its last step.
    fn end(&self) -> usize {
        match self {
            Part::Step(n) => n + 1,
            Part::Tiled(steps, _) => steps.end,
        }
    }
}

fn fill_padding(memory: &mut Memory, fill: PaddingFill) -> Result<(), String> {
    let image = memory.image(fill.buffer);
    match fill.element {
        Element::Byte => memory.arena.fill_padding(&image, fill.value),
        Element::Float => memory.arena.fill_padding(&image, 0f32),
    }
    .map_err(|e| e.to_string())
}

/// Checks a draft, which may have been read from a file, before anything is taken from it by number.
fn check(draft: &Draft) -> Result<(), String> {
    draft.buffers.iter().try_for_each(Buffer::check)?;
    let exists = |id: &BufferId| id.0 < draft.buffers.len();
    for step in &draft.steps {
        let problem = if step.reads().iter().chain(&step.writes()).all(exists) {
            step.check(&draft.buffers).err()
        } else {
            Some("a buffer does not exist".into())
        };
        if let Some(problem) = problem {
            return Err(format!("{}: {problem}", step.kind()));
        }
    }
    let ends = draft.outputs.iter().chain([&draft.input]);
    let stays = |id: &BufferId| exists(id) && draft.buffers[id.0].is_flat() && draft.buffers[id.0].keep;
    ends.into_iter()
        .all(stays)
        .then_some(())
        .ok_or_else(|| "an input or output has no place of its own".into())
}
