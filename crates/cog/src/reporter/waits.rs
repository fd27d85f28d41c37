//! What is waited for while something is tried again, on the terminal.

use std::collections::HashSet;

use cog_image::registry::Wait;

use crate::printer::{Printer, UnderWay};

/// The pauses of one transfer.
#[derive(Default)]
pub(super) struct Waits {
    /// Reasons that were told. Of a hundred layers, all that are on their way fail together, and for one reason.
    told: HashSet<String>,
}

impl Waits {
    /// Tells of a reason once, and then with what `shown` shows that it is waited.
    pub(super) fn tell(&mut self, printer: &Printer, wait: &Wait, shown: Option<&UnderWay>) {
        let seconds = wait.pause.as_secs().max(1);
        if self.is_new(&wait.reason) {
            let Wait { what, reason, .. } = wait;
            printer.info(&format!("{what}: {reason}; trying again in {seconds} s"));
        } else if let Some(shown) = shown {
            shown.says(&format!("waiting {seconds} s: {}", wait.reason));
        }
    }

    fn is_new(&mut self, reason: &str) -> bool {
        self.told.insert(reason.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once() {
        let mut waits = Waits::default();
        assert!(waits.is_new("the answer was 503"));
        assert!(!waits.is_new("the answer was 503"));
        assert!(waits.is_new("the answer was 502"));
    }
}
