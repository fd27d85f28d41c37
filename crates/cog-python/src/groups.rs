//! Which distributions share a layer.

use crate::distribution::Distribution;

/// A distribution of at least this many bytes gets a layer of its own: below it, the cost of a
/// layer (a request per pull, a mount) outweighs what sharing saves.
pub const LARGE: u64 = 8 * 1024 * 1024;

/// Splits `distributions` into at most `limit` layers: one for each large distribution, in order,
/// and one for all others, which comes last.
pub fn split(distributions: &[Distribution], limit: usize) -> Vec<Vec<&Distribution>> {
    let mut by_size: Vec<&Distribution> = distributions
        .iter()
        .filter(|one| one.size >= LARGE)
        .collect();
    by_size.sort_by(|a, b| {
        b.size
            .cmp(&a.size)
            .then_with(|| a.freeze.name.cmp(&b.freeze.name))
    });
    by_size.truncate(limit.saturating_sub(1));
    let (own, shared): (Vec<&Distribution>, Vec<&Distribution>) = distributions
        .iter()
        .partition(|one| by_size.iter().any(|large| std::ptr::eq(*large, *one)));
    let mut groups: Vec<Vec<&Distribution>> = own.into_iter().map(|one| vec![one]).collect();
    groups.push(shared);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freeze::Freeze;

    fn distribution(name: &str, size: u64) -> Distribution {
        let freeze = Freeze {
            name: name.to_owned(),
            version: "1".to_owned(),
            origin: None,
        };
        Distribution {
            freeze,
            files: Vec::new(),
            size,
            fingerprint: String::new(),
        }
    }

    fn names(distributions: &[Distribution], limit: usize) -> Vec<String> {
        split(distributions, limit)
            .into_iter()
            .map(|group| {
                group
                    .iter()
                    .map(|one| one.freeze.name.as_str())
                    .collect::<Vec<_>>()
                    .join("+")
            })
            .collect()
    }

    #[test]
    fn large_ones_stand_alone() {
        let all = [
            distribution("a", 1),
            distribution("b", LARGE),
            distribution("c", 2),
            distribution("d", LARGE * 2),
        ];
        assert_eq!(names(&all, 100), ["b", "d", "a+c"]);
        assert_eq!(
            names(&all, 2),
            ["d", "a+b+c"],
            "the largest keep their layers"
        );
        assert_eq!(names(&all, 1), ["a+b+c+d"]);
        assert_eq!(names(&all[..1], 100), ["a"]);
    }
}
