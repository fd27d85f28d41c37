//! Threads that speak with registries, for callers that wait for them.

use tokio::runtime::{Builder, Runtime};

use crate::error::Result;

/// Threads that go on with what they were given while nobody waits. Whatever they do ends with this value.
pub(super) struct Workers(Option<Runtime>);

impl Workers {
    pub(super) fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Begins with the future, for which nobody waits.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(future);
    }

    /// Runs the future that `begin` gives to its end. In a thread of its own, because the caller's may belong to a
    /// runtime, which must not be blocked by another one.
    pub(super) fn block_on<T: Send, F: Future<Output = T>>(
        &self,
        begin: impl FnOnce() -> F + Send,
    ) -> T {
        let run = || self.runtime().block_on(begin());
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it goes with the value")
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A name that takes for ever to resolve must not hold us.
            runtime.shutdown_background();
        }
    }
}

/// Runs the future that `begin` gives to its end, with threads of its own.
pub(super) fn block_on<T: Send, F: Future<Output = T>>(
    begin: impl FnOnce() -> F + Send,
) -> Result<T> {
    Ok(Workers::start()?.block_on(begin))
}
