//! Progress: drawn on a terminal, written in plain lines elsewhere, left out where nobody wants it.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// What takes longer than this is worth a word.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often something long says that it is still there, in plain lines.
const EVERY: Duration = Duration::from_secs(10);

const SPINNER: &str = "{spinner} {wide_msg} {elapsed:>5}";
const BAR: &str = "{spinner} {msg} {wide_bar} {bytes:>10} of {total_bytes:<10} {elapsed:>5}";

/// The progress of a command, step by step. Silent while its steps are short.
pub struct Progress {
    form: Form,
    step: Mutex<Option<Step>>,
}

enum Form {
    Silent,
    Lines,
    Drawn(ProgressBar),
}

/// One step.
struct Step {
    what: String,
    total: u64,
    begun: Instant,
    said: Option<Instant>,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let form = match quiet {
            true => Form::Silent,
            false if !io::stderr().is_terminal() => Form::Lines,
            false => {
                let bar = ProgressBar::new_spinner().with_style(style(SPINNER));
                bar.enable_steady_tick(Duration::from_millis(120));
                Form::Drawn(bar)
            }
        };
        Self { form, step: Mutex::new(None) }
    }

    /// Says that `done` of `total` bytes of `what` are done; 0 where nobody knows the total. A new text is a new step.
    pub fn at(&self, what: &str, done: u64, total: u64) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = step.as_ref().is_none_or(|step| step.what != what || (step.total == 0) != (total == 0));
        if is_new {
            let ended =
                step.replace(Step { what: what.to_owned(), total, begun: Instant::now(), said: None });
            self.end(ended);
        }
        match (&self.form, step.as_mut()) {
            (Form::Drawn(bar), _) => {
                if is_new {
                    bar.set_style(style(if total == 0 { SPINNER } else { BAR }));
                    bar.set_message(what.to_owned());
                    bar.reset_elapsed();
                }
                bar.set_length(total);
                bar.set_position(done);
            }
            (Form::Lines, Some(step)) => {
                let due = match step.said {
                    None => step.begun.elapsed() >= PATIENCE,
                    Some(said) => said.elapsed() >= EVERY,
                };
                if due {
                    step.said = Some(Instant::now());
                    match done.min(total).saturating_mul(100).checked_div(total) {
                        Some(percent) => eprintln!("{what}: {percent} %"),
                        None => eprintln!("{what} …"),
                    }
                }
            }
            _ => {}
        }
    }

    /// Begins a step of which no more will be known.
    pub fn step(&self, what: &str) {
        self.at(what, 0, 0);
    }

    /// Ends well.
    pub fn done(self) {
        let ended = self.step.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.end(ended);
    }

    fn end(&self, step: Option<Step>) {
        if let (Form::Lines, Some(step)) = (&self.form, step)
            && step.begun.elapsed() >= PATIENCE
        {
            eprintln!("{} ({:.1} s)", step.what, step.begun.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Drawn(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid").progress_chars("━━╌")
}
