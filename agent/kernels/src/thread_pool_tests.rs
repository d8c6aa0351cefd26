use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread::ThreadId;

use super::*;
use crate::image::{Image, Padding};

const ROWS: usize = 13;

fn image() -> Image {
    Image::dense(0, ROWS, 2, 3, Padding::default())
}

/// Adds its number to each row.
fn number_rows(output: ViewMut<'_, f32>) -> Result<()> {
    let mut output = output;
    for y in output.rows() {
        output.row_values_mut(y).iter_mut().for_each(|value| *value += y as f32);
    }
    Ok(())
}

#[test]
fn each_row_is_written_once_by_teams_of_every_size() {
    for threads in 1..=MAX_THREADS + 1 {
        let mut pool = ThreadPool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads.min(MAX_THREADS));
        for parts in 0..6 {
            let mut memory = vec![0f32; ROWS * 6];
            pool.run_by_rows(parts, ViewMut::new(&mut memory, &image()).unwrap(), number_rows).unwrap();
            let expected: Vec<f32> = (0..ROWS * 6).map(|n| (n / 6) as f32).collect();
            assert_eq!(memory, expected, "{threads} threads, {parts} parts");
        }
    }
}

#[test]
fn parts_run_at_the_same_time() {
    let mut pool = ThreadPool::new(3).unwrap();
    let mut memory = vec![0f32; ROWS * 6];
    // Nobody passes before three are here.
    let (barrier, seen) = (Barrier::new(3), Mutex::new(HashSet::<ThreadId>::new()));
    pool.run_by_rows(3, ViewMut::new(&mut memory, &image()).unwrap(), |_| {
        barrier.wait();
        seen.lock().unwrap().insert(std::thread::current().id());
        Ok(())
    })
    .unwrap();
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn the_error_of_a_part_is_the_error_of_the_call() {
    let mut pool = ThreadPool::new(4).unwrap();
    let mut memory = vec![0f32; ROWS * 6];
    let refused = pool.run_by_rows(4, ViewMut::new(&mut memory, &image()).unwrap(), |output| {
        match output.rows().start {
            0 => Ok(()),
            _ => Err(KernelError::image("refused")),
        }
    });
    assert_eq!(refused, Err(KernelError::image("refused")));
    pool.run_by_rows(4, ViewMut::new(&mut memory, &image()).unwrap(), number_rows).unwrap();
}

#[test]
fn a_thread_that_dies_ends_in_an_error_and_hangs_nobody() {
    let mut pool = ThreadPool::new(3).unwrap();
    let mut memory = vec![0f32; ROWS * 6];
    let (caller, barrier) = (std::thread::current().id(), Barrier::new(3));
    let died = pool.run_by_rows(3, ViewMut::new(&mut memory, &image()).unwrap(), |_| {
        barrier.wait();
        assert_eq!(std::thread::current().id(), caller, "a helper dies");
        Ok(())
    });
    assert_eq!(died, Err(KernelError::ThreadPool));
    // All helpers are gone: the caller does everything, and says so.
    memory.fill(0.0);
    let later = pool.run_by_rows(3, ViewMut::new(&mut memory, &image()).unwrap(), number_rows);
    assert_eq!(later, Err(KernelError::ThreadPool));
    assert_eq!(memory[ROWS * 6 - 1], (ROWS - 1) as f32);
}

#[test]
fn a_panic_of_the_caller_waits_for_the_others() {
    let mut pool = ThreadPool::new(2).unwrap();
    let mut memory = vec![0f32; ROWS * 6];
    let (caller, barrier) = (std::thread::current().id(), Barrier::new(2));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.run_by_rows(2, ViewMut::new(&mut memory, &image()).unwrap(), |output| {
            barrier.wait();
            assert_ne!(std::thread::current().id(), caller, "the caller's part panics");
            std::thread::yield_now();
            number_rows(output)
        })
    }));
    assert!(panicked.is_err());
    // The helper is alive, and had finished before the memory could be touched again.
    memory.fill(0.0);
    pool.run_by_rows(2, ViewMut::new(&mut memory, &image()).unwrap(), number_rows).unwrap();
    assert_eq!(memory[ROWS * 6 - 1], (ROWS - 1) as f32);
}
