//! The page at `/`, for browsers and where it is asked for.

use crate::http::{Request, Response};
use crate::server::{Model, Server};

const BROWSER: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

fn get(server: &Server, path: &str, accept: &str) -> Response {
    let request = Request::new("GET", path).header("Accept", accept);
    server.send(request).answer()
}

#[test]
fn browsers_get_a_page_where_it_is_wanted() {
    let server = Model::echo().env("COG_PLAYGROUND", 1).ready();
    let page = get(&server, "/", BROWSER);
    assert!(page.headers.contains("content-type: text/html"));
    assert!(page.headers.contains("vary: accept\r\n"));
    let policy = "content-security-policy: default-src 'self';";
    assert!(page.headers.contains(policy), "{}", page.headers);
    let text = page.text();
    assert!(
        text.contains("Cog Playground") && text.contains("data-own"),
        "{text}"
    );
    for name in ["app.js", "app.css", "worker.js"] {
        let path = format!("/playground/{name}");
        assert!(text.contains(&path[1..]) || name == "worker.js", "{name}");
        let asset = get(&server, &path, "*/*");
        assert!(asset.status == 200 && !asset.body.is_empty(), "{name}");
    }
    assert_eq!(get(&server, "/playground/other", "*/*").status, 404);
    for accept in ["*/*", "application/json", "text/htmlx"] {
        assert_eq!(
            get(&server, "/", accept).json()["docs_url"],
            "/docs",
            "{accept}"
        );
    }
}

#[test]
fn nobody_gets_it_otherwise() {
    let server = Model::echo().ready();
    assert_eq!(get(&server, "/", BROWSER).json()["docs_url"], "/docs");
    assert_eq!(get(&server, "/playground/app.js", BROWSER).status, 404);
}
