//! The requirement lines that are installed: PyTorch's from the index that has them for the project's accelerator.

use super::{CompleteWarning, Notes};
use crate::cuda::{Accelerator, TorchRow, torch_rows};
use crate::requirements::{Pin, Rest, Source, exact_pin, name, split_sources};
use crate::version::Version;

/// The rewritten lines.
pub(super) struct Rewritten {
    pub(super) lines: Vec<String>,
    pub(super) torch_index: Option<String>,
}

impl Rewritten {
    /// The version of the exact pin of `package`.
    pub(super) fn pinned(&self, package: &str) -> Option<String> {
        let mut lines = self.lines.iter().filter(|line| name(line) == Some(package));
        lines.find_map(|line| exact_pin(line))
    }
}

/// Rewrites pins of torch and torchvision; moves places to look for packages from their lines to the head. All other
/// lines stay as they are.
pub(super) fn rewrite(
    lines: &[String],
    gpu: bool,
    cuda: Option<&str>,
    notes: &mut Notes,
) -> Rewritten {
    let mut rewriter = Rewriter {
        cuda: cuda.and_then(Version::parse).filter(|_| gpu),
        gpu,
        links: Vec::new(),
        indexes: Vec::new(),
        torch_index: None,
        notes,
    };
    let packages: Vec<String> = lines.iter().map(|line| rewriter.line(line)).collect();
    let indexes = rewriter.indexes.iter();
    let indexes = indexes.filter(|url| !already_said(lines, url));
    let indexes = indexes.map(|url| format!("--extra-index-url {url}"));
    let places = rewriter.links.iter();
    let places = places
        .map(|place| format!("--find-links {place}"))
        .chain(indexes);
    Rewritten {
        lines: places.chain(packages).collect(),
        torch_index: rewriter.torch_index.clone(),
    }
}

/// Whether the project has this index in a line of its own.
fn already_said(lines: &[String], url: &str) -> bool {
    let bare = |url: &str| url.trim_end_matches('/').to_owned();
    lines.iter().any(|line| {
        let value = line.strip_prefix("--extra-index-url");
        value.is_some_and(|value| bare(value.trim_start_matches(['=', ' ', '\t'])) == bare(url))
    })
}

struct Rewriter<'a> {
    gpu: bool,
    cuda: Option<Version>,
    links: Vec<String>,
    indexes: Vec<String>,
    torch_index: Option<String>,
    notes: &'a mut Notes,
}

impl Rewriter<'_> {
    fn line(&mut self, line: &str) -> String {
        let (line, sources) = split_sources(line);
        let placed = !sources.is_empty();
        for source in sources {
            match source {
                Source::Links(links) => add(&mut self.links, links),
                Source::Index(index) => add(&mut self.indexes, index),
            }
        }
        let Some(pin) = Pin::parse(&line) else {
            return line;
        };
        // Who says where a package comes from, or what its hash is, means that very file.
        if pin.rest == Rest::Options {
            return line;
        }
        if placed {
            if pin.name == "torch" {
                self.torch_index = self.indexes.last().cloned();
            }
            return line;
        }
        let row = match pin.name {
            "torch" => self.torch(pin.version),
            "torchvision" => self.torchvision(pin.version),
            _ => return line,
        };
        let Some((row, version)) = row else {
            return line;
        };
        if pin.name == "torch" {
            self.torch_index = row.index_url();
        }
        if let Some(url) = row.index_url() {
            add(&mut self.indexes, url);
        }
        if pin.rest == Rest::Marker || version == pin.version {
            return line;
        }
        format!("{}=={version}", pin.name)
    }

    fn torch(&mut self, text: &str) -> Option<(&'static TorchRow, String)> {
        let version = Version::parse(text)?;
        if !self.gpu {
            let row = cpu_row(&version, |row| &row.torch)?;
            self.decide_index(row, format!("`torch=={text}` without a GPU"));
            return Some((row, text.to_owned()));
        }
        let row = self.gpu_row(|row| row.torch.matches(&version))?;
        let found = row.torch.to_string();
        if found != text {
            let reason = format!("`torch=={text}` in the requirements: the newest that matches");
            self.notes.decide("torch", &found, reason);
        }
        self.decide_index(row, self.upto(&format!("torch {found}")));
        Some((row, found))
    }

    fn torchvision(&mut self, text: &str) -> Option<(&'static TorchRow, String)> {
        let version = Version::parse(text);
        if !self.gpu {
            let row = cpu_row(&version?, |row| &row.torchvision)?;
            let version = Version {
                local: row.torchvision_tag.map(str::to_owned),
                ..row.torchvision.clone()
            };
            let exact = text == row.torchvision.to_string() || text == version.to_string();
            let exact = if exact {
                version.to_string()
            } else {
                text.to_owned()
            };
            return Some((row, exact));
        }
        let same = |row: &TorchRow| {
            let version = version.as_ref();
            version.is_some_and(|version| row.torchvision.equals(version))
        };
        let Some(row) = self.gpu_row(same) else {
            self.notes.warn(CompleteWarning::UnknownTorchvision {
                version: text.to_owned(),
            });
            return None;
        };
        Some((row, row.torchvision.to_string()))
    }

    /// Of the rows for GPUs that fit, up to the project's CUDA: the highest CUDA, then the highest torch.
    fn gpu_row(&self, fits: impl Fn(&TorchRow) -> bool) -> Option<&'static TorchRow> {
        let wanted = self.cuda.as_ref()?;
        let cuda_of = |row: &'static TorchRow| row.accelerator.cuda();
        torch_rows()
            .iter()
            .filter(|row| row.usable && fits(row))
            .filter(|row| cuda_of(row).is_some_and(|cuda| cuda.order(wanted).is_le()))
            .max_by(|one, other| {
                let cudas = cuda_of(one).zip(cuda_of(other));
                let order = cudas.map(|(one, other)| one.order(other));
                order
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then_with(|| one.torch.order(&other.torch))
            })
    }

    fn upto(&self, what: &str) -> String {
        let cuda = self.cuda.as_ref().map(ToString::to_string);
        format!(
            "it has {what} for the highest CUDA up to {}",
            cuda.unwrap_or_default()
        )
    }

    fn decide_index(&mut self, row: &TorchRow, reason: String) {
        let url = row.index_url();
        let url = url.unwrap_or_else(|| "the default package index".to_owned());
        self.notes.decide("torch index", url, reason);
    }
}

/// The row for processors with exactly this version. A tag of another accelerator is none of its versions.
fn cpu_row(version: &Version, column: impl Fn(&TorchRow) -> &Version) -> Option<&'static TorchRow> {
    let local = version.local.as_deref();
    let fits = |row: &&TorchRow| {
        row.accelerator == Accelerator::Cpu
            && column(row).equals(version)
            && local.is_none_or(|local| local == "cpu")
    };
    torch_rows().iter().find(fits)
}

fn add(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}
