//! The YAML as it is written: files, includes, merge keys, and the line of every place. Knows nothing of what keys mean,
//! and holds the only file that names the YAML crate (`serde_yaml` is archived upstream), so that it can be exchanged.
//!
//! ```
//! use feathergate::config::{problem::Place, raw::Document};
//! let document = Document::parse("a.yaml", "model_list:\n- model_name: x\n").unwrap();
//! assert_eq!(document.at(&Place::root().key("model_list").index(0).key("model_name")).unwrap().1, 2);
//! ```

mod yaml;

use std::cell::OnceCell;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::problem::{Place, Problem, Problems, Step, shown};
use yaml::{Line, lines, parse};

/// A value as written. It has no `Debug`: it can hold secrets.
#[derive(Clone, PartialEq)]
pub enum Node {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of `key`, if this is a map that has it. Of several the last, as in `PyYAML`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// What it is, with its article, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// A configuration with everything it includes, and where each part of it stands.
pub struct Document {
    root: Node,
    files: Vec<File>,
    origins: Vec<(String, Origin)>,
    warnings: Vec<Problem>,
}

struct File {
    path: PathBuf,
    text: String,
    /// As written: with `<<` and doubled keys, so that positions in it are positions in the text.
    written: Node,
    lines: OnceCell<Line>,
}

/// Where a top-level key of the merged tree comes from.
enum Origin {
    File(usize),
    /// A list put together from several files: file and number of elements, in order.
    Parts(Vec<(usize, usize)>),
}

impl Document {
    /// A document that says nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self { root: Node::Map(Vec::new()), files: Vec::new(), origins: Vec::new(), warnings: Vec::new() }
    }

    /// Reads `path` and everything it includes.
    ///
    /// # Errors
    /// Everything that keeps the files from being read: missing files, syntax errors, a root that is no map.
    pub fn load(path: &Path, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<Self, Problems> {
        let mut loader = Loader { read, files: Vec::new(), seen: Vec::new(), errors: Vec::new(), warnings: Vec::new() };
        let merged = loader.load(path, None);
        let Loader { files, errors, warnings, .. } = loader;
        match merged {
            Some((entries, origins)) if errors.is_empty() => {
                Ok(Self { root: Node::Map(entries), files, origins, warnings })
            }
            Some(_) | None => Err(Problems(errors)),
        }
    }

    /// Takes `text` as the file `name`; it can include nothing.
    ///
    /// # Errors
    /// As for [`Document::load`].
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        let main = Path::new(name);
        Self::load(main, &|path| {
            if path == main { Ok(text.to_owned()) } else { Err(io::ErrorKind::NotFound.into()) }
        })
    }

    /// The merged tree: always a map, without `include` and `<<`.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The files that were read, the main one first.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// What is doubtful about the files as YAML, such as keys that stand twice in one map.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The value at `place`.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&Node> {
        place.steps().iter().try_fold(&self.root, |node, step| match (step, node) {
            (Step::Key(key), node) => node.get(key),
            (Step::Index(index), Node::List(elements)) => elements.get(*index),
            (Step::Index(_), _) => None,
        })
    }

    /// The file and the line (from 1) of `place`, or of the nearest place above it that exists.
    #[must_use]
    pub fn at(&self, place: &Place) -> Option<(PathBuf, usize)> {
        let (file, line) = self.position(place)?;
        self.files.get(file).map(|file| (file.path.clone(), line))
    }

    /// As [`Document::at`], with the file's number in [`Document::files`]: for sorting.
    #[must_use]
    pub fn position(&self, place: &Place) -> Option<(usize, usize)> {
        let mut steps = place.steps().to_vec();
        let origin = match steps.first() {
            Some(Step::Key(key)) => self.origins.iter().find(|(name, _)| name == key).map(|(_, origin)| origin),
            Some(Step::Index(_)) | None => None,
        };
        let number = match origin {
            None => 0,
            Some(Origin::File(number)) => *number,
            Some(Origin::Parts(parts)) => {
                let mut number = parts.first()?.0;
                if let Some(Step::Index(index)) = steps.get_mut(1) {
                    for (file, length) in parts {
                        number = *file;
                        if *index < *length {
                            break;
                        }
                        *index -= length;
                    }
                }
                number
            }
        };
        Some((number, self.files.get(number)?.line(&steps)))
    }
}

impl File {
    fn line(&self, steps: &[Step]) -> usize {
        // Only a problem or a report asks for lines, so a start without either does not pay for them.
        let mut line = self.lines.get_or_init(|| lines(&self.text));
        for position in positions(&self.written, steps) {
            match line.children.get(position) {
                Some(child) => line = child,
                None => break,
            }
        }
        line.number
    }
}

/// The steps as positions in the tree as written, as far as they exist; a step can pass through `<<`.
fn positions(written: &Node, steps: &[Step]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut node = written;
    for step in steps {
        let next = match (step, node) {
            (Step::Index(index), Node::List(elements)) => elements.get(*index).map(|next| (vec![*index], next)),
            (Step::Key(key), node) => find(node, key),
            (Step::Index(_), _) => None,
        };
        let Some((path, next)) = next else { break };
        found.extend(path);
        node = next;
    }
    found
}

/// Where `key` stands in `node`: among its own keys, else in what it merges in.
fn find<'n>(node: &'n Node, key: &str) -> Option<(Vec<usize>, &'n Node)> {
    match node {
        Node::Map(entries) => {
            if let Some((position, (_, value))) = entries.iter().enumerate().rev().find(|(_, (name, _))| name == key) {
                return Some((vec![position], value));
            }
            let (position, (_, merged)) = entries.iter().enumerate().find(|(_, (name, _))| name == "<<")?;
            let (rest, value) = find(merged, key)?;
            Some(([vec![position], rest].concat(), value))
        }
        // Within `<<: [*a, *b]`.
        Node::List(elements) => elements.iter().enumerate().find_map(|(position, element)| {
            let Node::Map(_) = element else { return None };
            let (rest, value) = find(element, key)?;
            Some(([vec![position], rest].concat(), value))
        }),
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) => None,
    }
}

struct Loader<'a> {
    read: &'a dyn Fn(&Path) -> io::Result<String>,
    files: Vec<File>,
    seen: Vec<PathBuf>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

type Merged = (Vec<(String, Node)>, Vec<(String, Origin)>);

impl Loader<'_> {
    /// Loads one file with what it includes. `from` is the place of the `include` that names it.
    fn load(&mut self, path: &Path, from: Option<(Place, PathBuf, usize)>) -> Option<Merged> {
        self.seen.push(normal(path));
        let text = match (self.read)(path) {
            Ok(text) => text,
            Err(error) => {
                let message = unreadable(path, &error);
                let (place, at) =
                    from.map_or((String::new(), None), |(place, file, line)| (place.to_string(), Some((file, line))));
                self.errors.push(Problem { path: place, at, message });
                return None;
            }
        };
        let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
        let written = match parse(&text) {
            Ok(Node::Map(entries)) => Node::Map(entries),
            Ok(Node::Null) => {
                return self.whole(path, 1, "the file is empty; it needs at least a `model_list`".to_owned());
            }
            Ok(other) => {
                let message =
                    format!("the file holds {}, but must hold a map with keys like `model_list`", other.kind());
                return self.whole(path, 1, message);
            }
            Err((line, message)) => return self.whole(path, line, message),
        };
        let number = self.files.len();
        self.files.push(File { path: path.to_owned(), text, written, lines: OnceCell::new() });
        let file = self.files.get(number)?;
        let mut doubts = Vec::new();
        let merged = merge(&file.written, &Place::root(), &mut doubts);
        for (place, message, fatal) in doubts {
            let at = Some((path.to_owned(), file.line(place.steps())));
            let problem = Problem { path: place.to_string(), at, message };
            if fatal { self.errors.push(problem) } else { self.warnings.push(problem) }
        }
        let Node::Map(entries) = merged else { return None };
        let origins = entries.iter().map(|(key, value)| (key.clone(), origin(number, value))).collect();
        Some(self.includes(path, number, (entries, origins)))
    }

    /// Adds to `own` what its `include` names.
    fn includes(&mut self, path: &Path, number: usize, own: Merged) -> Merged {
        let (mut entries, mut origins) = own;
        let Some(position) = entries.iter().position(|(key, _)| key == "include") else {
            return (entries, origins);
        };
        let (_, include) = entries.remove(position);
        origins.remove(position);
        let place = Place::root().key("include");
        let names = match include {
            Node::Null => Vec::new(),
            Node::List(names) => names,
            Node::Text(name) => vec![Node::Text(name)],
            other @ (Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Map(_)) => {
                let message = format!("is {}, but must be a list of file names", other.kind());
                self.at(path, number, &place, message);
                Vec::new()
            }
        };
        for (index, name) in names.iter().enumerate() {
            let place = place.index(index);
            let Node::Text(name) = name else {
                self.at(path, number, &place, format!("is {}, but must be the name of a file", name.kind()));
                continue;
            };
            let target = path.parent().unwrap_or(Path::new("")).join(name);
            if self.seen.contains(&normal(&target)) {
                continue;
            }
            let line = self.files.get(number).map_or(1, |file| file.line(place.steps()));
            if let Some(included) = self.load(&target, Some((place, path.to_owned(), line))) {
                (entries, origins) = joined((entries, origins), included);
            }
        }
        (entries, origins)
    }

    fn at(&mut self, path: &Path, number: usize, place: &Place, message: String) {
        let line = self.files.get(number).map_or(1, |file| file.line(place.steps()));
        self.errors.push(Problem { path: place.to_string(), at: Some((path.to_owned(), line)), message });
    }

    fn whole(&mut self, path: &Path, line: usize, message: String) -> Option<Merged> {
        self.errors.push(Problem { path: String::new(), at: Some((path.to_owned(), line)), message });
        None
    }
}

fn origin(file: usize, value: &Node) -> Origin {
    match value {
        Node::List(elements) => Origin::Parts(vec![(file, elements.len())]),
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::Map(_) => Origin::File(file),
    }
}

/// litellm's rule: lists are concatenated, any other key of the included file replaces the including one's.
fn joined(own: Merged, included: Merged) -> Merged {
    let (mut entries, mut origins) = own;
    for ((key, value), (_, origin)) in included.0.into_iter().zip(included.1) {
        let Some(position) = entries.iter().position(|(name, _)| *name == key) else {
            entries.push((key.clone(), value));
            origins.push((key, origin));
            continue;
        };
        let (Some((_, entry)), Some((_, from))) = (entries.get_mut(position), origins.get_mut(position)) else {
            continue;
        };
        match (entry, value, from, origin) {
            (Node::List(elements), Node::List(more), Origin::Parts(parts), Origin::Parts(more_parts)) => {
                elements.extend(more);
                parts.extend(more_parts);
            }
            (entry, value, from, origin) => {
                *entry = value;
                *from = origin;
            }
        }
    }
    (entries, origins)
}

/// The path without `.` and `..`, so that a file is known under each of its names.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => _ = out.pop(),
            other @ (Component::Prefix(_) | Component::RootDir | Component::ParentDir | Component::Normal(_)) => {
                out.push(other);
            }
        }
    }
    out
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let file = shown(&path.display().to_string());
    match error.kind() {
        io::ErrorKind::NotFound => format!("the file `{file}` does not exist"),
        io::ErrorKind::PermissionDenied => format!("the file `{file}` may not be read by this user"),
        io::ErrorKind::IsADirectory => format!("`{file}` is a directory; name the file in it"),
        io::ErrorKind::InvalidData => format!("the file `{file}` is not UTF-8 text"),
        other => format!("the file `{file}` cannot be read: {other}"),
    }
}

/// Something to say about a place: the sentence, and whether it is an error.
type Doubt = (Place, String, bool);

/// The tree that is meant: `<<` merged in, and of keys that stand twice the last.
fn merge(written: &Node, place: &Place, doubts: &mut Vec<Doubt>) -> Node {
    match written {
        Node::List(elements) => Node::List(
            elements.iter().enumerate().map(|(index, element)| merge(element, &place.index(index), doubts)).collect(),
        ),
        Node::Map(entries) => {
            let mut own: Vec<(String, Node)> = Vec::with_capacity(entries.len());
            let mut inherited = Vec::new();
            for (key, value) in entries {
                let here = place.key(key);
                let value = merge(value, &here, doubts);
                if key == "<<" {
                    inherit(value, &here, &mut inherited, doubts);
                } else if let Some((_, first)) = own.iter_mut().find(|(name, _)| name == key) {
                    doubts.push((here, "stands twice in this map; only the last one counts".to_owned(), false));
                    *first = value;
                } else {
                    own.push((key.clone(), value));
                }
            }
            for (key, value) in inherited {
                if own.iter().all(|(name, _)| *name != key) {
                    own.push((key, value));
                }
            }
            Node::Map(own)
        }
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) => written.clone(),
    }
}

fn inherit(value: Node, place: &Place, inherited: &mut Vec<(String, Node)>, doubts: &mut Vec<Doubt>) {
    let maps = match value {
        Node::List(maps) => maps,
        map @ (Node::Null | Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::Map(_)) => vec![map],
    };
    for map in maps {
        if let Node::Map(entries) = map {
            inherited.extend(entries);
        } else {
            let message = format!("`<<` merges {}, but can merge only a map or a list of maps", map.kind());
            doubts.push((place.clone(), message, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::yaml::TOO_MANY;
    use super::*;

    fn place(steps: &str) -> Place {
        steps.split('.').fold(Place::root(), |place, step| match step.parse() {
            Ok(index) => place.index(index),
            Err(_) => place.key(step),
        })
    }

    #[test]
    fn every_place_has_its_line() {
        let text = "\u{feff}# first\r\na: &a\r\n  b: 1\r\n  c: [x, 'y',\r\n    {d: 2}]\r\nlist:\r\n- <<: *a\r\n  e: é\r\n-\r\n  - f: |\r\n      text\r\n    g: null\r\na2: *a\r\nb: 1\r\nb: 2\r\n";
        let document = Document::parse("x.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
        for (steps, line) in [
            ("a", 2),
            ("a.b", 3),
            ("a.c", 4),
            ("a.c.1", 4),
            ("a.c.2", 5),
            ("a.c.2.d", 5),
            ("list", 6),
            ("list.0", 7),
            ("list.0.e", 8),
            ("list.0.b", 3),
            ("list.1.0.f", 10),
            ("list.1.0.g", 12),
            ("a2", 13),
            ("a2.c", 4),
            ("b", 15),
            ("a.nothing", 2),
            ("nothing", 1),
        ] {
            assert_eq!(document.at(&place(steps)), Some((PathBuf::from("x.yaml"), line)), "{steps}");
        }
        assert!(matches!(document.get(&place("list.0.b")), Some(Node::Int(1))));
        assert_eq!(
            document.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["x.yaml:15: b: stands twice in this map; only the last one counts"]
        );
    }

    #[test]
    fn aliases_that_multiply_end() {
        let list = format!("a: &a [{}]\n", "x,".repeat(3000));
        let bomb = format!("{list}b: [{}]\n", "*a,".repeat(3000));
        let error = Document::parse("x.yaml", &bomb).err().map(|problems| problems.to_string()).unwrap_or_default();
        assert!(error.ends_with(TOO_MANY), "{error}");
        let mut laughs = "a0: &a0 [x]\n".to_owned();
        for level in 1..40 {
            let below = level - 1;
            let _ = writeln!(laughs, "a{level}: &a{level} [*a{below},*a{below},*a{below},*a{below}]");
        }
        assert!(Document::parse("x.yaml", &laughs).is_err());
        assert!(Document::parse("x.yaml", &"[".repeat(10_000)).is_err());
    }

    #[test]
    fn includes_follow_the_rules() {
        let read = |path: &Path| match path.to_str() {
            Some("etc/a.yaml") => Ok("include: [sub/b.yaml, ./sub/../a.yaml]\nmodel_list: [1]\nx: {a: 1}\n".to_owned()),
            Some("etc/sub/b.yaml") => Ok("include: [c.yaml]\nmodel_list:\n- 2\n- 3\nx:\n  b: 1\n".to_owned()),
            Some("etc/sub/c.yaml") => Ok("model_list:\n\n- 4\ny: 1\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let document = Document::load(Path::new("etc/a.yaml"), &read).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(document.files().count(), 3);
        let Some(Node::List(models)) = document.root().get("model_list") else { panic!("no list") };
        assert!(models.iter().all(|model| matches!(model, Node::Int(_))) && models.len() == 4);
        assert!(document.get(&place("x.a")).is_none());
        for (steps, file, line) in [
            ("model_list.0", "etc/a.yaml", 2),
            ("model_list.2", "etc/sub/b.yaml", 4),
            ("model_list.3", "etc/sub/c.yaml", 3),
            ("x.b", "etc/sub/b.yaml", 6),
            ("y", "etc/sub/c.yaml", 4),
        ] {
            assert_eq!(document.at(&place(steps)), Some((PathBuf::from(file), line)), "{steps}");
        }
    }
}
