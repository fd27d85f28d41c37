//! From the tree to values: types, required keys, unknown keys. Semantic rules are in `validate`.

use crate::config::{Build, Mount, PythonVersion, RunCommand, WeightSource, Weights};
use crate::error::{Location, Problem, Warning};
use crate::keys;
use crate::tree::{Kind, Node, Value};

/// The file's content with types checked and places kept.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) build: Option<(Build, Location)>,
    /// `python_version` as written, with its place.
    pub(crate) python_version: Option<Text>,
    /// Whether it is there, but no text.
    pub(crate) mistyped_python: bool,
    pub(crate) image: Option<Text>,
    pub(crate) model: Option<Text>,
    pub(crate) run: Option<Text>,
    pub(crate) predict: Option<Text>,
    pub(crate) train: Option<Text>,
    pub(crate) concurrency_max: Option<(i64, Location)>,
    pub(crate) environment: Vec<Text>,
    pub(crate) weights: Vec<WeightsDraft>,
    /// Places of fields of `build` that rules refer to.
    pub(crate) places: Vec<(&'static str, Location)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) location: Location,
}

#[derive(Debug, Default)]
pub(crate) struct WeightsDraft {
    pub(crate) weights: Weights,
    pub(crate) location: Option<Location>,
    /// Whether `source` was one mapping instead of a list.
    pub(crate) single: bool,
}

impl Draft {
    pub(crate) fn place(&self, field: &str) -> Option<Location> {
        self.places
            .iter()
            .find(|(name, _)| *name == field)
            .map(|(_, location)| *location)
    }
}

/// Reads the tree. Of several problems the most deeply nested is kept, as it is the most telling; of those a wrong
/// type.
pub(crate) fn read(root: Option<&Node>) -> (Draft, Option<Problem>, Vec<Warning>) {
    let mut reader = Reader::default();
    let mut draft = Draft::default();
    if let Some(root) = root.filter(|root| !root.is_null()) {
        reader.top(root, &mut draft);
    }
    let deepest = reader
        .problems
        .into_iter()
        .rev()
        .max_by_key(|found| (found.depth, found.is_type))
        .map(|found| found.problem);
    (draft, deepest, reader.warnings)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Found>,
    warnings: Vec<Warning>,
}

struct Found {
    depth: usize,
    is_type: bool,
    problem: Problem,
}

type Members<'node> = &'node [(String, Node)];

impl Reader {
    fn top(&mut self, root: &Node, draft: &mut Draft) {
        let Some(members) = self.mapping("cog.yaml", root) else {
            return;
        };
        for (key, node) in members {
            match key.as_str() {
                "build" => draft.build = self.build(node, draft),
                "image" => draft.image = self.text("image", node),
                "model" => draft.model = self.text("model", node),
                "run" => draft.run = self.text("run", node),
                "predict" => draft.predict = self.text("predict", node),
                "train" => draft.train = self.text("train", node),
                "concurrency" => draft.concurrency_max = self.concurrency(node),
                "environment" => draft.environment = self.texts("environment", node),
                "weights" => draft.weights = self.weights(node),
                _ => self.unknown(key, node, &keys::TOP),
            }
        }
    }

    fn build(&mut self, node: &Node, draft: &mut Draft) -> Option<(Build, Location)> {
        if node.is_null() {
            return None;
        }
        let members = self.mapping("build", node)?;
        let mut build = Build::default();
        for (key, node) in members {
            if let Some(known) = PLACED.iter().find(|known| *known == key) {
                draft.places.push((known, node.location));
            }
            let path = format!("build.{key}");
            let mut text = || self.text(&path, node).map(|text| text.text);
            match key.as_str() {
                "python_version" => {
                    draft.python_version = self.text(&path, node);
                    draft.mistyped_python = draft.python_version.is_none() && !node.is_null();
                }
                "cuda" => build.cuda = text(),
                "cudnn" => build.cudnn = text(),
                "python_requirements" => build.python_requirements = text(),
                "sdk_version" => build.sdk_version = text(),
                "gpu" => build.gpu = self.boolean(&path, node),
                "python_packages" => build.python_packages = self.plain_texts(&path, node),
                "system_packages" => build.system_packages = self.plain_texts(&path, node),
                "pre_install" => build.pre_install = self.plain_texts(&path, node),
                "run" => build.run = self.commands(&path, node),
                _ => self.unknown(&path, node, &keys::BUILD),
            }
        }
        build.python_version = PythonVersion::default();
        Some((build, node.location))
    }

    fn commands(&mut self, path: &str, node: &Node) -> Vec<RunCommand> {
        let items = self.list(path, node);
        let mut commands = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}.{index}");
            match &item.value {
                Value::Scalar { .. } => {
                    commands.extend(self.text(&path, item).map(|text| RunCommand {
                        command: text.text,
                        mounts: Vec::new(),
                    }));
                }
                Value::Mapping(members) => commands.extend(self.command(&path, item, members)),
                Value::List(_) => self.type_error(&path, item, &["string", "mapping"]),
            }
        }
        commands
    }

    fn command(&mut self, path: &str, node: &Node, members: Members<'_>) -> Option<RunCommand> {
        self.only(path, members, &keys::COMMAND);
        let command = self.required(path, node, members, "command");
        let mounts = match member(members, "mounts") {
            None => Vec::new(),
            Some(mounts) => {
                let path = format!("{path}.mounts");
                let items = self.list(&path, mounts);
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.mount(&format!("{path}.{index}"), item))
                    .collect()
            }
        };
        command.map(|command| RunCommand { command, mounts })
    }

    fn mount(&mut self, path: &str, node: &Node) -> Option<Mount> {
        let members = self.mapping(path, node)?;
        self.only(path, members, &keys::MOUNT);
        let kind = self.required(path, node, members, "type");
        let id = self.required(path, node, members, "id");
        let target = self.required(path, node, members, "target");
        let mount = Mount {
            kind: kind?,
            id: id?,
            target: target?,
        };
        if mount.kind != "secret" {
            self.problem(&format!("{path}.type"), node.location, "must be \"secret\"");
            return None;
        }
        Some(mount)
    }

    /// A mapping with `max`; a number alone, as some projects have it, means the same.
    fn concurrency(&mut self, node: &Node) -> Option<(i64, Location)> {
        if node.kind() == Kind::Integer {
            return self.integer("concurrency", node);
        }
        let members = self.mapping("concurrency", node)?;
        self.only("concurrency", members, &keys::CONCURRENCY);
        let Some(max) = member(members, "max") else {
            self.problem("concurrency", node.location, "max is required");
            return None;
        };
        self.integer("concurrency.max", max)
    }

    fn weights(&mut self, node: &Node) -> Vec<WeightsDraft> {
        let items = self.list("weights", node);
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("weights.{index}");
            let Some(members) = self.mapping(&path, item) else {
                continue;
            };
            let mut draft = WeightsDraft {
                location: Some(item.location),
                ..WeightsDraft::default()
            };
            for (key, node) in members {
                let path = format!("{path}.{key}");
                match key.as_str() {
                    "name" => {
                        draft.weights.name = self
                            .text(&path, node)
                            .map(|text| text.text)
                            .unwrap_or_default();
                    }
                    "target" => {
                        draft.weights.target = self
                            .text(&path, node)
                            .map(|text| text.text)
                            .unwrap_or_default();
                    }
                    "source" => (draft.weights.sources, draft.single) = self.sources(&path, node),
                    _ => self.unknown(&path, node, &keys::WEIGHTS),
                }
            }
            all.push(draft);
        }
        all
    }

    fn sources(&mut self, path: &str, node: &Node) -> (Vec<WeightSource>, bool) {
        match &node.value {
            Value::Mapping(_) => (self.source(path, node).into_iter().collect(), true),
            Value::List(items) => {
                let read = |(index, item)| self.source(&format!("{path}.{index}"), item);
                (items.iter().enumerate().filter_map(read).collect(), false)
            }
            Value::Scalar { .. } => {
                self.type_error(path, node, &["mapping", "list"]);
                (Vec::new(), true)
            }
        }
    }

    fn source(&mut self, path: &str, node: &Node) -> Option<WeightSource> {
        let members = self.mapping(path, node)?;
        self.only(path, members, &keys::SOURCE);
        let uri = self.required(path, node, members, "uri")?;
        let mut patterns = |name: &str| match member(members, name) {
            Some(node) => self.plain_texts(&format!("{path}.{name}"), node),
            None => Vec::new(),
        };
        Some(WeightSource {
            uri,
            include: patterns("include"),
            exclude: patterns("exclude"),
        })
    }

    // Types

    fn mapping<'node>(&mut self, path: &str, node: &'node Node) -> Option<Members<'node>> {
        if let Value::Mapping(members) = &node.value {
            Some(members)
        } else {
            self.type_error(path, node, &["mapping"]);
            None
        }
    }

    /// A list; nothing counts as an empty one.
    fn list<'node>(&mut self, path: &str, node: &'node Node) -> &'node [Node] {
        match &node.value {
            Value::List(items) => items,
            _ if node.is_null() => &[],
            _ => {
                self.type_error(path, node, &["list"]);
                &[]
            }
        }
    }

    /// Any scalar, by its text: people write numbers where text is meant.
    fn text(&mut self, path: &str, node: &Node) -> Option<Text> {
        match (node.kind(), node.text()) {
            (Kind::Null, _) => None,
            (Kind::String | Kind::Integer | Kind::Number, Some(text)) => Some(Text {
                text: text.to_owned(),
                location: node.location,
            }),
            _ => {
                self.type_error(path, node, &["string"]);
                None
            }
        }
    }

    fn texts(&mut self, path: &str, node: &Node) -> Vec<Text> {
        let items = self.list(path, node);
        let read = |(index, item)| match item {
            item if Node::is_null(item) => {
                self.type_error(&format!("{path}.{index}"), item, &["string"]);
                None
            }
            item => self.text(&format!("{path}.{index}"), item),
        };
        items.iter().enumerate().filter_map(read).collect()
    }

    fn plain_texts(&mut self, path: &str, node: &Node) -> Vec<String> {
        self.texts(path, node)
            .into_iter()
            .map(|text| text.text)
            .collect()
    }

    fn boolean(&mut self, path: &str, node: &Node) -> bool {
        match node.kind() {
            Kind::Boolean => node
                .text()
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
            Kind::Null => false,
            _ => {
                self.type_error(path, node, &["boolean"]);
                false
            }
        }
    }

    fn integer(&mut self, path: &str, node: &Node) -> Option<(i64, Location)> {
        let text = node.text().filter(|_| node.kind() == Kind::Integer);
        if let Some(value) = text.and_then(|text| text.parse().ok()) {
            return Some((value, node.location));
        }
        self.type_error(path, node, &["integer"]);
        None
    }

    fn required(
        &mut self,
        path: &str,
        node: &Node,
        members: Members<'_>,
        name: &str,
    ) -> Option<String> {
        if let Some(value) = member(members, name) {
            self.text(&format!("{path}.{name}"), value)
                .map(|text| text.text)
        } else {
            self.problem(path, node.location, &format!("{name} is required"));
            None
        }
    }

    // Findings

    /// Names the members that none of `known` is.
    fn only(&mut self, path: &str, members: Members<'_>, known: &[&str]) {
        for (key, node) in members {
            if !known.contains(&key.as_str()) {
                self.unknown(&format!("{path}.{key}"), node, known);
            }
        }
    }

    fn unknown(&mut self, path: &str, node: &Node, known: &[&str]) {
        self.warnings.push(Warning::Unknown {
            field: path.to_owned(),
            location: node.location,
            meant: keys::meant(path, known),
        });
    }

    fn type_error(&mut self, path: &str, node: &Node, expected: &[&str]) {
        let message = format!("must be a {}", expected.join(" or "));
        self.problem(path, node.location, &message);
        if let Some(found) = self.problems.last_mut() {
            found.is_type = true;
        }
    }

    fn problem(&mut self, path: &str, location: Location, message: &str) {
        let message = format!("schema error in \"{path}\": {message}");
        self.problems.push(Found {
            depth: path.matches('.').count(),
            is_type: false,
            problem: Problem {
                message,
                location: Some(location),
                hint: None,
            },
        });
    }
}

const PLACED: [&str; 8] = [
    "python_version",
    "python_requirements",
    "python_packages",
    "pre_install",
    "cuda",
    "cudnn",
    "gpu",
    "sdk_version",
];

fn member<'node>(members: Members<'node>, name: &str) -> Option<&'node Node> {
    members
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, node)| node)
}
