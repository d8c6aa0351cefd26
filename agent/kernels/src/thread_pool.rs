//! Threads that share the rows of one output: for a model that a board should answer faster than one core can.
//!
//! A pool belongs to who made it, and to one call at a time. Its threads wait on a condition while there is nothing to
//! do, so that an idle pool costs nothing. The caller works too, and takes over what no thread has begun: a thread that
//! is late, or gone, delays nothing.
//!
//! Invariant: a call returns when no thread works for it any more, also when a part panics. Only so may a part borrow
//! from the caller.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{io, mem};

use crate::error::{KernelError, Result};
use crate::view::{Element, ViewMut};

/// The most threads that share a call, the caller included.
pub const MAX_THREADS: usize = 4;

/// What is done for part `n`.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// Threads for parts of rows; they end with the pool.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There are parts to begin, or the pool ends.
    begin: Condvar,
    /// No thread works any more.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// Borrowed from the call that is under way; never used once that has returned.
    work: Option<&'static Work<'static>>,
    /// Parts `next..parts` were not begun.
    next: usize,
    parts: usize,
    /// Threads that work on a part.
    busy: usize,
    /// A thread died of what it did.
    broken: bool,
    end: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("busy", &self.busy)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl State {
    /// The next part, if there is one.
    fn take_part(&mut self) -> Option<(&'static Work<'static>, usize)> {
        let work = self.work.filter(|_| self.next < self.parts)?;
        self.next += 1;
        Some((work, self.next - 1))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each thread does until the pool ends.
    fn worker_loop(&self) {
        let mut state = self.state();
        while !state.end {
            let Some((work, part)) = state.take_part() else {
                state = self.begin.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.busy += 1;
            drop(state);
            let busy = BusyGuard(self);
            work(part);
            drop(busy);
            state = self.state();
        }
    }
}

/// A thread that works on a part; also when that ends in a panic.
struct BusyGuard<'a>(&'a Shared);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.broken |= std::thread::panicking();
        if state.busy == 0 {
            self.0.idle.notify_all();
        }
    }
}

/// A call that is under way. Its end waits for the threads: by a return, and by a panic of the caller's own part.
struct CallGuard<'a>(&'a Shared);

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        // What was not begun is not begun any more.
        state.work = None;
        while state.busy > 0 {
            state = self.0.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl ThreadPool {
    /// For `threads` threads, the caller included: at most [`MAX_THREADS`], at least one.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(threads: usize) -> io::Result<Self> {
        let mut pool = ThreadPool { shared: Arc::default(), threads: Vec::new() };
        for n in 1..threads.min(MAX_THREADS) {
            let shared = pool.shared.clone();
            let thread =
                std::thread::Builder::new().name(format!("rows-{n}")).spawn(move || shared.worker_loop())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// How many work on a call at most, the caller included.
    pub fn threads(&self) -> usize {
        self.threads.len() + 1
    }

    /// Calls `work` with up to `parts` parts of the rows of `output`, on the caller's thread and the pool's. It takes
    /// the pool mutably because a pool serves one call at a time.
    ///
    /// # Errors
    /// The first error of a part; or a thread died, now or in an earlier call: then the pool is to be made again.
    pub fn run_by_rows<T: Element>(
        &mut self,
        parts: usize,
        output: ViewMut<'_, T>,
        work: impl Fn(ViewMut<'_, T>) -> Result<()> + Sync,
    ) -> Result<()> {
        let rows = output.rows();
        let parts = parts.min(self.threads()).min(rows.len()).max(1);
        if parts == 1 {
            return work(output);
        }
        let cut: [Mutex<Option<ViewMut<'_, T>>>; MAX_THREADS] = Default::default();
        let mut rest = output;
        for part in 1..parts {
            let (upper, lower) = rest.split_at_row(rows.start + rows.len() * part / parts);
            store(&cut[part - 1], upper);
            rest = lower;
        }
        store(&cut[parts - 1], rest);
        let failed: Mutex<Option<KernelError>> = Mutex::default();
        self.run(parts, &|part| {
            let output = cut[part].lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Err(error)) = output.map(&work) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        })?;
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Calls `work` once for each part.
    fn run(&mut self, parts: usize, work: &Work<'_>) -> Result<()> {
        // SAFETY: only the lifetime changes. The reference lies in `state.work`, from where `State::take_part` hands it to
        // threads that count as busy until they are done with it, all under one lock. `CallGuard`, which lives until this
        // function is left in whatever way, takes it out of there and then waits until nobody is busy; so nobody uses
        // it after `work` has ended.
        let work = unsafe { mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        let call = CallGuard(&self.shared);
        {
            let mut state = self.shared.state();
            (state.work, state.next, state.parts) = (Some(work), 0, parts);
            self.shared.begin.notify_all();
        }
        loop {
            let taken = self.shared.state().take_part();
            let Some((work, part)) = taken else { break };
            work(part);
        }
        drop(call);
        match self.shared.state().broken {
            true => Err(KernelError::ThreadPool),
            false => Ok(()),
        }
    }
}

fn store<T>(place: &Mutex<Option<T>>, value: T) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.state().end = true;
        self.shared.begin.notify_all();
        for thread in self.threads.drain(..) {
            // One that died said so in its call.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
#[path = "thread_pool_tests.rs"]
mod tests;
