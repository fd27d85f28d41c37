//! Builds of real projects: packages from the network, containers of the embedded engine.
//!
//! Without a network or containers, the tests say that they are skipped, and why.

mod bases;
mod dockerfile;
mod environments;
mod images;
mod packages;
mod steps;
mod support;
mod users;

/// The embedded engine starts this program again as the container's supervisor, before it has more
/// than one thread. A test program has no `main` of ours to call this from.
#[used]
#[unsafe(link_section = ".init_array")]
static BECOME_SUPERVISOR: extern "C" fn() = {
    extern "C" fn become_supervisor() {
        cog_engine::embedded::run_if_init();
    }
    become_supervisor
};
