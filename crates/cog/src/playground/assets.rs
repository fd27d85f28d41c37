//! The page, as `playground/` at the root of the repository builds it.

use hyper::StatusCode;

use super::answer::{self, Response};

pub(super) struct Asset {
    path: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

macro_rules! built {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../playground/dist/",
            $name
        ))
    };
}

/// What the page's inputs are checked by; it has rules of its own.
const WORKER: &str = "/playground/worker.js";

static ASSETS: [Asset; 4] = [
    Asset {
        path: "/",
        media_type: "text/html; charset=utf-8",
        content: built!("index.html"),
    },
    Asset {
        path: "/playground/app.js",
        media_type: "text/javascript; charset=utf-8",
        content: built!("app.js"),
    },
    Asset {
        path: "/playground/app.css",
        media_type: "text/css; charset=utf-8",
        content: built!("app.css"),
    },
    Asset {
        path: WORKER,
        media_type: "text/javascript; charset=utf-8",
        content: built!("worker.js"),
    },
];

pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    pub(super) fn answer(&self) -> Response {
        let response = answer::typed(StatusCode::OK, self.media_type, self.content);
        match self.path {
            WORKER => answer::secured_by(response, answer::WORKER_POLICY),
            _ => answer::secured(response),
        }
    }
}
