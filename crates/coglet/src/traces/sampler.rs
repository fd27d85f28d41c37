//! Which requests are recorded.

use super::context::{Parent, TraceId};

/// A decision for requests without a parent, and whether a parent's own decision comes first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    root: Root,
    parent_based: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Root {
    Always,
    Never,
    /// Trace ids below this, of 2^63.
    Below(u64),
}

impl Sampler {
    /// A sampler by its name in the OpenTelemetry specification.
    pub(super) fn named(name: &str, argument: Option<&str>) -> Option<Self> {
        let (name, parent_based) = match name.strip_prefix("parentbased_") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let root = match name {
            "always_on" => Root::Always,
            "always_off" => Root::Never,
            "traceidratio" => Root::Below(threshold(argument.unwrap_or("1"))?),
            _ => return None,
        };
        Some(Self { root, parent_based })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is the low half of an id that is wanted"
    )]
    pub(super) fn samples(self, parent: Option<&Parent>, trace: TraceId) -> bool {
        match (parent, self.root) {
            (Some(parent), _) if self.parent_based => parent.sampled,
            (_, Root::Always) => true,
            (_, Root::Never) => false,
            // As all implementations do, so that they agree: the last 63 bits of the id.
            (_, Root::Below(threshold)) => u128::from_be_bytes(trace.0) as u64 >> 1 < threshold,
        }
    }
}

impl Default for Sampler {
    /// Record what the caller records.
    fn default() -> Self {
        Self {
            root: Root::Never,
            parent_based: true,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1, and a few ids in 2^63 do not matter"
)]
fn threshold(share: &str) -> Option<u64> {
    let share: f64 = share.trim().parse().ok()?;
    (0.0..=1.0)
        .contains(&share)
        .then_some((share * (1_u64 << 63) as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::context::SpanId;
    use super::*;

    fn trace(low: u64) -> TraceId {
        let mut id = [1; 16];
        id[8..].copy_from_slice(&low.to_be_bytes());
        TraceId(id)
    }

    fn parent(sampled: bool) -> Parent {
        Parent {
            trace: trace(1),
            span: SpanId([1; 8]),
            sampled,
        }
    }

    fn samples(name: &str, argument: Option<&str>, parent: Option<Parent>, low: u64) -> bool {
        let sampler = Sampler::named(name, argument).unwrap();
        sampler.samples(parent.as_ref(), trace(low))
    }

    #[test]
    fn parents_decide_where_they_are_asked() {
        assert!(samples("always_on", None, Some(parent(false)), 1));
        assert!(!samples("always_off", None, Some(parent(true)), 1));
        for root in ["always_on", "always_off", "traceidratio"] {
            let name = format!("parentbased_{root}");
            assert!(samples(&name, None, Some(parent(true)), 1));
            assert!(!samples(&name, None, Some(parent(false)), 1));
        }
        assert!(samples("parentbased_always_on", None, None, 1));
        assert!(!samples("parentbased_always_off", None, None, 1));
        assert!(!Sampler::default().samples(None, trace(1)));
        assert!(Sampler::default().samples(Some(&parent(true)), trace(1)));
    }

    #[test]
    fn shares() {
        let quarter = |low| samples("traceidratio", Some("0.25"), None, low);
        assert!(quarter(0) && quarter(u64::MAX / 4 - 2000));
        assert!(!quarter(u64::MAX / 4 + 2000) && !quarter(u64::MAX));
        assert!(samples("traceidratio", None, None, u64::MAX - 5000));
        assert!(!samples("traceidratio", Some("0"), None, 0));
        for wrong in ["2", "-1", "much"] {
            assert_eq!(Sampler::named("traceidratio", Some(wrong)), None);
        }
        assert_eq!(Sampler::named("sometimes", None), None);
    }
}
