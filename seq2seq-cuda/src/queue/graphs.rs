//! The steps that came before, and their graphs.

use crate::driver::{Driver, GraphId, Result, Work};

/// Lists that are remembered. A decoding has a handful: what changes with its length changes by powers of two.
const KEPT: usize = 32;

/// Lists of work, the last used first.
#[derive(Default)]
pub(super) struct Graphs {
    known: Vec<Known>,
    /// Whether it was said that a step has none.
    told: bool,
}

struct Known {
    work: Work,
    state: State,
}

/// How a list is done when it comes again.
#[derive(Clone, Copy)]
enum State {
    /// It came once, and gets a graph.
    Once,
    Graph(GraphId),
    /// One by one: there was no room for a graph, or none can be made of it.
    Singly,
}

impl Graphs {
    /// Does `work`: as a graph from the second time on. One with a cooperative launch is done piece by piece each time: nodes
    /// of such launches need an attribute of their own, and steps of a decoding have none, as one position needs no barrier.
    ///
    /// # Safety
    /// That of [`Driver::launch`], for each launch.
    pub(super) unsafe fn run(&mut self, driver: &dyn Driver, work: Work) -> Result<()> {
        if work.is_cooperative() {
            // SAFETY: the caller's promise.
            return unsafe { work.ask(driver) };
        }
        // Lists that differ do so early, most of them in their lengths.
        let Some(place) = self.known.iter().position(|known| known.work == work) else {
            // SAFETY: the caller's promise.
            unsafe { work.ask(driver) }?;
            self.remember(driver, work);
            return Ok(());
        };
        self.known[..=place].rotate_right(1);
        let known = &mut self.known[0];
        if let State::Once = known.state {
            // SAFETY: the caller's promise.
            known.state = match unsafe { driver.graph(&work) } {
                Ok(Some(graph)) => {
                    tracing::debug!(pieces = work.len(), "a step is replayed as a graph");
                    State::Graph(graph)
                }
                // A device that fails says so again when it is asked for the work itself.
                made => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(
                            pieces = work.len(),
                            reason = made.err().map_or("no room".into(), |e| e.to_string()),
                            "the device has no graph of a step, whose kernels are launched one by one"
                        );
                    }
                    State::Singly
                }
            };
        }
        match known.state {
            // SAFETY: the work of the graph is this work, of which the caller has promised it.
            State::Graph(graph) => unsafe { driver.run_graph(graph) },
            // SAFETY: the caller's promise.
            _ => unsafe { work.ask(driver) },
        }
    }

    /// Remembers a list that has come once, and forgets the one that was not used for longest where there are too many.
    fn remember(&mut self, driver: &dyn Driver, work: Work) {
        self.known.insert(0, Known { work, state: State::Once });
        self.known.drain(KEPT.min(self.known.len())..).for_each(|known| known.free(driver));
    }

    /// Forgets all.
    pub(super) fn clear(&mut self, driver: &dyn Driver) {
        self.known.drain(..).for_each(|known| known.free(driver));
    }
}

impl Known {
    fn free(self, driver: &dyn Driver) {
        if let State::Graph(graph) = self.state {
            // A device that fails here has failed before, and been told.
            let _ = driver.free_graph(graph);
        }
    }
}
