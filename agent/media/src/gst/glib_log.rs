//! What GLib and the libraries above it complain about, in our log: with their priority, without secrets, and at most so
//! many lines a minute. By itself GLib writes each to standard error, and a library that goes round in circles on a
//! camera's broken connection can write a hundred thousand a second.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aimass_core::runtime::clock::{Clock, SystemClock};
use gstreamer::glib::{self, LogField, LogLevel, LogWriterOutput};

use crate::redact::redacted;

/// Lines within [`SPAN`].
const MOST_LINES: u32 = 10;
/// The time over which lines are counted.
const SPAN: Duration = Duration::from_secs(60);

/// Takes GLib's log over, once. Nobody else in this process may: GLib ends a program that asks for it twice.
pub(super) fn take_over() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let (budget, clock) = (Mutex::new(Budget::default()), SystemClock::shared());
        glib::log_set_writer_func(move |level, fields| {
            // A panic, as over a closed standard error, must not cross C code.
            let told = catch_unwind(AssertUnwindSafe(|| write(level, fields, &budget, clock.as_ref())));
            if told.is_ok() { LogWriterOutput::Handled } else { LogWriterOutput::Unhandled }
        });
    });
}

fn write(level: LogLevel, fields: &[LogField<'_>], budget: &Mutex<Budget>, clock: &dyn Clock) {
    // The rest is for developers of those libraries.
    if !matches!(level, LogLevel::Error | LogLevel::Critical | LogLevel::Warning) {
        return;
    }
    let spent = budget.lock().unwrap_or_else(PoisonError::into_inner).spend(clock.monotonic());
    // After an error GLib ends the program: that is said whatever was said before.
    let Some(left_out) = spent.or((level == LogLevel::Error).then_some(0)) else { return };
    let field = |name: &str| {
        let field = fields.iter().find(|field| field.key() == name)?;
        Some(redacted(&String::from_utf8_lossy(field.value_bytes()?)))
    };
    let library = field("GLIB_DOMAIN").unwrap_or_default();
    let message = field("MESSAGE").unwrap_or_default();
    if left_out > 0 {
        tracing::warn!(left_out, "A library complained more often than the log took.");
    }
    match level {
        LogLevel::Warning => tracing::warn!(library, "{message}"),
        _ => tracing::error!(library, "{message}"),
    }
}

/// How much may still be written.
#[derive(Debug, Default)]
struct Budget {
    began: Option<Duration>,
    written: u32,
    left_out: u64,
}

impl Budget {
    /// Whether a line may be written, and if so how many were left out before it.
    fn spend(&mut self, now: Duration) -> Option<u64> {
        if self.began.is_none_or(|began| now.saturating_sub(began) >= SPAN) {
            (self.began, self.written) = (Some(now), 0);
        }
        if self.written >= MOST_LINES {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_complaint_of_a_library_is_in_our_log_with_its_priority_and_without_secrets() {
        crate::gst::init().unwrap();
        let written = Written::default();
        let writer = written.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            glib::g_warning!("rtsp", "cannot read rtsp://viewer:s3cret@10.0.0.7/a");
            glib::g_critical!("rtsp", "assertion failed");
            glib::g_info!("rtsp", "not worth a line");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(written.contains("cannot read rtsp://***@10.0.0.7/a library=\"rtsp\""), "{written}");
        assert!(written.contains("ERROR") && written.contains("WARN"), "{written}");
        assert!(!written.contains("s3cret") && !written.contains("not worth"), "{written}");
    }

    #[test]
    fn a_library_that_complains_without_end_gets_ten_lines_a_minute_and_what_was_left_out_is_counted() {
        let (mut budget, begin) = (Budget::default(), Duration::from_secs(7));
        let written = (0..1000).filter(|n| budget.spend(begin + Duration::from_millis(*n)).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(budget.spend(begin + SPAN), Some(990));
        assert_eq!(budget.spend(begin + SPAN), Some(0));
    }
}
