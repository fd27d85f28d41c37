//! `cog images` and `cog prune`: what is in the local store.

use std::time::Duration;

use anyhow::Context as _;
use cog_image::PruneOptions;
use serde_json::json;

use crate::args::{ImagesArgs, PruneArgs};
use crate::outputs::pretty;
use crate::session::Session;

/// Cached steps that no build used for this long are forgotten by `cog prune`.
const STEP_LIFETIME: Duration = Duration::from_hours(14 * 24);

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
    Ok(session.printer.result(&text)?)
}

pub(crate) fn prune(session: &Session<'_>, args: &PruneArgs) -> anyhow::Result<()> {
    let store = session.store()?;
    if args.all {
        for image in store.images()? {
            store.remove_image(&image.name)?;
        }
    }
    let lifetime = if args.all {
        Duration::ZERO
    } else {
        STEP_LIFETIME
    };
    let report = store
        .prune(&PruneOptions {
            keep_steps_used_within: lifetime,
        })
        .context("could not prune the store")?;
    session.printer.success(&format!(
        "Removed {} blobs, {} unpacked layers and {} cached steps: {}",
        report.blobs,
        report.snapshots,
        report.steps,
        human_size(report.bytes),
    ));
    Ok(())
}

/// `sha256:` and the first 12 digits, as people compare them.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

/// Bytes in units of 1024: `512B`, `1.0KB`, `4.7GB`.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// Columns as wide as their widest cell, two spaces apart.
fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
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
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, text) in [
            (0, "0B"),
            (512, "512B"),
            (1024, "1.0KB"),
            (1536, "1.5KB"),
            (5_046_586_573, "4.7GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
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
