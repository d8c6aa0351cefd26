//! Progress of long work, for people: only when stderr and stdout are a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar, a spinner, or nothing.
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing.
    pub fn hidden() -> Self {
        Progress(ProgressBar::hidden())
    }

    /// Work of a known length.
    pub fn bar(steps: u64, unit: &str) -> Self {
        Self::styled(
            ProgressBar::new(steps),
            &format!("{{bar:40}} {{pos}}/{{len}} {unit} {{eta}} left {{msg}}"),
        )
    }

    /// Work of unknown length.
    pub fn spinner(unit: &str) -> Self {
        Self::styled(ProgressBar::new_spinner(), &format!("{{spinner}} {{pos}} {unit} {{per_sec}} {{msg}}"))
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::hidden();
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// One step done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// What is being worked on.
    pub fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// Takes the bar off the screen.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
