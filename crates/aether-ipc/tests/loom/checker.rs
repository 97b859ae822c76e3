//! Runs a model as it is, and once more for each ordering that it is said to need.

use std::{
    any::Any,
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, Once, PoisonError},
};

use super::sync::{Site, WEAKENED};

pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Reached),
    /// The most times that a thread is interrupted in one execution, where all of them would take too long.
    pub(crate) preemptions: Option<usize>,
    /// The states that it must come across.
    pub(crate) reaches: &'static [&'static str],
    /// Without any one of these it must fail.
    pub(crate) needs: &'static [Site],
}

/// Counts the states that a model comes across, in all its executions. It has nothing of loom's, so it orders nothing.
#[derive(Clone, Default)]
pub(crate) struct Reached(Arc<Mutex<BTreeMap<&'static str, usize>>>);

impl Reached {
    pub(crate) fn note(&self, state: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(state).or_default() += 1;
    }

    fn count(&self, state: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(state).copied().unwrap_or(0)
    }
}

pub(crate) fn judge(model: &Model) {
    let reached = explore(model, None).unwrap_or_else(|failure| panic!("{}: {failure}", model.name));
    for state in model.reaches {
        assert!(reached.count(state) > 0, "{}: never came to {state:?}", model.name);
    }
    for &site in model.needs {
        let Err(failure) = explore(model, Some(site)) else {
            panic!("{}: holds without {site:?}, so it shows nothing", model.name);
        };
        // Shown with `--nocapture`.
        println!("{} without {site:?}: {}", model.name, failure.lines().next().unwrap_or_default());
        assert!(!failure.contains("maximum"), "{} without {site:?}: {failure}", model.name);
    }
}

/// Every execution there is, or what went wrong in the first that fails.
fn explore(model: &Model, weakened: Option<Site>) -> Result<Reached, String> {
    silence_expected_panics();
    let reached = Reached::default();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = model.preemptions;
    WEAKENED.set(weakened);
    EXPECTED.set(weakened.is_some());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let (run, reached) = (model.run, reached.clone());
        builder.check(move || run(&reached));
    }));
    WEAKENED.set(None);
    EXPECTED.set(false);
    outcome.map(|()| reached).map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("failed").to_owned()
}

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

fn silence_expected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                usual(panic);
            }
        }));
    });
}
