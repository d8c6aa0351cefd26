//! The asynchronous runtime of long-running commands.

use crate::exit::Failure;

/// Runs a long-running command to its end, on two threads, as the work is done elsewhere. Blocking work that is
/// still under way then (a name that is looked up, a disk that hangs) is not waited for.
///
/// # Errors
/// Those of the command; the system refuses threads.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Failure::Unavailable(format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}
