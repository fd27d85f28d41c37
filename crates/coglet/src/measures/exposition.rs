//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::Histogram;

/// A page of metrics while it is written.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

/// A metric that was announced, and can have samples now.
pub(crate) struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    pub(crate) const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    pub(crate) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub(crate) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub(crate) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        Family { page: self, name }
    }

    fn line(&mut self, text: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{text}");
    }
}

impl Family<'_> {
    /// A sample without labels.
    pub(crate) fn value(&mut self, value: impl Display) {
        self.sample(&[], value);
    }

    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        let name = self.name;
        let labels = braced(labels);
        self.page.line(format_args!("{name}{labels} {value}"));
    }

    pub(crate) fn distribution(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        let name = self.name;
        let mut count = 0;
        for (bound, total) in histogram.cumulative() {
            let bound = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".into()
            };
            let labels = [labels, &[("le", bound.as_str())]].concat();
            let labels = braced(&labels);
            self.page
                .line(format_args!("{name}_bucket{labels} {total}"));
            count = total;
        }
        let (labels, sum) = (braced(labels), histogram.sum());
        self.page.line(format_args!("{name}_sum{labels} {sum}"));
        self.page.line(format_args!("{name}_count{labels} {count}"));
    }
}

fn braced(labels: Labels<'_>) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let mut page = Page::default();
        let mut family = page.counter("a_total", "What it is.");
        family.sample(&[("x", "q\"\\\n"), ("y", "2")], 3);
        page.gauge("b", "Another.").value(0.5);
        let histogram = Histogram::new(&[5_000_000, 2_500_000_000], 1e9);
        histogram.observe(5_000_000);
        histogram.observe(3_000_000_000);
        page.histogram("c_seconds", "Times.")
            .distribution(&[("s", "ok")], &histogram);
        insta::assert_snapshot!(page.into_text(), @r#"
        # HELP a_total What it is.
        # TYPE a_total counter
        a_total{x="q\"\\\n",y="2"} 3
        # HELP b Another.
        # TYPE b gauge
        b 0.5
        # HELP c_seconds Times.
        # TYPE c_seconds histogram
        c_seconds_bucket{s="ok",le="0.005"} 1
        c_seconds_bucket{s="ok",le="2.5"} 1
        c_seconds_bucket{s="ok",le="+Inf"} 2
        c_seconds_sum{s="ok"} 3.005
        c_seconds_count{s="ok"} 2
        "#);
    }
}
