//! `cog images`, `cog tag`, `cog rmi` and `cog prune`: what is in the local store.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use cog_image::{ImageRef, Names, PruneOptions, PruneReport, Usage};
use serde_json::{Value, json};

use crate::args::{ImagesArgs, PruneArgs, RmiArgs, TagArgs};
use crate::handover::{self, Tidied};
use crate::image_argument;
use crate::outputs::pretty;
use crate::serving;
use crate::session::Session;
use crate::sizes::human_size;

const DAY: Duration = Duration::from_hours(24);
/// What nothing used for this long is removed by `cog prune`, but for images.
const LIFETIME: Duration = Duration::from_hours(14 * 24);
/// What a failure to write it calls it.
const REMOVALS: &str = "the report of what was removed";

pub(crate) fn images(session: &Session<'_>, args: &ImagesArgs) -> anyhow::Result<()> {
    let images = session
        .store()?
        .images()
        .context("could not list the images")?;
    let text = if args.json {
        let list: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "name": image.name,
                    "digest": image.digest.to_string(),
                    "platforms": image.platforms.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "created": image.created,
                    "size": image.size,
                })
            })
            .collect();
        format!("{}\n", pretty(&list)?)
    } else {
        let rows: Vec<[String; 3]> = images
            .iter()
            .map(|image| {
                [
                    image.name.clone(),
                    short(&image.digest.to_string()),
                    human_size(image.size),
                ]
            })
            .collect();
        table(["NAME", "DIGEST", "SIZE"], &rows)
    };
    Ok(session.printer.result("the list of images", &text)?)
}

pub(crate) fn tag(session: &Session<'_>, args: &TagArgs) -> anyhow::Result<()> {
    refuse_digest(&args.name)?;
    let store = session.store()?;
    let _lease = store.lease()?;
    let image = image_argument::name(store, &args.image)?;
    let Some(name) = store.tag(&image, &args.name)? else {
        bail!("image {}: image not found", args.image);
    };
    session.printer.success(&format!("Image tagged as {name}"));
    if args.json {
        let document = json!({ "name": name, "image": args.image });
        let text = format!("{}\n", pretty(&document)?);
        session
            .printer
            .result("the report of the new name", &text)?;
    }
    Ok(())
}

/// A name with a digest says what an image is, so it cannot be given to one.
pub(super) fn refuse_digest(name: &str) -> anyhow::Result<()> {
    image_argument::refuse_digest(name)?;
    let reference: ImageRef = name.parse()?;
    if reference.digest().is_some() {
        bail!("`{name}` has a digest, which an image can't be given: name a tag");
    }
    Ok(())
}

/// All names are looked for first: a misspelt one leaves the others alone.
pub(crate) fn rmi(session: &Session<'_>, args: &RmiArgs) -> anyhow::Result<()> {
    let store = session.store()?;
    let names = args.images.iter();
    let names = names.map(|image| image_argument::only_name(store, image));
    let names: Vec<String> = names.collect::<anyhow::Result<_>>()?;
    for name in &names {
        if !store.has_name(name)? {
            bail!("image {name}: image not found");
        }
    }
    for name in &names {
        store.remove_image(name)?;
        session.printer.success(&format!("Removed {name}"));
    }
    // What builds made stays for the next build, and goes with `cog prune`.
    let options = PruneOptions {
        names: Names::Keep,
        keep_used_within: Duration::MAX,
    };
    let report = store
        .prune_or_report(&options, || session.wait_for_others())
        .context("could not remove what only these images needed")?;
    session.printer.info(&removed(&report));
    if args.json {
        let document = json!({ "names": names, "removed": kinds(&report) });
        let text = format!("{}\n", pretty(&document)?);
        session.printer.result(REMOVALS, &text)?;
    }
    Ok(())
}

pub(crate) fn prune(session: &Session<'_>, args: &PruneArgs) -> anyhow::Result<()> {
    cog_build::remove_stale_secrets();
    let store = session.store()?;
    serving::clear_away(store).context("could not clear away what servers have left")?;
    let options = if args.all {
        PruneOptions::everything()
    } else {
        PruneOptions {
            keep_used_within: LIFETIME,
            ..PruneOptions::default()
        }
    };
    let report = store
        .prune_or_report(&options, || session.wait_for_others())
        .context("could not prune the store")?;
    let usage = store.usage().context("could not look at the store")?;
    let tidied = handover::tidy(session);
    if args.json {
        let text = format!("{}\n", pretty(&as_json(&report, &usage, tidied.as_ref()))?);
        return Ok(session.printer.result(REMOVALS, &text)?);
    }
    session.printer.success(&removed(&report));
    if let Some(tidied) = tidied.filter(|tidied| !tidied.removed.is_empty()) {
        session.printer.success(&removed_from_daemon(&tidied));
    }
    for usage in usage.iter().filter(|usage| usage.count > 0) {
        session.printer.info(&left(usage));
    }
    Ok(())
}

/// `cog prune --json`; `last_used` in seconds since 1970.
fn as_json(report: &PruneReport, usage: &[Usage], tidied: Option<&Tidied>) -> Value {
    let left = usage.iter().filter(|usage| usage.count > 0).map(|usage| {
        let used = usage.last_used;
        let used = used.and_then(|used| used.duration_since(UNIX_EPOCH).ok());
        json!({
            "kind": usage.kind.name(2),
            "count": usage.count,
            "bytes": usage.bytes,
            "last_used": used.map(|used| used.as_secs()),
        })
    });
    json!({
        "removed": kinds(report),
        "left": left.collect::<Vec<_>>(),
        "daemon": tidied.map(|tidied| json!({
            "name": tidied.daemon,
            "removed": tidied.removed,
        })),
    })
}

/// What was removed of each kind.
fn kinds(report: &PruneReport) -> Vec<Value> {
    let removed = report.removed.iter().map(|removed| {
        json!({
            "kind": removed.kind.name(2),
            "count": removed.count,
            "bytes": removed.bytes,
        })
    });
    removed.collect()
}

/// What builds that were killed had left.
fn removed_from_daemon(tidied: &Tidied) -> String {
    let (count, daemon) = (tidied.removed.len(), tidied.daemon);
    let images = if count == 1 { "image" } else { "images" };
    format!("Removed {count} {images} of killed builds from {daemon}")
}

fn removed(report: &PruneReport) -> String {
    let parts: Vec<String> = report
        .removed
        .iter()
        .map(|removed| format!("{} {}", removed.count, removed.kind.name(removed.count)))
        .collect();
    if parts.is_empty() {
        return "Nothing to remove".to_owned();
    }
    format!(
        "Removed {}: {}",
        parts.join(", "),
        human_size(report.bytes())
    )
}

/// What stays, as `3 blobs, 1.2MB, last used today`.
fn left(usage: &Usage) -> String {
    let age = usage.last_used.and_then(|used| used.elapsed().ok());
    let when = match age.map_or(0, |age| age.as_secs() / DAY.as_secs()) {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    };
    format!(
        "Left: {} {}, {}, last used {when}",
        usage.count,
        usage.kind.name(usage.count),
        human_size(usage.bytes)
    )
}

/// `sha256:` and the first 12 digits, as people compare them.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use cog_image::{Kind, Removed};

    use super::*;

    #[test]
    fn each_kind_is_named() {
        let one = |kind, count, bytes| Removed { kind, count, bytes };
        let report = PruneReport {
            removed: vec![one(Kind::Blobs, 1, 1024), one(Kind::Environments, 2, 512)],
        };
        assert_eq!(
            removed(&report),
            "Removed 1 blob, 2 host environments: 1.5KB"
        );
        assert_eq!(removed(&PruneReport::default()), "Nothing to remove");
        let usage = |age| Usage {
            kind: Kind::Snapshots,
            count: 3,
            bytes: 2048,
            last_used: Some(SystemTime::now() - age),
        };
        for (age, text) in [
            (
                Duration::ZERO,
                "Left: 3 unpacked layers, 2.0KB, last used today",
            ),
            (DAY, "Left: 3 unpacked layers, 2.0KB, last used yesterday"),
            (
                5 * DAY,
                "Left: 3 unpacked layers, 2.0KB, last used 5 days ago",
            ),
        ] {
            assert_eq!(left(&usage(age)), text);
        }
    }

    #[test]
    fn what_goes_from_a_daemon_is_counted() {
        let tidied = |count| Tidied {
            daemon: "Docker",
            removed: vec!["cog-build/step:x".to_owned(); count],
        };
        for (count, text) in [
            (1, "Removed 1 image of killed builds from Docker"),
            (2, "Removed 2 images of killed builds from Docker"),
        ] {
            assert_eq!(removed_from_daemon(&tidied(count)), text);
        }
        let json = as_json(&PruneReport::default(), &[], Some(&tidied(1)));
        assert_eq!(json["daemon"]["removed"][0], "cog-build/step:x");
        assert_eq!(
            as_json(&PruneReport::default(), &[], None)["daemon"],
            Value::Null
        );
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            ["a".to_owned(), "bb".to_owned()],
            ["ccc".to_owned(), "d".to_owned()],
        ];
        assert_eq!(table(["X", "Y"], &rows), "X    Y\na    bb\nccc  d\n");
    }
}
