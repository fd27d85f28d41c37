//! What the documentation says of routes is what the server has.

use std::collections::{BTreeMap, BTreeSet};

use crate::http::Request;
use crate::server::Model;

#[test]
fn every_route_takes_what_the_reference_says() {
    let server = Model::echo().ready();
    let mut said: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for operation in coglet::operations() {
        said.entry(operation.path)
            .or_default()
            .insert(operation.method);
        assert!(!operation.does.is_empty());
    }
    for (path, methods) in said {
        // No route takes it: the answer names what is taken.
        let path = path.replace("{id}", "x");
        let refused = server.send(Request::new("DELETE", &path)).answer();
        assert_eq!(refused.status, 405, "{path}");
        let allowed = refused
            .headers
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("allow").then(|| value.trim())
            })
            .unwrap_or_default()
            .to_ascii_uppercase();
        let allowed: BTreeSet<_> = allowed
            .split(',')
            .filter(|method| *method != "HEAD")
            .collect();
        assert_eq!(allowed, methods, "{path}");
    }
}
